package redis_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"dixie/governance"
	"dixie/redis"
)

func TestTierCacheFormat(t *testing.T) {
	t.Parallel()
	client := server.Client(t)
	before := time.Now().UTC().Truncate(time.Second)
	builder := governance.Resolution{Tier: governance.Builder, Source: governance.FromStake}
	if err := redis.NewTierCache(client).Put(t.Context(), "wallet", builder, time.Minute); err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal([]byte(client.Get(t.Context(), "conviction:wallet").Val()), &got); err != nil {
		t.Fatal(err)
	}
	at, err := time.Parse(time.RFC3339, got["cachedAt"])
	if len(got) != 3 || got["tier"] != "builder" || got["source"] != "freeside" || err != nil || at.Before(before) {
		t.Errorf("the value is %v", got)
	}
}

func TestForeignContentIsAMissOfTheTierCache(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	client := server.Client(t)
	cache := redis.NewTierCache(client)
	const at = `"cachedAt":"2026-02-26T12:00:00Z"`
	good := `{"tier":"builder","source":"freeside",` + at + `}`
	for _, tc := range []struct {
		content string
		found   bool
	}{
		{good, true},
		{`{"tier":"builder","source":"freeside",` + at + `,"more":1}`, true},
		{"", false},
		{"null", false},
		{"[]", false},
		{"builder", false},
		{`{}`, false},
		{good[:len(good)-1], false},
		{good + good, false},
		{`{"tier":null,"source":"freeside",` + at + `}`, false},
		{`{"tier":2,"source":"freeside",` + at + `}`, false},
		{`{"tier":"Builder","source":"freeside",` + at + `}`, false},
		{`{"tier":"emperor","source":"freeside",` + at + `}`, false},
		{`{"source":"freeside",` + at + `}`, false},
		{`{"tier":"builder",` + at + `}`, false},
		{`{"tier":"builder","source":"freeside"}`, false},
		{`{"tier":"builder","source":"freeside","cachedAt":1772107200000}`, false},
		{`{"tier":"builder","source":"rumour",` + at + `}`, false},
		{`{"tier":"sovereign","source":"admin",` + at + `}`, false},
		{`{"tier":"sovereign","source":"legacy_allowlist",` + at + `}`, false},
		{`{"tier":"sovereign","source":"default",` + at + `}`, false},
		{`{"tier":"builder","source":"freeside",` + at + `,"more":"` + strings.Repeat("x", 1<<16) + `"}`, false},
	} {
		if err := client.Set(ctx, "conviction:wallet", tc.content, time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
		r, ok, err := cache.Get(ctx, "wallet")
		if ok != tc.found || err != nil || ok && r.Tier != governance.Builder || !ok && r != (governance.Resolution{}) {
			t.Errorf("%.100q: %+v, %v, %v", tc.content, r, ok, err)
		}
	}
	client.Del(ctx, "conviction:wallet")
	client.LPush(ctx, "conviction:wallet", good)
	if r, ok, err := cache.Get(ctx, "wallet"); ok || err != nil {
		t.Errorf("a list: %+v, %v, %v", r, ok, err)
	}
}

// TestAdminsAreNotCached: whoever is taken off the list of admins must not stay one in another replica.
func TestAdminsAreNotCached(t *testing.T) {
	t.Parallel()
	cache := redis.NewTierCache(server.Client(t))
	for _, r := range []governance.Resolution{
		{Tier: governance.Sovereign, Source: governance.FromAdmins},
		{Tier: governance.Sovereign, Source: governance.FromAllowlist},
		{Tier: governance.Sovereign + 1, Source: governance.FromStake},
	} {
		if err := cache.Put(t.Context(), "wallet", r, time.Minute); err != nil {
			t.Error(err)
		}
		if got, ok, err := cache.Get(t.Context(), "wallet"); ok || err != nil {
			t.Errorf("%+v was kept as %+v, %v", r, got, err)
		}
	}
}
