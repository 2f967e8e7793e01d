package auth_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/internal/auth"
	"dixie/internal/auth/authtest"
	"dixie/internal/wallet"
)

func TestAllowlistFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "allowlist.json")
	logged := &lockedBuffer{}
	list, err := auth.OpenAllowlistFile(path, false, slog.New(slog.NewTextHandler(logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = list.Close() }()
	ctx := t.Context()
	if list.AllowsWallet(string(wallet.TestAddress)) {
		t.Error("an absent file admits")
	}
	if _, err := list.Add(ctx, auth.EntryWallet, strings.ToLower(string(wallet.TestAddress))); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	onDisk, err := auth.ParseAllowlist(raw)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{string(wallet.TestAddress)}, onDisk.Wallets); diff != "" {
		t.Error(diff)
	}
	// Another process replaces the file, by a rename.
	replace(t, path, `{"version":1,"wallets":["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"],"apiKeys":[]}`)
	await(t, func() bool { return list.AllowsWallet("0x70997970C51812dc3A010C7d01b50e0d17dc79C8") })
	// A file that cannot be read keeps the list in memory.
	replace(t, path, `{"version":1,"wall`)
	await(t, func() bool { return strings.Contains(logged.String(), "not usable") })
	if !list.AllowsWallet("0x70997970C51812dc3A010C7d01b50e0d17dc79C8") {
		t.Error("a broken file emptied the list")
	}
	if _, err := auth.OpenAllowlistFile(path, true, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a broken file at the start: %v", err)
	}
}

func replace(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("not seen within ten seconds")
		}
	}
}

// What others wrote since the last look is the start of a change, and not undone by it.
func TestAllowlistFileChangesWhatIsThere(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "allowlist.json")
	const other, third = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
	replace(t, path, `{"version":1,"wallets":["`+other+`"],"apiKeys":[]}`)
	list, err := auth.OpenAllowlistFile(path, true, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = list.Close() }()
	replace(t, path, `{"version":1,"wallets":["`+third+`"],"apiKeys":[]}`)
	data, err := list.Add(t.Context(), auth.EntryWallet, string(wallet.TestAddress))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{third, string(wallet.TestAddress)}, data.Wallets); diff != "" || list.AllowsWallet(other) {
		t.Errorf("after a change by another process: %s", diff)
	}
	replace(t, path, `{"version":1,"wall`)
	if _, err := list.Add(t.Context(), auth.EntryWallet, other); err == nil {
		t.Error("a file that cannot be read was overwritten")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := list.Add(t.Context(), auth.EntryWallet, other); err != nil {
		t.Errorf("a file that has gone is not written again: %v", err)
	}
}

// A mounted volume swaps a symbolic link beside the file, whose own name never changes.
func TestAllowlistFileBehindALink(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	const other = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
	for version, wallets := range map[string]string{"v1": `"` + string(wallet.TestAddress) + `"`, "v2": `"` + other + `"`} {
		if err := os.Mkdir(filepath.Join(folder, version), 0o700); err != nil {
			t.Fatal(err)
		}
		replace(t, filepath.Join(folder, version, "allowlist.json"), `{"version":1,"wallets":[`+wallets+`],"apiKeys":[]}`)
	}
	point := func(version string) {
		t.Helper()
		if err := errors.Join(
			os.Symlink(version, filepath.Join(folder, "next")), os.Rename(filepath.Join(folder, "next"), filepath.Join(folder, "data")),
		); err != nil {
			t.Fatal(err)
		}
	}
	point("v1")
	path := filepath.Join(folder, "allowlist.json")
	if err := os.Symlink(filepath.Join("data", "allowlist.json"), path); err != nil {
		t.Fatal(err)
	}
	list, err := auth.OpenAllowlistFile(path, false, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = list.Close() }()
	if !list.AllowsWallet(string(wallet.TestAddress)) {
		t.Fatal("the first version was not read")
	}
	point("v2")
	await(t, func() bool { return list.AllowsWallet(other) && !list.AllowsWallet(string(wallet.TestAddress)) })
}

func TestAllowlistFilesAreBounded(t *testing.T) {
	t.Parallel()
	keys := make([]string, auth.MaxAllowlistEntries+1)
	for i := range keys {
		keys[i] = fmt.Sprintf("dxk_%08d", i)
	}
	if _, err := auth.NewMemoryAllowlist(nil, keys); err == nil {
		t.Error("20,001 keys were accepted")
	}
	if _, err := auth.ParseAllowlist([]byte(`{"version":1}` + strings.Repeat(" ", 8<<20))); err == nil {
		t.Error("a file of more than 8 MiB was read")
	}
}

func TestMalformedFilesSayWhere(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "allowlist.json")
	for content, want := range map[string]string{
		"{\n\"version\": 1,\n\"wallets\": [,]}":                     "line 3",
		"{\n\n\n\"wallets\": \"0x\"}":                               "line 4",
		`{"version":1,"wallets":["` + secret + `"],"apiKeys":[]}`:   "wallets[0]",
		`{"version":1,"apiKeys":["dxk_12345678","` + secret + `"]}`: "apiKeys[1]",
		`{"version":2}`: "version 2",
	} {
		replace(t, path, content)
		_, _, err := auth.ReadAllowlistFile(path)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v; want the path and %s, and no entry", content, err, want)
		}
	}
}

// TestAllowlists holds both lists without a database to their description.
func TestAllowlists(t *testing.T) {
	t.Parallel()
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		authtest.RunAllowlist(t, func(t *testing.T, wallets, keys []string) auth.Allowlist {
			t.Helper()
			list, err := auth.NewMemoryAllowlist(wallets, keys)
			if err != nil {
				t.Fatal(err)
			}
			return list
		})
	})
	t.Run("file", func(t *testing.T) {
		t.Parallel()
		authtest.RunAllowlist(t, func(t *testing.T, wallets, keys []string) auth.Allowlist {
			t.Helper()
			list, err := auth.OpenAllowlistFile(authtest.WriteAllowlist(t, wallets, keys), false, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			return list
		})
	})
}

func FuzzAllowlistParse(f *testing.F) {
	f.Add([]byte(`{"version":1,"wallets":["` + string(wallet.TestAddress) + `"],"apiKeys":["dxk_12345678"],"updated_at":"2026-01-01T00:00:00Z"}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		data, err := auth.ParseAllowlist(raw)
		if err != nil {
			return
		}
		for _, w := range data.Wallets {
			if address, ok := wallet.Parse(w); !ok || string(address) != w {
				t.Errorf("wallet %q came through", w)
			}
		}
	})
}
