package httpapi_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
)

// TestAnnouncedLengthsOfBodies: whatever length the request announces, the body is what comes. Only a server in
// between could make the two differ, such as one that decompresses.
func TestAnnouncedLengthsOfBodies(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const unsigned = `{"message":"x"}` // Which is refused for what is missing, when it has been read whole.
	long := `{"ignored":"` + strings.Repeat("x", 50<<10) + `","message":"x"}`
	for name, tc := range map[string]struct {
		body   io.Reader
		length int64
		status int
		says   string
	}{
		"right":                    {strings.NewReader(unsigned), int64(len(unsigned)), http.StatusBadRequest, "signature is required"},
		"right, byte by byte":      {iotest.OneByteReader(strings.NewReader(unsigned)), int64(len(unsigned)), http.StatusBadRequest, "signature is required"},
		"right, end with the data": {iotest.DataErrReader(strings.NewReader(unsigned)), int64(len(unsigned)), http.StatusBadRequest, "signature is required"},
		"right, and long":          {strings.NewReader(long), int64(len(long)), http.StatusBadRequest, "signature is required"},
		"unknown":                  {strings.NewReader(unsigned), -1, http.StatusBadRequest, "signature is required"},
		"unknown, and long":        {strings.NewReader(long), -1, http.StatusBadRequest, "signature is required"},
		"none":                     {strings.NewReader(unsigned), 0, http.StatusBadRequest, "signature is required"},
		"too little":               {strings.NewReader(long), 7, http.StatusBadRequest, "signature is required"},
		"too much":                 {strings.NewReader(unsigned), 100 << 10, http.StatusBadRequest, "signature is required"},
		"beyond the bound":         {strings.NewReader(unsigned), 100<<10 + 1, http.StatusRequestEntityTooLarge, "Body exceeds 102400 bytes"},
		"empty":                    {strings.NewReader(""), 0, http.StatusBadRequest, "The body is not the JSON that this route takes"},
		"as large as may be": {
			io.LimitReader(blanks{}, 100<<10), 100 << 10, http.StatusBadRequest, "The body is not the JSON that this route takes",
		},
		"little, and endless": {blanks{}, 7, http.StatusRequestEntityTooLarge, "Body exceeds 102400 bytes"},
		"endless":             {blanks{}, -1, http.StatusRequestEntityTooLarge, "Body exceeds 102400 bytes"},
		"breaks off": {
			io.MultiReader(strings.NewReader(unsigned[:5]), iotest.ErrReader(io.ErrUnexpectedEOF)), int64(len(unsigned)),
			http.StatusBadRequest, "The body could not be read",
		},
		"fails": {iotest.ErrReader(errors.New("reset")), int64(len(unsigned)), http.StatusBadRequest, "The body could not be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/auth/siwe", tc.body)
			r.ContentLength = tc.length
			w := httptest.NewRecorder()
			e.ServeHTTP(w, r)
			got := answer{w}
			if got.Code != tc.status || got.field("message") != tc.says {
				t.Errorf("%d %s, want %d %s", got.Code, got.Body, tc.status, tc.says)
			}
		})
	}
}

// blanks is a body without an end.
type blanks struct{}

func (blanks) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}
