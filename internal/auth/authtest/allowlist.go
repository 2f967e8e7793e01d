package authtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/internal/auth"
)

const (
	alice = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
	bob   = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
	key   = "dxk_12345678"
	// These are two.
	lower = "dxk_abcdefgh"
	upper = "dxk_ABCDEFGH"
)

// OpenAllowlist makes a list that has the given entries, which are valid. The suite closes it.
type OpenAllowlist func(t *testing.T, wallets, apiKeys []string) auth.Allowlist

// RunAllowlist runs the suite. Each case opens a list of its own.
func RunAllowlist(t *testing.T, open OpenAllowlist) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, OpenAllowlist){
		"NobodyIsOnAnEmptyList":    nobodyIsOnAnEmptyList,
		"EntriesAreAdded":          entriesAreAdded,
		"EntriesAreRemoved":        entriesAreRemoved,
		"NonsenseIsRefused":        nonsenseIsRefused,
		"ListsAreCopies":           listsAreCopies,
		"ChangesAtOnceAllCount":    changesAtOnceAllCount,
		"ListsAreBounded":          listsAreBounded,
		"AClosedListStillAnswers":  aClosedListStillAnswers,
		"ARemovalCountsAtOnce":     aRemovalCountsAtOnce,
		"OneOfManyRemovalsIsFirst": oneOfManyRemovalsIsFirst,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, func(t *testing.T, wallets, apiKeys []string) auth.Allowlist {
				t.Helper()
				list := open(t, wallets, apiKeys)
				t.Cleanup(func() {
					if err := list.Close(); err != nil {
						t.Errorf("Close: %v", err)
					}
				})
				return list
			})
		})
	}
}

