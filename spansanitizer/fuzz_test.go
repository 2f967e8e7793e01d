package spansanitizer_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"

	"dixie/spansanitizer"
)

// values are a text and a number as every kind of value.
func values(s string, n int64, f float64) []attribute.Value {
	nested := attribute.MapValue(attribute.String(s, s), attribute.KeyValue{Key: "l", Value: attribute.SliceValue(attribute.StringValue(s))})
	return []attribute.Value{
		{},
		attribute.StringValue(s),
		attribute.Int64Value(n),
		attribute.Float64Value(f),
		attribute.BoolValue(n%2 == 0),
		attribute.StringSliceValue([]string{s, s}),
		attribute.Int64SliceValue([]int64{n}),
		attribute.Float64SliceValue([]float64{f, f, f, f, f}),
		attribute.BoolSliceValue([]bool{true}),
		attribute.ByteSliceValue([]byte(s)),
		attribute.SliceValue(attribute.StringValue(s), nested),
		nested,
	}
}

func FuzzAttribute(f *testing.F) {
	for _, span := range append(spansanitizer.Names(), "", "dixie.unknown", hardhat) {
		f.Add(span, "secret", hardhat, int64(7), 0.5)
		for _, key := range append(spansanitizer.Allowlist(span), spansanitizer.Wallet, spansanitizer.OperatorID) {
			f.Add(span, key, "claude-opus-4-6", int64(200), 1.0)
			f.Add(span, key, hardhatHash, int64(-1), math.NaN())
			f.Add(span, key, "\xff\x00", int64(math.MaxInt64), math.Inf(-1))
		}
	}
	keyed, err := spansanitizer.New(spansanitizer.Config{HashKey: []byte("0123456789abcdef"), Models: []string{"house-model"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, span, key, text string, n int64, number float64) {
		for _, p := range []*spansanitizer.Policy{nil, keyed} {
			for _, value := range values(text, n, number) {
				kv := attribute.KeyValue{Key: attribute.Key(key), Value: value}
				got, ok := p.Attribute(span, kv)
				list := p.AppendAttributes(nil, span, []attribute.KeyValue{kv, kv})
				if !ok {
					if len(list) != 0 {
						t.Fatalf("%s: %v is left", kv, list)
					}
					continue
				}
				if len(list) != 1 || list[0] != got {
					t.Fatalf("%s: %v in a list, %s by itself", kv, list, got)
				}
				if !slices.Contains(spansanitizer.Allowlist(span), string(got.Key)) {
					t.Fatalf("%s comes out of %s", got, span)
				}
				checkValue(t, got)
				if again, ok := p.Attribute(span, got); !ok || again != got {
					t.Fatalf("%s becomes %s when it is sanitised again", got, again)
				}
			}
		}
	})
}

// checkValue tells whether a value is one that its key may have, by other means than the code.
func checkValue(t *testing.T, kv attribute.KeyValue) {
	t.Helper()
	vocabulary := map[attribute.Key]string{
		"method":        "GET HEAD POST PUT PATCH DELETE CONNECT OPTIONS TRACE other",
		"auth_type":     "jwt api_key admin none other expired invalid_claims invalid_signature malformed",
		"tier":          "observer participant builder architect sovereign unknown other",
		"circuit_state": "closed open half-open other",
		"task_type":     "bug_fix feature refactor review docs other",
		"resource_type": "fleet_task other",
		"decision":      "admit deny other",
		"denial_reason": "tier_not_permitted tier_limit_exceeded budget_exceeded other",
	}
	s := kv.Value.AsString()
	switch kv.Key {
	case "wallet_hash", "identity_hash":
		if len(s) != 12 || hexRun(s) != 12 {
			t.Errorf("%s is no hash", kv)
		}
	case "model", "model_id":
		if len(s) > 64 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-._:/") != "" || s == "" {
			t.Errorf("%s is no model", kv)
		}
	case "url":
		if s != "other" && s != "unmatched" && (!strings.HasPrefix(s, "/") || strings.ContainsAny(s, "0123456789?#%@ ")) {
			t.Errorf("%s is no template", kv)
		}
	case "status_code", "tokens", "cost", "witness_count":
		if kv.Value.Type() != attribute.INT64 || kv.Value.AsInt64() < 0 {
			t.Errorf("%s is no count", kv)
		}
	case "duration_ms", "latency_ms", "score", "ema_value":
		f := kv.Value.AsFloat64()
		if kv.Value.Type() == attribute.INT64 {
			f = float64(kv.Value.AsInt64())
		}
		if !(f >= 0 && f < 1e9) {
			t.Errorf("%s is out of range", kv)
		}
	default:
		words, ok := vocabulary[kv.Key]
		if !ok || !slices.Contains(strings.Fields(words), s) {
			t.Errorf("%s is outside its vocabulary", kv)
		}
	}
}
