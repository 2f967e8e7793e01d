package main_test

import (
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"dixie/internal/pgtest"
)

// TestRefusedByTheDatabase: a start that PostgreSQL or the allowlist stops names the variable and the remedy.
func TestRefusedByTheDatabase(t *testing.T) {
	t.Parallel()
	server, err := url.Parse(pgtest.Start(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "allowlist.json")
	if err := os.WriteFile(broken, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := *server
	missing.Path = "/nowhere"
	stranger := *server
	stranger.User = url.UserPassword("stranger", "hunter2")
	binary := build(t, "dixie/examples/staging-server")
	for name, tc := range map[string]struct {
		env  []string
		says []string
	}{
		"no such database": {[]string{"DATABASE_URL=" + missing.String()}, []string{"DATABASE_URL cannot", "nowhere", "create the database"}},
		"no such user":     {[]string{"DATABASE_URL=" + stranger.String()}, []string{"DATABASE_URL cannot", "check the user in DATABASE_URL"}},
		"broken allowlist": {
			[]string{"DATABASE_URL=" + server.String(), "DIXIE_ALLOWLIST_PATH=" + broken},
			[]string{"DIXIE_ALLOWLIST_PATH", broken, "line 1", "of the form"},
		},
		"allowlist is a folder": {
			[]string{"DATABASE_URL=" + server.String(), "DIXIE_ALLOWLIST_PATH=" + filepath.Dir(broken)},
			[]string{"DIXIE_ALLOWLIST_PATH", filepath.Dir(broken), "must name a file"},
		},
	} {
		wantRefused(t, binary, name, tc.env, tc.says)
	}
}
