package dixie_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dixie"
	"dixie/finn"
	"dixie/finn/localfinn"
	"dixie/internal/apitest"
	"dixie/internal/wallet"
)

// description is what every answer in this package's tests is checked against, and what they must cover.
//
//nolint:gochecknoglobals // It knows at the end of the run what all tests have seen.
var description = sync.OnceValues(func() (*apitest.Spec, error) { return apitest.Load(dixie.OpenAPI()) })

func TestMain(m *testing.M) {
	spec, err := description()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo // A TestMain is a main function.
	}
	goleak.VerifyTestMain(spec.Covering(m))
}

// describe returns the description that every answer is checked against.
func describe(tb testing.TB) *apitest.Spec {
	tb.Helper()
	spec, err := description()
	if err != nil {
		tb.Fatal(err)
	}
	return spec
}

const (
	origin   = "http://localhost:3001"
	adminKey = "admin-key-for-tests"
)

// service is a Handler behind a real server, with a client that signs in.
type service struct {
	t       testing.TB
	url     string
	handler *dixie.Handler
	client  *http.Client
	// cut says that the test cuts something off, so that Shutdown has something to tell.
	cut bool
}

func start(tb testing.TB, responder localfinn.Responder, opts ...dixie.Option) *service {
	tb.Helper()
	local, err := localfinn.Start(localfinn.Config{Responder: responder})
	if err != nil {
		tb.Fatal(err)
	}
	opts = append([]dixie.Option{
		dixie.WithEnvironment(dixie.Test),
		dixie.WithAuth(dixie.AuthConfig{AdminKey: adminKey}),
		dixie.WithFinn(finn.Config{URL: local.URL()}),
		dixie.WithRateLimit(dixie.RateLimitConfig{PerMinute: -1}),
	}, opts...)
	h, err := dixie.New(opts...)
	if err != nil {
		tb.Fatal(err)
	}
	server := httptest.NewServer(h)
	client := &http.Client{Transport: describe(tb).Transport(tb, &http.Transport{})}
	s := &service{t: tb, url: server.URL, handler: h, client: client}
	tb.Cleanup(func() {
		client.CloseIdleConnections()
		server.Close()
		ctx := context.WithoutCancel(tb.Context())
		ended := h.Shutdown(ctx)
		if s.cut {
			ended = nil
		}
		if err := errors.Join(ended, local.Close(ctx)); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// answer is a response with its body read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) field(name string) any {
	var fields map[string]any
	_ = json.Unmarshal(a.body, &fields)
	return fields[name]
}

func (s *service) do(method, path, token, body string, header ...string) answer {
	s.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	return s.send(method, path, token, reader, header...)
}

func (s *service) send(method, path, token string, body io.Reader, header ...string) answer {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := s.client.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, raw}
}

func (s *service) signIn(key wallet.Key) answer {
	s.t.Helper()
	nonce, _ := s.do(http.MethodGet, "/api/auth/nonce", "", "").field("nonce").(string)
	text := wallet.SignInMessage{Domain: "localhost:3001", URI: origin, Address: key.Address(), Nonce: nonce, IssuedAt: time.Now()}.String()
	signature, err := key.SignMessage(text)
	if err != nil {
		s.t.Fatal(err)
	}
	body, err := json.Marshal(map[string]string{"message": text, "signature": signature})
	if err != nil {
		s.t.Fatal(err)
	}
	return s.do(http.MethodPost, "/api/auth/siwe", "", string(body))
}

func (s *service) token() string {
	s.t.Helper()
	key, err := wallet.NewKey()
	if err != nil {
		s.t.Fatal(err)
	}
	token, ok := s.signIn(key).field("token").(string)
	if !ok {
		s.t.Fatal("no token")
	}
	return token
}

func want(tb testing.TB, what string, got answer, status int, code string) {
	tb.Helper()
	if got.status != status || code != "" && got.field("error") != code {
		tb.Errorf("%s: %d %s, want %d %s", what, got.status, got.body, status, code)
	}
	if status >= 400 && code != "" && got.field("request_id") != got.header.Get("X-Request-ID") {
		tb.Errorf("%s: request_id %v differs from the header %q", what, got.field("request_id"), got.header.Get("X-Request-ID"))
	}
}
