package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dixie/finn"
)

func tokenFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "finn_auth_token")
	if err := os.WriteFile(path, []byte(content), 0o400); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTokenFromAFile(t *testing.T) {
	t.Parallel()
	path := tokenFile(t, "finn-secret\n")
	base, out, stop := program(t, environment(fileVariable, path), "-host", "127.0.0.1")
	if _, err := client(t, base, "finn-secret").Send(t.Context(), "demo", "hello"); err != nil {
		t.Errorf("with the token of the file: %v", err)
	}
	for _, wrong := range []string{"", "wrong"} {
		if _, err := client(t, base, wrong).Send(t.Context(), "demo", "hello"); !errors.Is(err, finn.ErrCredential) {
			t.Errorf("with %q: %v", wrong, err)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	if s := out.String(); !strings.Contains(s, "asks for the token of FINN_AUTH_TOKEN_FILE") ||
		!strings.Contains(s, `Bearer $(cat "$FINN_AUTH_TOKEN_FILE")`) || strings.Contains(s, "finn-secret") {
		t.Errorf("output:\n%s", s)
	}
}

// TestTokenIsRefused: what is meant as a token and is none must not leave the server open.
func TestTokenIsRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		env  []string
		want string
	}{
		"both":    {[]string{valueVariable, "finn-secret", fileVariable, tokenFile(t, "x")}, "both set"},
		"no file": {[]string{fileVariable, filepath.Join(t.TempDir(), "away")}, "cannot be read"},
		"empty":   {[]string{fileVariable, tokenFile(t, "")}, "is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			err := run(ctx, []string{"-port", "0"}, environment(tc.env...), io.Discard, func(string) {
				t.Error("it listens")
				stop()
			})
			if err == nil || !strings.Contains(err.Error(), fileVariable) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error = %v, want one about %s that says %q", err, fileVariable, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "finn-secret") {
				t.Errorf("the error holds the token: %v", err)
			}
		})
	}
}

func TestTokenFlagWinsOverTheFile(t *testing.T) {
	t.Parallel()
	s, err := parseSettings([]string{"-token", "flag"}, environment(fileVariable, "/away"), io.Discard)
	if err != nil || s.token != "flag" || s.host != "" {
		t.Errorf("token %q, host %q, %v", s.token, s.host, err)
	}
}

// TestHealthcheckNeedsNoToken: the probe stands beside any Finn, which may have the token from elsewhere.
func TestHealthcheckNeedsNoToken(t *testing.T) {
	t.Parallel()
	env := environment(valueVariable, "x", fileVariable, "/away")
	if _, err := parseSettings([]string{"-healthcheck"}, env, io.Discard); err != nil {
		t.Error(err)
	}
}
