package fleet

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"dixie/spansanitizer"
)

// Bounds and defaults of a [SpawnRequest]. Lengths are in characters.
const (
	MaxDescription        = 10_000
	MaxRepository         = 256
	MaxBaseBranch         = 128
	MaxModel              = 128
	MaxIdempotencyKey     = 128
	MaxRetriesLimit       = 10
	DefaultMaxRetries     = 3
	MaxTimeoutMinutes     = 1440
	DefaultTimeoutMinutes = 120
	MaxContextOverrides   = 20
	MaxContextKey         = 64
	MaxContextValue       = 4000
	// DefaultBaseBranch is where work starts from when the request does not say.
	DefaultBaseBranch = "main"
	// DefaultPromptTokens is how long a prompt may be at first.
	DefaultPromptTokens = 8000
)

// SpawnRequest asks for a task. Operator and Tier come from the caller's verified identity, the rest
// from the client.
type SpawnRequest struct {
	// Operator is on whose behalf the task runs. Required.
	Operator string
	// Tier is the operator's tier.
	Tier string

	// Description is the work: 1 to 10,000 characters, not only spaces.
	Description string
	// TaskType is one of the [Catalog]'s.
	TaskType string
	// Repository is where the work is: 1 to 256 characters, not only spaces, no control characters.
	Repository string
	// BaseBranch is where the work starts from; empty is [DefaultBaseBranch].
	BaseBranch string
	// AgentType must agree with the model when it is given.
	AgentType string
	// Model does the work; empty lets the catalog choose.
	Model string
	// MaxRetries is 0 to 10; nil is [DefaultMaxRetries].
	MaxRetries *int
	// TimeoutMinutes bounds each attempt, 1 to 1440; nil is [DefaultTimeoutMinutes].
	TimeoutMinutes *int
	// ContextOverrides go into the prompt: at most 20, keys of 1 to 64 and values of at most 4,000
	// characters.
	ContextOverrides map[string]string
	// IdempotencyKey makes the operator's same request give the same task: at most 128 letters,
	// digits, underscores and hyphens; empty is none.
	IdempotencyKey string
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalidRequest, fmt.Sprintf(format, args...))
}

// withDefaults fills what the client left out. The pointers of the result are its own.
func (r SpawnRequest) withDefaults() SpawnRequest {
	if r.BaseBranch == "" {
		r.BaseBranch = DefaultBaseBranch
	}
	retries, minutes := DefaultMaxRetries, DefaultTimeoutMinutes
	if r.MaxRetries != nil {
		retries = *r.MaxRetries
	}
	if r.TimeoutMinutes != nil {
		minutes = *r.TimeoutMinutes
	}
	r.MaxRetries, r.TimeoutMinutes = &retries, &minutes
	return r
}

// validate checks a request with its defaults filled in, except for what the catalog knows.
func (r SpawnRequest) validate() error {
	switch {
	case r.Operator == "":
		return invalid("operator is missing")
	case !isFilled(r.Description, MaxDescription):
		return invalid("description must be 1 to %d characters and not blank", MaxDescription)
	case !isFilled(r.Repository, MaxRepository) || strings.ContainsFunc(r.Repository, unicode.IsControl):
		return invalid("repository must be 1 to %d characters, not blank, without control characters", MaxRepository)
	case !consistsOf(r.BaseBranch, MaxBaseBranch, "._/-") || strings.HasPrefix(r.BaseBranch, "-"):
		return invalid("baseBranch must be 1 to %d letters, digits and ._/- and not begin with a hyphen", MaxBaseBranch)
	case !isEmptyOr(r.Model, MaxModel, "._:/-"):
		return invalid("model must be 1 to %d letters, digits and ._:/-", MaxModel)
	case *r.MaxRetries < 0 || *r.MaxRetries > MaxRetriesLimit:
		return invalid("maxRetries must be 0 to %d", MaxRetriesLimit)
	case *r.TimeoutMinutes < 1 || *r.TimeoutMinutes > MaxTimeoutMinutes:
		return invalid("timeoutMinutes must be 1 to %d", MaxTimeoutMinutes)
	case !isEmptyOr(r.IdempotencyKey, MaxIdempotencyKey, "_-"):
		return invalid("Idempotency-Key must be 1 to %d letters, digits, underscores and hyphens", MaxIdempotencyKey)
	default:
		return r.validateOverrides()
	}
}

