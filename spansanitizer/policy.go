package spansanitizer

import (
	"bytes"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
)

// ErrConfig is matched by the errors of [New].
var ErrConfig = errors.New("spansanitizer: invalid configuration")

// minHashKey is the shortest key for hashes, in bytes.
const minHashKey = 16

// Config adds to what the specification says. The zero value is the specification.
type Config struct {
	// HashKey makes hashes an HMAC-SHA-256 under this key, of 16 bytes at least, so that they cannot be
	// looked up by hashing all wallets. Empty is the plain SHA-256. It must not be changed while traces are
	// compared: with another key, the same wallet gets another hash.
	HashKey []byte
	// Models are names of models beyond the usual ones.
	Models []string
	// TaskTypes are task types beyond bug_fix, feature, refactor, review and docs.
	TaskTypes []string
	// Routes are route templates, such as /api/things/{id}, beyond those of dixie.
	Routes []string
	// DenialReasons are reasons of further witnesses.
	DenialReasons []string
}

// Policy says what a span may carry. A nil Policy and the zero value are those of the specification.
type Policy struct {
	hashKey       []byte
	models        map[string]struct{}
	taskTypes     map[string]struct{}
	routes        map[string]struct{}
	denialReasons map[string]struct{}
}

// New checks a configuration; all problems are reported at once. An error does not repeat the words it is
// about.
func New(cfg Config) (*Policy, error) {
	var problems []error
	if n := len(cfg.HashKey); n > 0 && n < minHashKey {
		problems = append(problems, fmt.Errorf("%w: HashKey is shorter than %d bytes", ErrConfig, minHashKey))
	}
	words := func(field string, list []string, valid func(string) bool) map[string]struct{} {
		set := make(map[string]struct{}, len(list))
		for i, word := range list {
			if !valid(word) {
				problems = append(problems, fmt.Errorf("%w: %s[%d] is not a plain name", ErrConfig, field, i))
			}
			set[word] = struct{}{}
		}
		return set
	}
	p := &Policy{
		hashKey:       bytes.Clone(cfg.HashKey),
		models:        words("Models", cfg.Models, isPlainName),
		taskTypes:     words("TaskTypes", cfg.TaskTypes, isPlainName),
		routes:        words("Routes", cfg.Routes, isTemplate),
		denialReasons: words("DenialReasons", cfg.DenialReasons, isPlainName),
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return p, nil
}

// Name returns the name under which a span may leave: its own if it is known, else [UnknownName].
func (p *Policy) Name(span string) string {
	if list := listOf(span); list != nil {
		return list.name
	}
	return UnknownName
}

// origin says where attributes come from.
type origin bool

const (
	// raw attributes are what a caller gives to a [Span]: he has identities, and no hashes.
	raw origin = false
	// sanitised attributes may be those of a [Span], with hashes of this policy.
	sanitised origin = true
)

// Attribute returns what a span may carry of an attribute, and whether that is anything. It never panics,
// and given what it returned, it returns the same again. Therefore it cannot tell a hash from another text of 12
// hexadecimal digits under [WalletHash] or [IdentityHash], nor one under the key from one without: a [Span] hashes
// whatever it is given there, so that only spans which StartSpan did not start can carry such a text.
func (p *Policy) Attribute(span string, kv attribute.KeyValue) (attribute.KeyValue, bool) {
	return p.attribute(listOf(span), kv, sanitised)
}

// AppendAttributes appends to dst what a span may carry of attrs, each key once: the last one counts. What
// it appends is never longer than the span's allowlist.
func (p *Policy) AppendAttributes(dst []attribute.KeyValue, span string, attrs []attribute.KeyValue) []attribute.KeyValue {
	return p.appendAttributes(dst, listOf(span), attrs, sanitised)
}

func (p *Policy) appendAttributes(
	dst []attribute.KeyValue, list *allowlist, attrs []attribute.KeyValue, from origin,
) []attribute.KeyValue {
	if list == nil {
		return dst
	}
	first := len(dst)
next:
	for i := range attrs {
		kv, ok := p.attribute(list, attrs[i], from)
		if !ok {
			continue
		}
		for j := first; j < len(dst); j++ {
			if dst[j].Key == kv.Key {
				dst[j].Value = kv.Value
				continue next
			}
		}
		dst = append(dst, kv)
	}
	return dst
}

func (p *Policy) attribute(list *allowlist, kv attribute.KeyValue, from origin) (attribute.KeyValue, bool) {
	key := hashedKey(string(kv.Key), from)
	if check, ok := list.find(string(kv.Key)); ok && key == "" {
		value, ok := check(p, kv.Value)
		return attribute.KeyValue{Key: kv.Key, Value: value}, ok
	}
	if key == "" || kv.Value.Type() != attribute.STRING || kv.Value.AsString() == "" {
		return attribute.KeyValue{}, false
	}
	if _, ok := list.find(key); !ok {
		return attribute.KeyValue{}, false
	}
	return attribute.String(key, p.Hash(kv.Value.AsString())), true
}

// hashedKey is the key under which a raw identity comes out, or empty if the value is none.
func hashedKey(key string, from origin) string {
	switch key {
	case Wallet:
		return WalletHash
	case Identity, OperatorID:
		return IdentityHash
	case WalletHash, IdentityHash:
		if from == raw {
			return key
		}
	}
	return ""
}
