package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"dixie/internal/wallet"
)

// APIKeyPrefix begins every API key.
const APIKeyPrefix = "dxk_"

// Errors of the allowlist.
var (
	// ErrNotListed says that an entry to be removed is not on the list.
	ErrNotListed = errors.New("auth: not on the allowlist")
	// ErrInvalidEntry says that a value is neither an address nor an API key.
	ErrInvalidEntry = errors.New("auth: invalid allowlist entry")
	// ErrAllowlistFull says that there are [MaxAllowlistEntries] of the kind already.
	ErrAllowlistFull = errors.New("auth: the allowlist is full")
	// ErrAllowlistStore says that the list could not be changed, because where it is kept did not answer.
	ErrAllowlistStore = errors.New("auth: allowlist store unavailable")
)

// EntryKind is the kind of an allowlist entry.
type EntryKind int

// The kinds of entry.
const (
	EntryWallet EntryKind = iota
	EntryAPIKey
)

// Allowlist says who may come in. Implementations are safe for concurrent use and answer the first two
// questions without I/O.
type Allowlist interface {
	// AllowsWallet takes an EIP-55 address.
	AllowsWallet(address string) bool
	// AllowsKey compares in constant time.
	AllowsKey(key string) bool
	// List returns a copy.
	List() AllowlistData
	// Add puts an entry on the list; one that is there already is no error. It fails with
	// [ErrInvalidEntry], [ErrAllowlistFull] and [ErrAllowlistStore].
	Add(ctx context.Context, kind EntryKind, value string) (AllowlistData, error)
	// Remove takes an entry off the list, from the next question on. It fails with [ErrNotListed] and
	// [ErrAllowlistStore].
	Remove(ctx context.Context, entry string) (AllowlistData, error)
	// Close ends background work.
	Close() error
}

// AllowlistData is the list as the file and the admin routes show it.
type AllowlistData struct {
	Version   int           `json:"version"`
	Wallets   []string      `json:"wallets"`
	APIKeys   []string      `json:"apiKeys"`
	UpdatedAt time.Time     `json:"updated_at"`
	Policy    *AccessPolicy `json:"policy,omitempty"`
}

// AccessPolicy is a note on how access is meant to be given. It is kept as it is and enforced nowhere.
type AccessPolicy struct {
	Type          string   `json:"type"`
	DurationHours int      `json:"duration_hours,omitempty"`
	Roles         []string `json:"roles,omitempty"`
	AuditRequired *bool    `json:"audit_required,omitempty"`
	Revocable     *bool    `json:"revocable,omitempty"`
}

const (
	// MaxAllowlistEntries bounds the wallets of a list, and its API keys.
	MaxAllowlistEntries = 20_000

	allowlistVersion = 1
	// allowlistMaxBytes is room for the most entries of either kind, at their longest.
	allowlistMaxBytes = 8 << 20
)

var apiKeyShape = regexp.MustCompile(`^dxk_[A-Za-z0-9_-]{8,124}$`)

// ParseAllowlist reads the file format: at most 8 MiB and 20,000 wallets and keys each. Wallets come
// back checksummed, without repetition. An entry that is no address or key is an error, which names
// its place and not its value.
func ParseAllowlist(raw []byte) (AllowlistData, error) {
	var data AllowlistData
	if len(raw) > allowlistMaxBytes {
		return data, fmt.Errorf("allowlist has %d bytes, at most %d are read", len(raw), allowlistMaxBytes)
	}
	if err := json.Unmarshal(raw, &data); err != nil {
		if line := lineOf(raw, err); line > 0 {
			return AllowlistData{}, fmt.Errorf("allowlist line %d: %w", line, err)
		}
		return AllowlistData{}, fmt.Errorf("allowlist: %w", err)
	}
	if data.Version == 0 {
		data.Version = allowlistVersion
	}
	if data.Version != allowlistVersion {
		return AllowlistData{}, fmt.Errorf("allowlist version %d is not known", data.Version)
	}
	if len(data.Wallets) > MaxAllowlistEntries || len(data.APIKeys) > MaxAllowlistEntries {
		return AllowlistData{}, fmt.Errorf("allowlist has more than %d entries of a kind", MaxAllowlistEntries)
	}
	wallets, keys := data.Wallets, data.APIKeys
	data.Wallets, data.APIKeys = []string{}, []string{}
	seen := make(map[string]struct{}, len(wallets)+len(keys))
	isNew := func(entry string) bool {
		_, known := seen[entry]
		seen[entry] = struct{}{}
		return !known
	}
	for i, w := range wallets {
		address, ok := wallet.Parse(w)
		if !ok {
			return AllowlistData{}, fmt.Errorf("allowlist: wallets[%d] is not an address", i)
		}
		if isNew(string(address)) {
			data.Wallets = append(data.Wallets, string(address))
		}
	}
	for i, k := range keys {
		if !apiKeyShape.MatchString(k) {
			return AllowlistData{}, fmt.Errorf("allowlist: apiKeys[%d] is not dxk_ and 8 to 124 characters", i)
		}
		if isNew(k) {
			data.APIKeys = append(data.APIKeys, k)
		}
	}
	return data, nil
}