// WriteAllowlist writes a list to a file of the test and returns its path.
func WriteAllowlist(t *testing.T, wallets, apiKeys []string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "allowlist.json")
	raw, err := json.Marshal(auth.AllowlistData{Version: 1, Wallets: wallets, APIKeys: apiKeys})
	if err == nil {
		err = os.WriteFile(path, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// shows fails unless the list has these entries, in this order, and admits them.
func shows(t *testing.T, list auth.Allowlist, got auth.AllowlistData, wallets, keys []string) {
	t.Helper()
	for name, data := range map[string]auth.AllowlistData{"what the change returned": got, "List": list.List()} {
		if diff := cmp.Diff([][]string{wallets, keys}, [][]string{data.Wallets, data.APIKeys}); diff != "" || data.Version != 1 {
			t.Errorf("%s has version %d (-want +got)\n%s", name, data.Version, diff)
		}
	}
	for _, w := range wallets {
		if !list.AllowsWallet(w) {
			t.Errorf("wallet %s is listed and not admitted", w)
		}
	}
	for _, k := range keys {
		if !list.AllowsKey(k) {
			t.Errorf("key %s is listed and not admitted", k)
		}
	}
}

func nobodyIsOnAnEmptyList(t *testing.T, open OpenAllowlist) {
	t.Helper()
	list := open(t, nil, nil)
	shows(t, list, list.List(), []string{}, []string{})
	for _, value := range []string{"", alice, key, "dxk_"} {
		if list.AllowsWallet(value) || list.AllowsKey(value) {
			t.Errorf("an empty list admits %q", value)
		}
	}
}

func entriesAreAdded(t *testing.T, open OpenAllowlist) {
	t.Helper()
	list := open(t, []string{strings.ToLower(bob)}, nil)
	before := time.Now().Add(-time.Minute)
	// Twice, and in any case.
	for _, spelling := range []string{alice, strings.ToLower(alice), "0x" + strings.ToUpper(alice[2:])} {
		got, err := list.Add(t.Context(), auth.EntryWallet, spelling)
		if err != nil {
			t.Fatal(err)
		}
		shows(t, list, got, []string{bob, alice}, []string{})
		if got.UpdatedAt.Before(before) || got.UpdatedAt.Location() != time.UTC {
			t.Errorf("updated at %v", got.UpdatedAt)
		}
	}
	for range 2 {
		got, err := list.Add(t.Context(), auth.EntryAPIKey, key)
		if err != nil {
			t.Fatal(err)
		}
		shows(t, list, got, []string{bob, alice}, []string{key})
	}
	// Keys are compared as they are, addresses in the one spelling that the callers use.
	if list.AllowsKey(strings.ToUpper(key)) || list.AllowsKey(key+"9") || list.AllowsKey(alice) || list.AllowsWallet(key) {
		t.Error("what is not on the list is admitted")
	}
}

func entriesAreRemoved(t *testing.T, open OpenAllowlist) {
	t.Helper()
	list := open(t, []string{alice, bob}, []string{key, lower, upper})
	for _, step := range []struct {
		entry         string
		wallets, keys []string
	}{
		{strings.ToLower(alice), []string{bob}, []string{key, lower, upper}},
		{upper, []string{bob}, []string{key, lower}},
		{key, []string{bob}, []string{lower}},
		{bob, []string{}, []string{lower}},
	} {
		got, err := list.Remove(t.Context(), step.entry)
		if err != nil {
			t.Fatal(err)
		}
		shows(t, list, got, step.wallets, step.keys)
		if list.AllowsWallet(step.entry) || list.AllowsKey(step.entry) {
			t.Errorf("%s was removed and is admitted", step.entry)
		}
		if _, err := list.Remove(t.Context(), step.entry); !errors.Is(err, auth.ErrNotListed) {
			t.Errorf("removing %s again: %v, want ErrNotListed", step.entry, err)
		}
	}
	for _, entry := range []string{"", "x", "dxk_", "0x", "a\x00b", "\xff", key} {
		if _, err := list.Remove(t.Context(), entry); !errors.Is(err, auth.ErrNotListed) {
			t.Errorf("removing %q: %v, want ErrNotListed", entry, err)
		}
	}
}

func nonsenseIsRefused(t *testing.T, open OpenAllowlist) {
	t.Helper()
	list := open(t, []string{bob}, []string{key})
	for _, tc := range []struct {
		kind  auth.EntryKind
		value string
	}{
		{auth.EntryWallet, ""},
		{auth.EntryWallet, "0x12"},
		{auth.EntryWallet, alice[2:]},
		{auth.EntryWallet, alice + "0"},
		{auth.EntryWallet, "0x" + strings.Repeat("g", 40)},
		{auth.EntryWallet, "dxk_87654321"},
		{auth.EntryAPIKey, ""},
		{auth.EntryAPIKey, alice},
		{auth.EntryAPIKey, "dxk_1234567"},
		{auth.EntryAPIKey, "dxk_" + strings.Repeat("x", 125)},
		{auth.EntryAPIKey, "dxk_with a space"},
		{auth.EntryAPIKey, "dxk_12345678\n"},
		{auth.EntryAPIKey, "dxk_1234\x005678"},
		{auth.EntryAPIKey + 1, "dxk_87654321"},
		{-1, alice},
	} {
		if _, err := list.Add(t.Context(), tc.kind, tc.value); !errors.Is(err, auth.ErrInvalidEntry) {
			t.Errorf("kind %d, %q: %v, want ErrInvalidEntry", tc.kind, tc.value, err)
		}
	}
	shows(t, list, list.List(), []string{bob}, []string{key})
}

func listsAreCopies(t *testing.T, open OpenAllowlist) {
	t.Helper()
	list := open(t, []string{alice}, []string{key})
	added, err := list.Add(t.Context(), auth.EntryWallet, bob)
	if err != nil {
		t.Fatal(err)
	}
	for _, copied := range []auth.AllowlistData{added, list.List()} {
		copied.Wallets[0], copied.APIKeys[0] = "0x", "dxk_"
		_ = append(copied.Wallets[:1], "0x")
	}
	shows(t, list, list.List(), []string{alice, bob}, []string{key})
}

func changesAtOnceAllCount(t *testing.T, open OpenAllowlist) {
	t.Helper()
	const many = 10
	list := open(t, nil, []string{"dxk_leaving00", "dxk_leaving01"})
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			// Each from two sides.
			added := fmt.Sprintf("dxk_added_%02d", i/2)
			if _, err := list.Add(t.Context(), auth.EntryAPIKey, added); err != nil {
				t.Errorf("Add: %v", err)
			}
			if !list.AllowsKey(added) {
				t.Errorf("%s was added and is not admitted", added)
			}
		})
	}
	for i := range 2 {
		wg.Go(func() {
			if _, err := list.Remove(t.Context(), fmt.Sprintf("dxk_leaving%02d", i)); err != nil {
				t.Errorf("Remove: %v", err)
			}
		})
	}
	wg.Wait()
	seen := make(map[string]bool)
	for _, k := range list.List().APIKeys {
		seen[k] = true
	}
	if n := len(list.List().APIKeys); n != many/2 || len(seen) != many/2 || seen["dxk_leaving00"] || seen["dxk_leaving01"] {
		t.Errorf("%d keys are left: %v", n, seen)
	}
}

