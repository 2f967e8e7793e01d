package postgres_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dixie/auth/postgres"
	"dixie/internal/auth"
)

// TestSeed starts a replica again and again, with a file that is the same, changes, or has gone.
func TestSeed(t *testing.T) {
	t.Parallel()
	p := pool(t, server.Migrated(t))
	f := newFile(t, `{"wallets":["`+strings.ToLower(alice)+`","`+bob+`"],"apiKeys":["`+key+`"],"policy":{"type":"role_based","roles":["team"]}}`)
	start := func(what string, wallets, keys []string) *postgres.Allowlist {
		t.Helper()
		list := open(t, postgres.Config{Pool: p, SeedFile: string(f)})
		got := list.List()
		if diff := cmp.Diff([][]string{wallets, keys}, [][]string{got.Wallets, got.APIKeys}); diff != "" {
			t.Errorf("%s (-want +got)\n%s", what, diff)
		}
		return list
	}

	list := start("the first start", []string{alice, bob}, []string{key})
	want := &auth.AccessPolicy{Type: "role_based", Roles: []string{"team"}}
	if diff := cmp.Diff(want, list.List().Policy); diff != "" {
		t.Errorf("the policy: %s", diff)
	}
	remove(t, list, alice)
	add(t, list, carol)
	start("an entry that an admin removed does not come back by a restart", []string{bob, carol}, []string{key})

	f.write(t, `{"wallets":["`+alice+`","`+bob+`","`+carol+`"],"apiKeys":["`+key+`","dxk_second_key"]}`)
	list = start("a changed file adds what is new in it, and not what was removed", []string{bob, carol}, []string{key, "dxk_second_key"})
	if policy := list.List().Policy; policy != nil {
		t.Errorf("the policy is %+v, and the file has none", policy)
	}

	f.write(t, `{"wallets":["`+alice+`"],"apiKeys":["dxk_second_key"]}`)
	list = start("what a file drops goes, unless an admin added it", []string{carol}, []string{"dxk_second_key"})

	add(t, list, "dxk_second_key") // The admin's own from here on.
	f.write(t, `{}`)
	start("an empty file takes away what came from files", []string{carol}, []string{"dxk_second_key"})

	f.write(t, `{"wallets":["`+alice+`"]}`)
	start("what a file dropped and names anew is listed", []string{carol, alice}, []string{"dxk_second_key"})

	f = file(filepath.Join(t.TempDir(), "absent.json"))
	start("an absent file", []string{carol, alice}, []string{"dxk_second_key"})
}

// TestOldSeed: a replica with an old file must not undo what a newer one did.
func TestOldSeed(t *testing.T) {
	t.Parallel()
	p := pool(t, server.Migrated(t))
	start := func(content string, want ...string) {
		t.Helper()
		log := &logs{}
		list := open(t, postgres.Config{Pool: p, SeedFile: string(newFile(t, content)), Logger: log.logger()})
		if diff := cmp.Diff(want, list.List().Wallets); diff != "" {
			t.Errorf("after %s (-want +got)\n%s", content, diff)
		}
		if applied := log.count("allowlist seeded") == 1; applied == (log.count("is older") == 1) {
			t.Errorf("after %s: %s", content, log.text.String())
		}
	}
	start(`{"wallets":["`+alice+`"],"updated_at":"2026-01-01T00:00:00.1234567Z"}`, alice)
	start(`{"wallets":["`+bob+`"],"updated_at":"2026-01-01T00:00:00.1234567Z"}`, bob)
	start(`{"wallets":["`+alice+`"],"updated_at":"2025-12-31T00:00:00Z"}`, bob)
	start(`{"wallets":["`+carol+`"]}`, carol) // One that does not say counts as new,
	start(`{"wallets":["`+alice+`"],"updated_at":"2025-12-31T00:00:00Z"}`, carol)
	start(`{"wallets":["`+bob+`"],"updated_at":"2026-01-02T00:00:00Z"}`, bob) // and does not make others old.
	// A slip of the year does not shut out all that follow.
	start(`{"wallets":["`+alice+`"],"updated_at":"9026-01-02T00:00:00Z"}`, alice)
	start(`{"wallets":["`+bob+`"],"updated_at":"9025-01-02T00:00:00Z"}`, bob)
}

func TestManySeedAtOnce(t *testing.T) {
	t.Parallel()
	url := server.Migrated(t)
	f := newFile(t, `{"wallets":["`+alice+`"],"apiKeys":["`+key+`"]}`)
	log := &logs{}
	var wg sync.WaitGroup
	for range 10 {
		p := pool(t, url)
		wg.Go(func() {
			list, err := postgres.Open(t.Context(), postgres.Config{Pool: p, SeedFile: string(f), Logger: log.logger()})
			if err != nil {
				t.Errorf("Open: %v", err)
				return
			}
			if !list.AllowsWallet(alice) || !list.AllowsKey(key) {
				t.Error("the file does not count")
			}
			if err := list.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	wg.Wait()
	if n := log.count("allowlist seeded"); n != 1 {
		t.Errorf("the file was applied %d times", n)
	}
}

func TestSeedRefuses(t *testing.T) {
	t.Parallel()
	p := pool(t, server.Migrated(t))
	malformed := newFile(t, "{\n\"wallets\": [}")
	if _, err := postgres.Open(t.Context(), postgres.Config{Pool: p, SeedFile: string(malformed)}); err == nil ||
		!strings.Contains(err.Error(), string(malformed)) || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a malformed file: %v, want its path and line", err)
	}

	list := open(t, postgres.Config{Pool: p})
	add(t, list, key)
	keys := make([]string, auth.MaxAllowlistEntries)
	for i := range keys {
		keys[i] = fmt.Sprintf(`"dxk_%08d"`, i)
	}
	full := newFile(t, `{"wallets":["`+alice+`"],"apiKeys":[`+strings.Join(keys, ",")+`]}`)
	if _, err := postgres.Open(t.Context(), postgres.Config{Pool: p, SeedFile: string(full)}); !errors.Is(err, auth.ErrAllowlistFull) ||
		!strings.Contains(err.Error(), string(full)) {
		t.Errorf("more than fit: %v, want ErrAllowlistFull and the path", err)
	}
	if again := open(t, postgres.Config{Pool: p}); again.AllowsWallet(alice) || !again.AllowsKey(key) {
		t.Error("half of a file was applied")
	}
}