// lineOf is the line that an error of encoding/json is about, 0 when it does not tell.
func lineOf(raw []byte, err error) int {
	var at int64
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		at = syntax.Offset
	} else if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		at = kind.Offset
	} else {
		return 0
	}
	return 1 + bytes.Count(raw[:min(int64(len(raw)), at)], []byte("\n"))
}

// NormalizeEntry is an entry as it is kept: an address with its checksum, an API key as it is. It fails
// with [ErrInvalidEntry].
func NormalizeEntry(kind EntryKind, value string) (string, error) {
	switch kind {
	case EntryWallet:
		if address, ok := wallet.Parse(value); ok {
			return string(address), nil
		}
	case EntryAPIKey:
		if apiKeyShape.MatchString(value) {
			return value, nil
		}
	default:
	}
	return "", ErrInvalidEntry
}

// appendNew keeps the given order and drops what is there already. Lists are sorted by no one, so that
// a file edited by hand stays recognisable.
func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

func (d AllowlistData) clone() AllowlistData {
	d.Wallets = append([]string{}, d.Wallets...)
	d.APIKeys = append([]string{}, d.APIKeys...)
	return d
}

// MemoryAllowlist keeps the list in the process.
type MemoryAllowlist struct {
	everyone bool
	current  atomic.Pointer[AllowlistSnapshot]
	mu       sync.Mutex // held while the list changes
	// refresh is called before a change, to start from what others have made of the list; nil in plain memory.
	refresh func() error
	// save is called with the list to come before it counts; nil in plain memory.
	save func(AllowlistData) error
}

var _ Allowlist = (*MemoryAllowlist)(nil)

// NewMemoryAllowlist starts with the given list, which must be valid (see [ParseAllowlist]).
func NewMemoryAllowlist(wallets, apiKeys []string) (*MemoryAllowlist, error) {
	raw, err := json.Marshal(AllowlistData{Version: allowlistVersion, Wallets: wallets, APIKeys: apiKeys})
	if err != nil {
		return nil, fmt.Errorf("auth: allowlist: %w", err)
	}
	data, err := ParseAllowlist(raw)
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	data.UpdatedAt = time.Now().UTC()
	m := &MemoryAllowlist{}
	m.current.Store(NewAllowlistSnapshot(data))
	return m, nil
}

// NewOpenAllowlist admits every wallet, for development. API keys must still be listed.
func NewOpenAllowlist() *MemoryAllowlist {
	m := &MemoryAllowlist{everyone: true}
	m.current.Store(NewAllowlistSnapshot(AllowlistData{
		Version: allowlistVersion, Wallets: []string{}, APIKeys: []string{}, UpdatedAt: time.Now().UTC(),
	}))
	return m
}

// AllowsWallet implements [Allowlist].
func (m *MemoryAllowlist) AllowsWallet(address string) bool {
	if m.everyone {
		return address != ""
	}
	return m.current.Load().AllowsWallet(address)
}

// AllowsKey implements [Allowlist].
func (m *MemoryAllowlist) AllowsKey(key string) bool { return m.current.Load().AllowsKey(key) }

// List implements [Allowlist].
func (m *MemoryAllowlist) List() AllowlistData { return m.current.Load().List() }

// Add implements [Allowlist].
func (m *MemoryAllowlist) Add(_ context.Context, kind EntryKind, value string) (AllowlistData, error) {
	entry, err := NormalizeEntry(kind, value)
	if err != nil {
		return AllowlistData{}, err
	}
	return m.change(func(d *AllowlistData) error {
		list := &d.Wallets
		if kind == EntryAPIKey {
			list = &d.APIKeys
		}
		*list = appendNew(*list, entry)
		return atMost(len(*list))
	})
}

func atMost(n int) error {
	if n > MaxAllowlistEntries {
		return fmt.Errorf("%w: it has %d entries of the kind", ErrAllowlistFull, MaxAllowlistEntries)
	}
	return nil
}

// Remove implements [Allowlist].
func (m *MemoryAllowlist) Remove(_ context.Context, entry string) (AllowlistData, error) {
	if address, ok := wallet.Parse(entry); ok {
		entry = string(address)
	}
	return m.change(func(d *AllowlistData) error {
		before := len(d.Wallets) + len(d.APIKeys)
		same := func(s string) bool { return s == entry }
		d.Wallets = slices.DeleteFunc(d.Wallets, same)
		if strings.HasPrefix(entry, APIKeyPrefix) {
			d.APIKeys = slices.DeleteFunc(d.APIKeys, NewSecret(entry).Is)
		}
		if len(d.Wallets)+len(d.APIKeys) == before {
			return ErrNotListed
		}
		return nil
	})
}

// Close implements [Allowlist].
func (m *MemoryAllowlist) Close() error { return nil }

// change makes the new list durable, where it is to be, before anyone is judged by it.
func (m *MemoryAllowlist) change(edit func(*AllowlistData) error) (AllowlistData, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refresh != nil {
		if err := m.refresh(); err != nil {
			return AllowlistData{}, err
		}
	}
	data := m.current.Load().List()
	if err := edit(&data); err != nil {
		return AllowlistData{}, err
	}
	data.UpdatedAt = time.Now().UTC().Truncate(time.Millisecond)
	if m.save != nil {
		if err := m.save(data); err != nil {
			return AllowlistData{}, err
		}
	}
	m.current.Store(NewAllowlistSnapshot(data))
	return data.clone(), nil
}