func listsAreBounded(t *testing.T, open OpenAllowlist) {
	t.Helper()
	const free, tries = 2, 6
	keys := make([]string, auth.MaxAllowlistEntries-free)
	for i := range keys {
		keys[i] = fmt.Sprintf("dxk_%08d", i)
	}
	list := open(t, nil, keys)
	var added, refused atomic.Int32
	var wg sync.WaitGroup
	for i := range tries {
		wg.Go(func() {
			switch _, err := list.Add(t.Context(), auth.EntryAPIKey, fmt.Sprintf("dxk_more_%04d", i)); {
			case err == nil:
				added.Add(1)
			case errors.Is(err, auth.ErrAllowlistFull):
				refused.Add(1)
			default:
				t.Errorf("Add: %v", err)
			}
		})
	}
	wg.Wait()
	if added.Load() != free || refused.Load() != tries-free {
		t.Errorf("with room for %d, %d were added and %d refused", free, added.Load(), refused.Load())
	}
	if _, err := list.Add(t.Context(), auth.EntryAPIKey, keys[3]); err != nil {
		t.Errorf("a key that is there already: %v", err)
	}
	if _, err := list.Add(t.Context(), auth.EntryWallet, alice); err != nil {
		t.Errorf("a wallet beside all the keys: %v", err)
	}
	if got := list.List(); len(got.APIKeys) != auth.MaxAllowlistEntries || len(got.Wallets) != 1 {
		t.Errorf("%d keys and %d wallets are listed", len(got.APIKeys), len(got.Wallets))
	}
	if _, err := list.Remove(t.Context(), keys[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := list.Add(t.Context(), auth.EntryAPIKey, keys[0]); err != nil {
		t.Errorf("into the place of one that left: %v", err)
	}
}

func aClosedListStillAnswers(t *testing.T, open OpenAllowlist) {
	t.Helper()
	list := open(t, []string{alice}, []string{key})
	for range 2 {
		if err := list.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	shows(t, list, list.List(), []string{alice}, []string{key})
}

// aRemovalCountsAtOnce asks all the while: who was removed is not admitted once Remove has returned, even
// while others change the list.
func aRemovalCountsAtOnce(t *testing.T, open OpenAllowlist) {
	t.Helper()
	list := open(t, nil, nil)
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			mine := fmt.Sprintf("dxk_comes_and_goes_%d", i)
			for range 10 {
				if _, err := list.Add(t.Context(), auth.EntryAPIKey, mine); err != nil || !list.AllowsKey(mine) {
					t.Errorf("added, %v, and admitted: %v", err, list.AllowsKey(mine))
				}
				if _, err := list.Remove(t.Context(), mine); err != nil || list.AllowsKey(mine) {
					t.Errorf("removed, %v, and admitted: %v", err, list.AllowsKey(mine))
				}
			}
		})
	}
	wg.Wait()
}

func oneOfManyRemovalsIsFirst(t *testing.T, open OpenAllowlist) {
	t.Helper()
	list := open(t, []string{alice}, nil)
	var removed atomic.Int32
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			switch _, err := list.Remove(t.Context(), alice); {
			case err == nil:
				removed.Add(1)
			case !errors.Is(err, auth.ErrNotListed):
				t.Errorf("Remove: %v", err)
			}
		})
	}
	wg.Wait()
	if removed.Load() != 1 {
		t.Errorf("%d removals of one entry succeeded", removed.Load())
	}
}
