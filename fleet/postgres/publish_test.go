package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/trace"

	"dixie/fleet"
	"dixie/fleet/postgres"
)

// TestMessageID has each event published twice, and wants the same id for both and another for the next.
func TestMessageID(t *testing.T) {
	t.Parallel()
	type message struct {
		id   string
		kind fleet.EventType
	}
	told := make(chan message, 10)
	var mu sync.Mutex
	seen := make(map[string]bool)
	cfg := quick()
	cfg.Publish = func(ctx context.Context, e fleet.Event) error {
		m := message{postgres.MessageID(ctx), e.Type}
		told <- m
		mu.Lock()
		defer mu.Unlock()
		if !seen[m.id] {
			seen[m.id] = true
			return errors.New("not now")
		}
		return nil
	}
	service, store := serve(t, server.Migrated(t), cfg, absent)
	id := admit(t, service)
	if _, err := service.Stop(t.Context(), everyone(), id); err != nil {
		t.Fatal(err)
	}
	if err := store.Start(t.Context(), 1, func(context.Context, fleet.Attempt) error { return nil }); err != nil {
		t.Fatal(err)
	}
	ids := make(map[message]int)
	for range 4 {
		ids[receive(t, told)]++
	}
	if ids[message{id + "/1", fleet.AgentSpawned}] != 2 || ids[message{id + "/2", fleet.AgentCancelled}] != 2 {
		t.Errorf("published %v", ids)
	}
	if got := postgres.MessageID(t.Context()); got != "" {
		t.Errorf("MessageID elsewhere = %q", got)
	}
}

// TestUnpublishedIsSaidOnce: that events are not taken is one line, however many they are and however often
// they come again, and the end of it another.
func TestUnpublishedIsSaidOnce(t *testing.T) {
	t.Parallel()
	const refused = 6
	var mu sync.Mutex
	calls := 0
	told := make(chan fleet.EventType, 10)
	cfg := quick()
	log := &journal{}
	cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	cfg.Publish = func(_ context.Context, e fleet.Event) error {
		mu.Lock()
		defer mu.Unlock()
		calls++
		if calls <= refused {
			return errors.New("not now")
		}
		told <- e.Type
		return nil
	}
	service, store := serve(t, server.Migrated(t), cfg, absent)
	id := admit(t, service)
	if _, err := service.Stop(t.Context(), everyone(), id); err != nil {
		t.Fatal(err)
	}
	if err := store.Start(t.Context(), 1, func(context.Context, fleet.Attempt) error { return nil }); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		receive(t, told)
	}
	eventually(t, "the end is told", func() bool { return log.count("fleet_events_published_again") == 1 })
	if n := log.count("fleet_event_not_published"); n != 1 {
		t.Errorf("%d lines for %d refusals", n, refused)
	}
}

// TestAPublisherThatPanics is tried again like one that refuses, and nobody is told what it panicked with.
func TestAPublisherThatPanics(t *testing.T) {
	t.Parallel()
	const secret = "marmalade"
	told := make(chan fleet.Event, 1)
	var panicked atomic.Bool
	log := &journal{}
	cfg := quick()
	cfg.Logger = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg.Publish = func(_ context.Context, e fleet.Event) error {
		if panicked.CompareAndSwap(false, true) {
			panic(secret) //nolint:forbidigo // A host may do that.
		}
		told <- e
		return nil
	}
	service, store := serve(t, server.Migrated(t), cfg, absent)
	admit(t, service)
	if err := store.Start(t.Context(), 1, func(context.Context, fleet.Attempt) error { return nil }); err != nil {
		t.Fatal(err)
	}
	receive(t, told)
	if log.count("the publisher panicked") != 1 || log.count(secret) != 0 {
		t.Errorf("the log tells of it %d times, and %d times with what", log.count("the publisher panicked"), log.count(secret))
	}
}

// journal is a log that can be read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer // GUARDED_BY(mu)
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) count(part string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), part)
}

// TestEventsAndTheirTrace is T4.6: the trace of a task is in the jobs that publish its events, and jobs of a
// version that knew of no traces, or of no states, are published without.
func TestEventsAndTheirTrace(t *testing.T) {
	t.Parallel()
	told := make(chan fleet.Event, 10)
	cfg := quick()
	cfg.Publish = func(_ context.Context, e fleet.Event) error {
		told <- e
		return nil
	}
	url := server.Migrated(t)
	service, store := serve(t, url, cfg, absent)
	parent := spawner(t)
	ctx := trace.ContextWithSpanContext(t.Context(), parent)
	traced, older, oldest := admitIn(ctx, t, service), admitIn(ctx, t, service), admitIn(ctx, t, service)
	pool := connect(t, url)
	mustExec(t, pool, `UPDATE river_job SET args = args #- '{event,TraceState}'
		WHERE kind = 'dixie_fleet_signal' AND args #>> '{event,TaskID}' IN ('`+older+`', '`+oldest+`')`)
	mustExec(t, pool, `UPDATE river_job SET args = args #- '{event,TraceParent}'
		WHERE kind = 'dixie_fleet_signal' AND args #>> '{event,TaskID}' = '`+oldest+`'`)
	if err := store.Start(t.Context(), 1, func(context.Context, fleet.Attempt) error { return nil }); err != nil {
		t.Fatal(err)
	}
	spawn := "00-" + parent.TraceID().String() + "-" + parent.SpanID().String() + "-01"
	want := map[string][2]string{traced: {spawn, spawnerState}, older: {spawn, ""}, oldest: {"", ""}}
	got := make(map[string][2]string)
	for range want {
		e := receive(t, told)
		got[e.TaskID] = [2]string{e.TraceParent, e.TraceState}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("traces by task (-want +got):\n%s", diff)
	}
}

// TestAttemptsAndTheirTrace is T4.6 on PostgreSQL: each attempt runs in the trace of the spawn, and that of a
// task without one in none, whatever the dispatcher was started in.
func TestAttemptsAndTheirTrace(t *testing.T) {
	t.Parallel()
	traces := make(chan trace.SpanContext, 10)
	service, store := serve(t, server.Migrated(t), quick(), func(ctx context.Context, job fleet.Job, _ fleet.Report) error {
		traces <- trace.SpanContextFromContext(ctx)
		if job.Task.Attempt == 1 {
			return errors.New("this attempt fails")
		}
		return nil
	})
	starter := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{9}, SpanID: trace.SpanID{9}})
	if err := service.Start(trace.ContextWithSpanContext(t.Context(), starter)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []trace.SpanContext{spawner(t), {}} {
		id := admitIn(trace.ContextWithSpanContext(t.Context(), want), t, service)
		await(t, store, id, fleet.Completed)
		for attempt := range 2 {
			if got := receive(t, traces); !got.Equal(want) {
				t.Errorf("attempt %d runs in %v, want %v", attempt+1, got, want)
			}
		}
	}
	if err := service.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
