package spansanitizer

import (
	"slices"

	"go.opentelemetry.io/otel/trace"
)

// The spans that there are.
const (
	// Request is around every HTTP request.
	Request = "dixie.request"
	// Auth is around authentication.
	Auth = "dixie.auth"
	// Inference is around each call to Finn.
	Inference = "dixie.finn.inference"
	// ReputationUpdate is around the recording of an event.
	ReputationUpdate = "dixie.reputation.update"
	// FleetSpawn is around the spawning of a task.
	FleetSpawn = "dixie.fleet.spawn"
	// GovernanceCheck is around each admission.
	GovernanceCheck = "dixie.governance.check"
	// FinnRequest is around a request at the local Finn, for it to be seen in the trace. It carries nothing.
	FinnRequest = "finn.request"

	// UnknownName replaces the name of every other span.
	UnknownName = "dixie.unknown"
)

// The attributes that there are. Which span may carry which is told by [Allowlist].
const (
	Method       = "method"
	URL          = "url"
	StatusCode   = "status_code"
	DurationMS   = "duration_ms"
	AuthType     = "auth_type"
	WalletHash   = "wallet_hash"
	Tier         = "tier"
	Model        = "model"
	Tokens       = "tokens"
	LatencyMS    = "latency_ms"
	CircuitState = "circuit_state"
	ModelID      = "model_id"
	Score        = "score"
	EMAValue     = "ema_value"
	TaskType     = "task_type"
	Cost         = "cost"
	IdentityHash = "identity_hash"
	ResourceType = "resource_type"
	Decision     = "decision"
	WitnessCount = "witness_count"
	DenialReason = "denial_reason"
)

// The keys under which a raw identity may be given. It is hashed, and comes out as [WalletHash] or
// [IdentityHash] where the span may carry that; elsewhere it is left out.
const (
	Wallet     = "wallet"
	Identity   = "identity"
	OperatorID = "operator_id"
)

// maxAttributes is the length of the longest allowlist.
const maxAttributes = 4

// rule is one entry of an allowlist.
type rule struct {
	key   string
	check check
}

// allowlist is what one kind of span may carry.
type allowlist struct {
	name  string
	kind  trace.SpanKind
	rules []rule
}

// allowlists is the whole policy as data: a span that is not here keeps nothing.
//
//nolint:gochecknoglobals // A table that is never written to.
var allowlists = [...]allowlist{
	{Request, trace.SpanKindServer, []rule{
		{Method, checkMethod}, {URL, checkRoute}, {StatusCode, checkStatusCode}, {DurationMS, checkMilliseconds},
	}},
	{Auth, trace.SpanKindInternal, []rule{
		{AuthType, checkAuthType}, {WalletHash, checkHash}, {Tier, checkTier},
	}},
	{Inference, trace.SpanKindClient, []rule{
		{Model, checkModel}, {Tokens, checkCount}, {LatencyMS, checkMilliseconds}, {CircuitState, checkCircuitState},
	}},
	{ReputationUpdate, trace.SpanKindInternal, []rule{
		{ModelID, checkModel}, {Score, checkUnitInterval}, {EMAValue, checkUnitInterval},
	}},
	{FleetSpawn, trace.SpanKindInternal, []rule{
		{TaskType, checkTaskType}, {Cost, checkCount}, {IdentityHash, checkHash},
	}},
	{GovernanceCheck, trace.SpanKindInternal, []rule{
		{ResourceType, checkResourceType}, {Decision, checkDecision},
		{WitnessCount, checkCount}, {DenialReason, checkDenialReason},
	}},
	{FinnRequest, trace.SpanKindServer, nil},
}

// listOf returns the allowlist of a span, or nil for a span that is not known.
func listOf(name string) *allowlist {
	for i := range allowlists {
		if allowlists[i].name == name {
			return &allowlists[i]
		}
	}
	return nil
}

// find returns the check of a key.
func (l *allowlist) find(key string) (check, bool) {
	if l == nil {
		return nil, false
	}
	for i := range l.rules {
		if l.rules[i].key == key {
			return l.rules[i].check, true
		}
	}
	return nil, false
}

// Names returns the names of the spans that there are.
func Names() []string {
	names := make([]string, 0, len(allowlists))
	for i := range allowlists {
		names = append(names, allowlists[i].name)
	}
	return names
}

// Allowlist returns the keys that a span may carry: none if the span is not known.
func Allowlist(name string) []string {
	list := listOf(name)
	if list == nil {
		return nil
	}
	keys := make([]string, 0, len(list.rules))
	for _, r := range list.rules {
		keys = append(keys, r.key)
	}
	return slices.Clip(keys)
}
