package spansanitizer_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"

	"dixie/spansanitizer"
)

// The lists of the specification, written out once more: a change of either must be meant.
func TestAllowlists(t *testing.T) {
	t.Parallel()
	want := map[string][]string{
		"dixie.request":           {"method", "url", "status_code", "duration_ms"},
		"dixie.auth":              {"auth_type", "wallet_hash", "tier"},
		"dixie.finn.inference":    {"model", "tokens", "latency_ms", "circuit_state"},
		"dixie.reputation.update": {"model_id", "score", "ema_value"},
		"dixie.fleet.spawn":       {"task_type", "cost", "identity_hash"},
		"dixie.governance.check":  {"resource_type", "decision", "witness_count", "denial_reason"},
		"finn.request":            {},
	}
	got := map[string][]string{}
	for _, name := range spansanitizer.Names() {
		got[name] = spansanitizer.Allowlist(name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := spansanitizer.Allowlist("dixie.other"); got != nil {
		t.Errorf("an unknown span may carry %v", got)
	}
}

func TestHash(t *testing.T) {
	t.Parallel()
	for range 2 {
		if got := spansanitizer.Hash(hardhat); got != hardhatHash {
			t.Errorf("Hash = %s, want %s", got, hardhatHash)
		}
	}
	var none *spansanitizer.Policy
	for name, p := range map[string]*spansanitizer.Policy{"nil": none, "zero": {}, "New": newPolicy(t, spansanitizer.Config{})} {
		if got := p.Hash(hardhat); got != hardhatHash {
			t.Errorf("%s policy: Hash = %s, want %s", name, got, hardhatHash)
		}
	}
	first := newPolicy(t, spansanitizer.Config{HashKey: []byte("0123456789abcdef")}).Hash(hardhat)
	second := newPolicy(t, spansanitizer.Config{HashKey: []byte("0123456789abcdeX")}).Hash(hardhat)
	if first == hardhatHash || second == hardhatHash || first == second || len(first) != 12 {
		t.Errorf("keyed hashes %s and %s", first, second)
	}
	// echo -n 0xf39F... | openssl dgst -sha256 -hmac 0123456789abcdef
	if first != keyedHash {
		t.Errorf("Hash under a key = %s, want %s", first, keyedHash)
	}
}

// newPolicy makes a policy, or ends the test.
func newPolicy(t testing.TB, cfg spansanitizer.Config) *spansanitizer.Policy {
	t.Helper()
	p, err := spansanitizer.New(cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return p
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	_, err := spansanitizer.New(spansanitizer.Config{
		HashKey:       []byte("short"),
		Models:        []string{"good-model", hardhat},
		TaskTypes:     []string{""},
		Routes:        []string{"/api/{id}", "api", "/a?b=c"},
		DenialReasons: []string{"dxk_abcdefgh", "two words", strings.Repeat("a", 65)},
	})
	if !errors.Is(err, spansanitizer.ErrConfig) {
		t.Fatalf("error = %v, want ErrConfig", err)
	}
	want := []string{"HashKey", "Models[1]", "TaskTypes[0]", "Routes[1]", "Routes[2]", "DenialReasons[0]", "DenialReasons[1]", "DenialReasons[2]"}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d problems, want %d:\n%v", len(lines), len(want), err)
	}
	for i, line := range lines {
		if !strings.Contains(line, want[i]) || strings.Contains(line, hardhat) || strings.Contains(line, "dxk_") {
			t.Errorf("problem %q, want one about %s", line, want[i])
		}
	}
}

// attributeCase is what a span does with one attribute: none when want has no key.
type attributeCase struct {
	span string
	give attribute.KeyValue
	want attribute.KeyValue
}

func attributeCases() map[string]attributeCase {
	keep := func(span string, kv attribute.KeyValue) attributeCase { return attributeCase{span, kv, kv} }
	drop := func(span string, kv attribute.KeyValue) attributeCase {
		return attributeCase{span, kv, attribute.KeyValue{}}
	}
	other := func(span, key, value string) attributeCase {
		return attributeCase{span, attribute.String(key, value), attribute.String(key, "other")}
	}
	const request, auth, finn, rep = "dixie.request", "dixie.auth", "dixie.finn.inference", "dixie.reputation.update"
	const spawn, check = "dixie.fleet.spawn", "dixie.governance.check"
	str := attribute.String
	return map[string]attributeCase{
		"method":                 keep(request, str("method", "POST")),
		"method, lower case":     other(request, "method", "post"),
		"method, own":            other(request, "method", "SECRET"),
		"method, not a text":     drop(request, attribute.Int("method", 1)),
		"method, empty":          drop(request, str("method", "")),
		"method, not UTF-8":      other(request, "method", "\xff\xfe"),
		"method, huge":           other(request, "method", strings.Repeat("GET", 1<<20)),
		"method, list":           drop(request, attribute.StringSlice("method", []string{"GET"})),
		"url":                    keep(request, str("url", "/api/fleet/tasks/{taskId}")),
		"url, root":              keep(request, str("url", "/")),
		"url, no route":          keep(request, str("url", "unmatched")),
		"url, path":              other(request, "url", "/api/fleet/tasks/42"),
		"url, wallet":            other(request, "url", "/api/admin/allowlist/"+hardhat),
		"url, query":             other(request, "url", "/api/chat?q=secret"),
		"status_code":            keep(request, attribute.Int("status_code", 204)),
		"status_code, small":     drop(request, attribute.Int("status_code", 99)),
		"status_code, large":     drop(request, attribute.Int("status_code", 600)),
		"status_code, text":      drop(request, str("status_code", "200")),
		"status_code, float":     drop(request, attribute.Float64("status_code", 200)),
		"duration_ms":            keep(request, attribute.Float64("duration_ms", 1.5)),
		"duration_ms, integer":   keep(request, attribute.Int("duration_ms", 3)),
		"duration_ms, negative":  drop(request, attribute.Float64("duration_ms", -1)),
		"duration_ms, NaN":       drop(request, attribute.Float64("duration_ms", math.NaN())),
		"duration_ms, infinite":  drop(request, attribute.Float64("duration_ms", math.Inf(1))),
		"duration_ms, -0":        drop(request, attribute.Float64("duration_ms", math.Copysign(0, -1))),
		"old key":                drop(request, attribute.Int("http.status_code", 200)),
		"key in upper case":      drop(request, str("METHOD", "GET")),
		"attribute of another":   drop(request, str("tier", "builder")),
		"no value":               drop(request, attribute.KeyValue{Key: "method"}),
		"no key":                 drop(request, str("", "GET")),
		"auth_type":              keep(auth, str("auth_type", "jwt")),
		"auth_type, error":       keep(auth, str("auth_type", "invalid_signature")),
		"auth_type, own":         other(auth, "auth_type", "Bearer x"),
		"wallet_hash":            keep(auth, str("wallet_hash", hardhatHash)),
		"wallet_hash, raw":       drop(auth, str("wallet_hash", hardhat)),
		"wallet_hash, upper":     drop(auth, str("wallet_hash", strings.ToUpper(hardhatHash))),
		"wallet_hash, long":      drop(auth, str("wallet_hash", hardhatHash+"0")),
		"wallet":                 {auth, str("wallet", hardhat), str("wallet_hash", hardhatHash)},
		"wallet, empty":          drop(auth, str("wallet", "")),
		"wallet, bytes":          drop(auth, attribute.ByteSlice("wallet", []byte(hardhat))),
		"wallet, elsewhere":      drop(request, str("wallet", hardhat)),
		"wallet of a spawn":      drop(spawn, str("wallet", hardhat)),
		"tier":                   keep(auth, str("tier", "sovereign")),
		"tier, unknown":          keep(auth, str("tier", "unknown")),
		"tier, own":              other(auth, "tier", "emperor"),
		"model":                  keep(finn, str("model", "claude-opus-4-6")),
		"model, prompt":          other(finn, "model", "my secret plan"),
		"model, plain secret":    other(finn, "model", "hunter2"),
		"tokens":                 keep(finn, attribute.Int("tokens", 0)),
		"tokens, negative":       drop(finn, attribute.Int("tokens", -1)),
		"tokens, float":          drop(finn, attribute.Float64("tokens", 1)),
		"latency_ms":             keep(finn, attribute.Float64("latency_ms", 12.25)),
		"circuit_state":          keep(finn, str("circuit_state", "half-open")),
		"circuit_state, own":     other(finn, "circuit_state", "half_open"),
		"model_id":               keep(rep, str("model_id", "gpt-4o")),
		"model_id, address":      other(rep, "model_id", hardhat),
		"score":                  keep(rep, attribute.Float64("score", 0.75)),
		"score, more than one":   drop(rep, attribute.Float64("score", 1.01)),
		"ema_value":              keep(rep, attribute.Float64("ema_value", 1)),
		"task_type":              keep(spawn, str("task_type", "bug_fix")),
		"task_type, own":         other(spawn, "task_type", "espionage"),
		"cost":                   keep(spawn, attribute.Int64("cost", 4900)),
		"cost, negative":         drop(spawn, attribute.Int64("cost", -4900)),
		"cost, larger than all":  drop(spawn, attribute.Int64("cost", math.MaxInt64)),
		"identity":               {spawn, str("identity", hardhat), str("identity_hash", hardhatHash)},
		"operator_id":            {spawn, str("operator_id", hardhat), str("identity_hash", hardhatHash)},
		"identity_hash":          keep(spawn, str("identity_hash", hardhatHash)),
		"resource_type":          keep(check, str("resource_type", "fleet_task")),
		"resource_type, own":     other(check, "resource_type", "nuke"),
		"decision":               keep(check, str("decision", "deny")),
		"decision, own":          other(check, "decision", "denied"),
		"witness_count":          keep(check, attribute.Int("witness_count", 3)),
		"denial_reason":          keep(check, str("denial_reason", "budget_exceeded")),
		"denial_reason, own":     other(check, "denial_reason", "it is Monday"),
		"unknown span":           drop("dixie.chat", str("method", "GET")),
		"unknown span, wallet":   drop("dixie.chat", str("wallet", hardhat)),
		"no span":                drop("", str("method", "GET")),
		"replacement's name":     drop("dixie.unknown", str("method", "GET")),
		"span with a space more": drop("dixie.request ", str("method", "GET")),
	}
}

func TestAttribute(t *testing.T) {
	t.Parallel()
	p := newPolicy(t, spansanitizer.Config{})
	for name, tt := range attributeCases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := p.Attribute(tt.span, tt.give)
			if ok != (tt.want.Key != "") {
				t.Fatalf("kept = %v (%s)", ok, got)
			}
			if ok && got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestEachKeyOnce(t *testing.T) {
	t.Parallel()
	var p *spansanitizer.Policy
	got := p.AppendAttributes([]attribute.KeyValue{attribute.String("before", "x")}, spansanitizer.FleetSpawn, []attribute.KeyValue{
		attribute.String("identity", "a"), attribute.Int("cost", 1), attribute.String("secret", "s"),
		attribute.Int("cost", 2), attribute.String("operator_id", hardhat),
	})
	want := []attribute.KeyValue{
		attribute.String("before", "x"), attribute.String("identity_hash", hardhatHash), attribute.Int("cost", 2),
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b attribute.KeyValue) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestConfiguredWords(t *testing.T) {
	t.Parallel()
	p := newPolicy(t, spansanitizer.Config{
		Models: []string{"house-model"}, TaskTypes: []string{"translate"}, Routes: []string{"/host/{id}"}, DenialReasons: []string{"reviews_only"},
	})
	for _, tt := range []struct {
		span string
		give attribute.KeyValue
	}{
		{spansanitizer.Inference, attribute.String("model", "house-model")},
		{spansanitizer.ReputationUpdate, attribute.String("model_id", "house-model")},
		{spansanitizer.FleetSpawn, attribute.String("task_type", "translate")},
		{spansanitizer.Request, attribute.String("url", "/host/{id}")},
		{spansanitizer.GovernanceCheck, attribute.String("denial_reason", "reviews_only")},
	} {
		if got, ok := p.Attribute(tt.span, tt.give); !ok || got != tt.give {
			t.Errorf("%s: got %s, want it as it is", tt.give, got)
		}
		if got, _ := (*spansanitizer.Policy)(nil).Attribute(tt.span, tt.give); got.Value.AsString() != "other" {
			t.Errorf("%s: got %s without the configuration, want other", tt.give, got)
		}
	}
}

func TestModels(t *testing.T) {
	t.Parallel()
	var p *spansanitizer.Policy
	passes := func(model string) bool {
		kv, ok := p.Attribute(spansanitizer.Inference, attribute.String("model", model))
		return ok && kv.Value.AsString() == model
	}
	for _, model := range []string{
		"claude-opus-4-6", "claude-sonnet-4-5-20250929", "claude-3-5-haiku-latest", "codex-mini-latest", "gemini-2.5-pro", "gpt-4o-mini",
		"gpt-4-0613", "gpt-5", "o3", "o4-mini", "llama3.1:8b", "meta/llama-3.3-70b-instruct", "mistral-large-2407", "qwen2.5-coder",
		"deepseek-r1", "gpt-4o-2024-08-06", "claude-3-5-sonnet-20241022", "gemini-1.5-pro-002", "llama-3.1-70b-instruct",
		"mixtral-8x7b-instruct-v0.1", "qwen2.5-72b", "deepseek-r1-0528", "o3-mini-2025-01-31", "gemini-2.5-flash-preview-05-20", "gemini-exp-1206",
		"anthropic.claude-3-5-sonnet-20241022-v2:0", "qwen3-235b-a22b-instruct-2507", "command-r-plus-08-2024", "gpt-4-1106-preview", "gpt-35-turbo",
		"gpt-4-32k-0613", "phi-3-mini-128k-instruct", "openai/gpt-oss-120b", "kimi-k2", "native", "echo", "unknown",
	} {
		if !passes(model) {
			t.Errorf("%q does not pass", model)
		}
	}
	for _, model := range []string{
		" ", "-", "claude-", "-claude", "claude--opus", "claude opus", "Claude", "alice", "claude-alice", "opus", "4-claude",
		"claude-5551234567", "claude-19991231", "claude-1-2-3-4444-5555-6666", "claude-f39fd6e51aad", "claude-deadbeef",
		hardhat, "claude-" + hardhat, "dxk_abcdefgh", "wst_abc", "eyJhbGciOiJIUzI1NiJ9.e30.x", "a@example.org", "gpt-4@example",
		"gpt-123-45-6789", "o-0171-234-5678", "phi-49-171-2345-678", "phi49-171-2345", "gpt-1985-12-24", "gpt-19851224", "meta-20010203",
		"o:192.168.1.77", "unknown.10.0.0.1", "default-1234-5678-9012", "gpt:0171/2345/678", "o-1-2-3-4-5", "gpt-1-2-3", "gpt-4111", "gpt-2025-13-01",
		"gpt-20250132", "gpt-0613-0614", "gpt-05-20-1", "o-v123-k9-8b", "gpt-1234b", "claude-123-456b-789k", "o-12-34-567b-89k", "0613-gpt", "gpt-99999b",
		strings.Repeat("claude-", 100) + "opus", "claude\n", "claude\x00", "clаude",
	} {
		if passes(model) {
			t.Errorf("%q passes", model)
		}
	}
}

func TestResourceAndScope(t *testing.T) {
	t.Parallel()
	var p *spansanitizer.Policy
	for kv, want := range map[attribute.KeyValue]bool{
		attribute.String("service.name", "dixie-bff"):                                     true,
		attribute.String("service.version", "1.2.3-rc.1+abc"):                             true,
		attribute.String("deployment.environment", "staging"):                             true,
		attribute.String("service.instance.id", "627cc493-f310-47de-96bd-71410b7dec09"):   true,
		attribute.String("service.instance.id", hardhat):                                  false,
		attribute.String("service.instance.id", "alice-laptop.example.com"):               false,
		attribute.String("service.instance.id", "10.0.0.1"):                               false,
		attribute.String("service.instance.id", "Bob.Miller"):                             false,
		attribute.String("service.instance.id", "491712345678"):                           false,
		attribute.String("service.instance.id", "627cc493-f310-47de-96bd_71410b7dec09"):   false,
		attribute.String("service.instance.id", "627cc493-f310-47de-96bd-71410b7decxx"):   false,
		attribute.String("service.name", "a b"):                                           false,
		attribute.Int("service.name", 1):                                                  false,
		attribute.String("host.name", "alices-laptop"):                                    false,
		attribute.String("process.command_args", "--key=x"):                               false,
		attribute.String("deployment.environment", "dxk_abcdefgh"):                        false,
		attribute.String("service.namespace", "eyJhbGciOiJIUzI1NiJ9"):                     false,
		attribute.String("service.namespace", "0123456789"):                               false,
		attribute.String("service.namespace", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmn"): false,
	} {
		got, ok := p.ResourceAttribute(kv)
		if ok != want || ok && got != kv {
			t.Errorf("%s: kept = %v (%s), want %v", kv, ok, got, want)
		}
	}
	if name, own := p.Scope("dixie-bff"); name != "dixie-bff" || !own {
		t.Errorf("own scope: %q, %v", name, own)
	}
	if name, own := p.Scope("github.com/secret"); name != "foreign" || own {
		t.Errorf("scope of another: %q, %v", name, own)
	}
}
