package auth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
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
	// [ErrInvalidEntry].
	Add(ctx context.Context, kind EntryKind, value string) (AllowlistData, error)
	// Remove takes an entry off the list, from the next question on. It fails with [ErrNotListed].
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
	allowlistVersion = 1
	// allowlistMaxBytes is room for the most entries of either kind, at their longest.
	allowlistMaxBytes  = 8 << 20
	allowlistMaxPerSet = 20_000
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
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			line := 1 + bytes.Count(raw[:min(int64(len(raw)), syntax.Offset)], []byte("\n"))
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
	if len(data.Wallets) > allowlistMaxPerSet || len(data.APIKeys) > allowlistMaxPerSet {
		return AllowlistData{}, fmt.Errorf("allowlist has more than %d entries of a kind", allowlistMaxPerSet)
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

// snapshot is an immutable view of the list for lock-free questions.
type snapshot struct {
	data    AllowlistData
	wallets map[string]struct{}
	keys    [][sha256.Size]byte
}

func newSnapshot(data AllowlistData) *snapshot {
	s := &snapshot{data: data, wallets: make(map[string]struct{}, len(data.Wallets))}
	for _, w := range data.Wallets {
		s.wallets[w] = struct{}{}
	}
	for _, k := range data.APIKeys {
		s.keys = append(s.keys, sha256.Sum256([]byte(k)))
	}
	return s
}

// MemoryAllowlist keeps the list in the process.
type MemoryAllowlist struct {
	everyone bool
	current  atomic.Pointer[snapshot]
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
	m.current.Store(newSnapshot(data))
	return m, nil
}

// NewOpenAllowlist admits every wallet, for development. API keys must still be listed.
func NewOpenAllowlist() *MemoryAllowlist {
	m := &MemoryAllowlist{everyone: true}
	m.current.Store(newSnapshot(AllowlistData{
		Version: allowlistVersion, Wallets: []string{}, APIKeys: []string{}, UpdatedAt: time.Now().UTC(),
	}))
	return m
}

// AdmitsEveryone says whether any wallet that signs in is admitted.
func (m *MemoryAllowlist) AdmitsEveryone() bool { return m.everyone }

// AllowsWallet implements [Allowlist].
func (m *MemoryAllowlist) AllowsWallet(address string) bool {
	if m.everyone {
		return address != ""
	}
	_, ok := m.current.Load().wallets[address]
	return ok
}

// AllowsKey implements [Allowlist]. It compares with every key, so that time does not tell which.
func (m *MemoryAllowlist) AllowsKey(key string) bool {
	sum := hashOf(key)
	found := 0
	for _, k := range m.current.Load().keys {
		found |= subtle.ConstantTimeCompare(sum[:], k[:])
	}
	return found == 1
}

// List implements [Allowlist].
func (m *MemoryAllowlist) List() AllowlistData { return m.current.Load().data.clone() }

// Add implements [Allowlist].
func (m *MemoryAllowlist) Add(_ context.Context, kind EntryKind, value string) (AllowlistData, error) {
	switch kind {
	case EntryWallet:
		address, ok := wallet.Parse(value)
		if !ok {
			return AllowlistData{}, ErrInvalidEntry
		}
		return m.change(func(d *AllowlistData) error {
			d.Wallets = appendNew(d.Wallets, string(address))
			return atMost(len(d.Wallets))
		})
	case EntryAPIKey:
		if !apiKeyShape.MatchString(value) {
			return AllowlistData{}, ErrInvalidEntry
		}
		return m.change(func(d *AllowlistData) error {
			d.APIKeys = appendNew(d.APIKeys, value)
			return atMost(len(d.APIKeys))
		})
	default:
		return AllowlistData{}, ErrInvalidEntry
	}
}

func atMost(n int) error {
	if n > allowlistMaxPerSet {
		return fmt.Errorf("auth: the allowlist is full at %d entries of a kind", allowlistMaxPerSet)
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
	data := m.current.Load().data.clone()
	if err := edit(&data); err != nil {
		return AllowlistData{}, err
	}
	data.UpdatedAt = time.Now().UTC().Truncate(time.Millisecond)
	if m.save != nil {
		if err := m.save(data); err != nil {
			return AllowlistData{}, err
		}
	}
	m.current.Store(newSnapshot(data))
	return data.clone(), nil
}
