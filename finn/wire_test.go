package finn_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"dixie/finn"
)

// TestIdempotencyKeysAreJSON tries every byte and what JSON for browsers escapes, alone and among others.
func TestIdempotencyKeysAreJSON(t *testing.T) {
	t.Parallel()
	texts := []string{"", "\u2028", "\u2029", "é", "😀", "\xe2\x80", strings.Repeat("long <", 500), "req-1", "a.b_c"}
	for c := range 256 {
		texts = append(texts, string([]byte{byte(c)}), "a"+string([]byte{byte(c)})+"z")
	}
	for _, text := range texts {
		parts := []string{text, "sha256:" + text, "loa-finn", "/" + text, text}
		if text == "" {
			parts[0] = "anonymous"
		}
		want, err := json.Marshal(parts)
		if err != nil {
			t.Fatal(err)
		}
		got := finn.IdempotencyKey(finn.Caller{Wallet: text, RequestID: text}, "sha256:"+text, "/"+text)
		if got != sha(string(want)) {
			t.Errorf("%.20q: the key is not that of %.200s", text, want)
		}
	}
}

// TestHeaderKeysAreCanonical: net/http finds them under no other form.
func TestHeaderKeysAreCanonical(t *testing.T) {
	t.Parallel()
	keys := map[string]bool{}
	client := newClient(t, finn.Config{URL: "http://finn.test", Token: "x", HTTPClient: &http.Client{
		Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			for key := range r.Header {
				keys[key] = true
			}
			return answer(r, http.StatusOK, `{"response":"hello"}`)
		}),
	}})
	ctx := finn.ContextWithCaller(t.Context(), finn.Caller{RequestID: "req-1", Wallet: "0xWALLET"})
	if _, err := client.Send(ctx, sessionID, "hi"); err != nil {
		t.Fatal(err)
	}
	for key := range keys {
		if canonical := http.CanonicalHeaderKey(key); canonical != key {
			t.Errorf("%s is written as %s", canonical, key)
		}
	}
	if len(keys) != 8 {
		t.Errorf("%d headers, want 8: %v", len(keys), keys)
	}
}

// TestAnnouncedLengthsAreNotBelieved has a transport, as a caller may give one, whose lengths are wrong: what
// counts is what comes.
func TestAnnouncedLengthsAreNotBelieved(t *testing.T) {
	t.Parallel()
	breaksOff := func(text string, err error) io.Reader {
		return io.MultiReader(strings.NewReader(text), iotest.ErrReader(err))
	}
	hello := `{"response":"` + strings.Repeat("hello ", 300) + `"}`
	for name, tc := range map[string]struct {
		body   io.Reader
		length int64
		kind   error
		code   string
	}{
		"right":                    {strings.NewReader(hello), int64(len(hello)), nil, ""},
		"right, byte by byte":      {iotest.OneByteReader(strings.NewReader(hello)), int64(len(hello)), nil, ""},
		"right, end with the data": {iotest.DataErrReader(strings.NewReader(hello)), int64(len(hello)), nil, ""},
		"unknown":                  {strings.NewReader(hello), -1, nil, ""},
		"none":                     {strings.NewReader(hello), 0, nil, ""},
		"too little":               {strings.NewReader(hello), 7, nil, ""},
		"too much":                 {strings.NewReader(hello), 9000, nil, ""},
		"far too much":             {strings.NewReader(hello), 1 << 60, nil, ""},
		"none, and none comes":     {strings.NewReader(""), 0, finn.ErrUpstream, finn.CodeMalformed},
		"breaks off":               {breaksOff(hello[:9], errors.New("reset")), int64(len(hello)), finn.ErrUnavailable, finn.CodeUnreachable},
		"cut short":                {breaksOff(hello[:9], io.ErrUnexpectedEOF), int64(len(hello)), finn.ErrUnavailable, finn.CodeUnreachable},
		"little, and endless":      {endless{}, 7, finn.ErrUpstream, finn.CodeTooLarge},
		"too large":                {endless{}, 9 << 20, finn.ErrUpstream, finn.CodeTooLarge},
		"exactly too large":        {io.LimitReader(endless{}, 8<<20+1), 8<<20 + 1, finn.ErrUpstream, finn.CodeTooLarge},
		"as large as can be":       {io.LimitReader(endless{}, 8<<20), 8 << 20, finn.ErrUpstream, finn.CodeMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, finn.Config{URL: "http://finn.test", HTTPClient: &http.Client{
				Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					response, err := answer(r, http.StatusOK, "")
					response.Body, response.ContentLength = io.NopCloser(tc.body), tc.length
					return response, err
				}),
			}})
			turn, err := client.Send(t.Context(), sessionID, "hi")
			if tc.kind != nil {
				wantError(t, err, tc.kind, tc.code)
				return
			}
			if err != nil || turn.Response != strings.Repeat("hello ", 300) {
				t.Errorf("%d bytes, %v", len(turn.Response), err)
			}
		})
	}
}

// endless is a body of blanks.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}