func (r SpawnRequest) validateOverrides() error {
	if len(r.ContextOverrides) > MaxContextOverrides {
		return invalid("contextOverrides must have at most %d entries", MaxContextOverrides)
	}
	for key, value := range r.ContextOverrides {
		if key == "" || !isText(key, MaxContextKey) || strings.ContainsFunc(key, unicode.IsControl) {
			return invalid("contextOverrides keys must be 1 to %d characters without control characters", MaxContextKey)
		}
		if !isText(value, MaxContextValue) {
			return invalid("contextOverrides values must be at most %d characters", MaxContextValue)
		}
	}
	return nil
}

// isText refuses what no database stores as text.
func isText(s string, limit int) bool {
	// The first test is there to not count the characters of a text of any length.
	return len(s) <= limit*utf8.UTFMax && utf8.RuneCountInString(s) <= limit && utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

func isFilled(s string, limit int) bool { return isText(s, limit) && strings.TrimSpace(s) != "" }

func isEmptyOr(s string, limit int, punctuation string) bool {
	return s == "" || consistsOf(s, limit, punctuation)
}

// consistsOf asks for letters and digits of ASCII and the given punctuation.
func consistsOf(s string, limit int, punctuation string) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte(punctuation, c) < 0 {
			return false
		}
	}
	return true
}

// contextHash is over the content as the client gave it, with defaults: what the catalog made of it may
// change with the configuration, and the same request is still the same.
func (r SpawnRequest) contextHash() string {
	h := sha256.New()
	for _, field := range []string{r.Description, r.TaskType, r.Repository, r.BaseBranch, r.AgentType, r.Model} {
		writeField(h, field)
	}
	writeNumber(h, *r.MaxRetries)
	writeNumber(h, *r.TimeoutMinutes)
	for _, key := range slices.Sorted(maps.Keys(r.ContextOverrides)) {
		writeField(h, key)
		writeField(h, r.ContextOverrides[key])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// writeField puts the length before the text, so that no two lists of fields look the same.
func writeField(h hash.Hash, s string) {
	writeNumber(h, len(s))
	_, _ = h.Write([]byte(s)) // A hash does not fail.
}

func writeNumber(h hash.Hash, n int) {
	_ = binary.Write(h, binary.BigEndian, int64(n)) // A hash does not fail.
}

// task makes the task that a valid request asks for.
func (r SpawnRequest) task(route Route, at time.Time) (Task, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Task{}, fmt.Errorf("fleet: making an id: %w", err)
	}
	var suffix [4]byte
	if _, err := rand.Read(suffix[:]); err != nil {
		return Task{}, fmt.Errorf("fleet: making a branch name: %w", err)
	}
	t := Task{
		ID: id.String(), Operator: r.Operator, Tier: r.Tier,
		TaskType: r.TaskType, Description: r.Description, Repository: r.Repository,
		BaseBranch: r.BaseBranch, ContextOverrides: r.ContextOverrides,
		AgentType: route.AgentType, Model: route.Model,
		Branch:      "fleet/" + spansanitizer.Hash(r.Operator) + "-" + hex.EncodeToString(suffix[:]),
		ContextHash: r.contextHash(),
		Status:      Proposed, Attempt: 1, MaxRetries: *r.MaxRetries,
		Timeout:      time.Duration(*r.TimeoutMinutes) * time.Minute,
		PromptTokens: DefaultPromptTokens,
		CreatedAt:    at, UpdatedAt: at,
		History: []Passage{{Status: Proposed, At: at}},
	}
	return t.Clone(), nil
}
