package reputation_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"dixie/reputation"
)

const someID = "d9b2d63d-a233-4123-847a-7090a8a1f0c1"

// Events of each type with everything that they may have.
func validSignal() reputation.Event {
	return reputation.Event{
		ID: someID, AgentID: "oracle-001", Type: reputation.QualitySignal, Score: new(0.6), At: noon, Sequence: new(int64(0)),
		TaskType: "guild:audits", Dimensions: map[string]float64{"accuracy": 1}, CollectionID: "honey", Recorder: "key:abc",
	}
}

func validPerformance() reputation.Event {
	return reputation.Event{
		AgentID: "a", Type: reputation.ModelPerformance, Score: new(0.0), TaskType: reputation.TaskUnspecified,
		ModelID: "gpt-4o", Provider: "openai", PoolID: "pool", LatencyMS: new(int64(12)), EvaluatedBy: "me",
		RequestID: someID, DelegationID: strings.ToUpper(someID),
	}
}

func validTask() reputation.Event {
	return reputation.Event{
		AgentID: "a", Type: reputation.TaskCompleted, TaskType: reputation.TaskGeneral, Success: new(false), DurationMS: new(int64(3_600_000)),
	}
}

func validCredential() reputation.Event {
	return reputation.Event{AgentID: "a", Type: reputation.CredentialUpdate, CredentialID: someID, Action: reputation.CredentialRenewed}
}

func TestEventValidate(t *testing.T) {
	t.Parallel()

	long := strings.Repeat("x", 256)
	many := map[string]float64{}

	for i := range 21 {
		many[fmt.Sprintf("n%d", i)] = 0.5
	}

	for _, tc := range []struct {
		name  string
		base  func() reputation.Event
		edit  func(*reputation.Event)
		field string // Empty: valid.
	}{
		{"signal", validSignal, func(*reputation.Event) {}, ""},
		{"performance", validPerformance, func(*reputation.Event) {}, ""},
		{"task", validTask, func(*reputation.Event) {}, ""},
		{"credential", validCredential, func(*reputation.Event) {}, ""},
		{"least signal", validSignal, func(e *reputation.Event) {
			*e = reputation.Event{AgentID: "a", Type: reputation.QualitySignal, Score: new(1.0)}
		}, ""},
		{"longest agent", validTask, func(e *reputation.Event) { e.AgentID = strings.Repeat("A", 128) }, ""},
		{"255 letters of several bytes", validSignal, func(e *reputation.Event) { e.CollectionID = strings.Repeat("ß", 255) }, ""},
		{"five minutes ahead", validSignal, func(e *reputation.Event) { e.At = noon.Add(5 * time.Minute) }, ""},
		{"long ago", validSignal, func(e *reputation.Event) { e.At = time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC) }, ""},
		{"twenty dimensions", validSignal, func(e *reputation.Event) { delete(many, "n20"); e.Dimensions = many }, ""},

		{"no type", validSignal, func(e *reputation.Event) { e.Type = "" }, "type"},
		{"unknown type", validSignal, func(e *reputation.Event) { e.Type = "QUALITY_SIGNAL" }, "type"},
		{"no agent", validSignal, func(e *reputation.Event) { e.AgentID = "" }, "agent_id"},
		{"agent with a slash", validSignal, func(e *reputation.Event) { e.AgentID = "a/b" }, "agent_id"},
		{"agent too long", validSignal, func(e *reputation.Event) { e.AgentID = strings.Repeat("a", 129) }, "agent_id"},
		{"agent beyond ASCII", validSignal, func(e *reputation.Event) { e.AgentID = "é" }, "agent_id"},
		{"id in braces", validSignal, func(e *reputation.Event) { e.ID = "{" + someID + "}" }, "event_id"},
		{"id as URN", validSignal, func(e *reputation.Event) { e.ID = "urn:uuid:" + someID }, "event_id"},
		{"id without hyphens", validSignal, func(e *reputation.Event) { e.ID = strings.ReplaceAll(someID, "-", "") }, "event_id"},
		{"id with a wrong digit", validSignal, func(e *reputation.Event) { e.ID = "g" + someID[1:] }, "event_id"},
		{"too far ahead", validSignal, func(e *reputation.Event) { e.At = noon.Add(5*time.Minute + 1) }, "timestamp"},
		{"before the year 1", validSignal, func(e *reputation.Event) {
			e.At = time.Date(1, 1, 1, 0, 0, 1, 0, time.FixedZone("east", 3600))
		}, "timestamp"},
		{"negative sequence", validSignal, func(e *reputation.Event) { e.Sequence = new(int64(-1)) }, "sequence"},
		{"collection too long", validSignal, func(e *reputation.Event) { e.CollectionID = long }, "collection_id"},
		{"collection with a zero byte", validSignal, func(e *reputation.Event) { e.CollectionID = "a\x00b" }, "collection_id"},
		{"collection of broken UTF-8", validSignal, func(e *reputation.Event) { e.CollectionID = "\xff" }, "collection_id"},
		{"recorder with a line feed", validSignal, func(e *reputation.Event) { e.Recorder = "a\nb" }, "recorder"},

		{"no score", validSignal, func(e *reputation.Event) { e.Score = nil }, "score"},
		{"score above 1", validSignal, func(e *reputation.Event) { e.Score = new(math.Nextafter(1, 2)) }, "score"},
		{"negative score", validPerformance, func(e *reputation.Event) { e.Score = new(-0.1) }, "score"},
		{"score that is no number", validSignal, func(e *reputation.Event) { e.Score = new(math.NaN()) }, "score"},
		{"infinite score", validSignal, func(e *reputation.Event) { e.Score = new(math.Inf(1)) }, "score"},
		{"21 dimensions", validSignal, func(e *reputation.Event) {
			e.Dimensions = map[string]float64{}
			for i := range 21 {
				e.Dimensions[fmt.Sprintf("m%d", i)] = 0
			}
		}, "dimensions"},
		{"dimension in capitals", validSignal, func(e *reputation.Event) { e.Dimensions = map[string]float64{"A": 0} }, "dimensions"},
		{"dimension of 33 letters", validSignal, func(e *reputation.Event) {
			e.Dimensions = map[string]float64{strings.Repeat("a", 33): 0}
		}, "dimensions"},
		{"dimension without name", validSignal, func(e *reputation.Event) { e.Dimensions = map[string]float64{"": 0} }, "dimensions"},
		{"dimension above 1", validSignal, func(e *reputation.Event) { e.Dimensions = map[string]float64{"a": 1.1} }, "dimensions"},
		{"dimension that is no number", validSignal, func(e *reputation.Event) { e.Dimensions = map[string]float64{"a": math.NaN()} }, "dimensions"},
		{"unknown task type", validSignal, func(e *reputation.Event) { e.TaskType = "bug_fix" }, "task_type"},

		{"no model", validPerformance, func(e *reputation.Event) { e.ModelID = "" }, "model_id"},
		{"no provider", validPerformance, func(e *reputation.Event) { e.Provider = "" }, "provider"},
		{"no pool", validPerformance, func(e *reputation.Event) { e.PoolID = "" }, "pool_id"},
		{"model too long", validPerformance, func(e *reputation.Event) { e.ModelID = long }, "model_id"},
		{"evaluator with an escape", validPerformance, func(e *reputation.Event) { e.EvaluatedBy = "\x1b[31m" }, "evaluated_by"},
		{"no task type", validPerformance, func(e *reputation.Event) { e.TaskType = "" }, "task_type"},
		{"negative latency", validPerformance, func(e *reputation.Event) { e.LatencyMS = new(int64(-1)) }, "latency_ms"},
		{"request that is no UUID", validPerformance, func(e *reputation.Event) { e.RequestID = "1" }, "request_id"},
		{"delegation that is no UUID", validPerformance, func(e *reputation.Event) { e.DelegationID = "1" }, "delegation_id"},

		{"no success", validTask, func(e *reputation.Event) { e.Success = nil }, "success"},
		{"task without type", validTask, func(e *reputation.Event) { e.TaskType = "" }, "task_type"},
		{"task of unknown type", validTask, func(e *reputation.Event) { e.TaskType = "x" }, "task_type"},
		{"over an hour", validTask, func(e *reputation.Event) { e.DurationMS = new(int64(3_600_001)) }, "duration_ms"},
		{"negative duration", validTask, func(e *reputation.Event) { e.DurationMS = new(int64(-1)) }, "duration_ms"},

		{"no credential", validCredential, func(e *reputation.Event) { e.CredentialID = "" }, "credential_id"},
		{"unknown action", validCredential, func(e *reputation.Event) { e.Action = "stolen" }, "action"},
		{"no action", validCredential, func(e *reputation.Event) { e.Action = "" }, "action"},

		{"task with a score", validTask, func(e *reputation.Event) { e.Score = new(0.5) }, "score"},
		{"signal with a model", validSignal, func(e *reputation.Event) { e.ModelID = "m" }, "model_id"},
		{"credential with a task type", validCredential, func(e *reputation.Event) { e.TaskType = reputation.TaskGeneral }, "task_type"},
		{"signal with success", validSignal, func(e *reputation.Event) { e.Success = new(true) }, "success"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()

			event := tc.base()
			tc.edit(&event)

			err := event.Validate(noon)
			if tc.field == "" {
				if err != nil {
					t.Errorf("Validate: %v, want nil", err)
				}

				return
			}

			var field *reputation.FieldError
			if !errors.Is(err, reputation.ErrInvalidEvent) || !errors.As(err, &field) || field.Field != tc.field {
				t.Errorf("Validate: %v, want a FieldError about %s", err, tc.field)
			}
		})
	}
}

func TestTaskTypeValid(t *testing.T) {
	t.Parallel()

	for text, want := range map[string]bool{
		"code_review":              true,
		"unspecified":              true,
		"guild:audits":             true,
		"g-1_:a1_":                 true,
		"gg:" + longest(125):       true,
		"gg:" + longest(126):       false,
		"":                         false,
		"guild":                    false,
		"g:audits":                 false,
		"guild:a":                  false,
		"guild:au-dits":            false,
		"guild:audits:more":        false,
		"Guild:audits":             false,
		"1guild:audits":            false,
		"guild:_audits":            false,
		"guild:audits\n":           false,
		":":                        false,
		longest(3) + "é:something": false,
	} {
		if got := reputation.TaskType(text).Valid(); got != want {
			t.Errorf("%q valid: %v, want %v", text, got, want)
		}
	}
}

func longest(n int) string { return strings.Repeat("a", n) }

func TestNewEntryIsCanonical(t *testing.T) {
	t.Parallel()

	event := validPerformance()
	event.ID = strings.ToUpper(someID)
	event.Score = new(math.Copysign(0, -1))
	event.Dimensions = map[string]float64{"a": math.Copysign(0, -1)}
	event.At = noon.Add(time.Nanosecond).In(time.FixedZone("east", 3600))

	entry, err := reputation.NewEntry(event, noon.Add(999*time.Nanosecond))
	if err != nil {
		t.Fatal(err)
	}

	got := entry.Event
	if got.ID != someID || got.DelegationID != someID || got.CollectionID != reputation.DefaultCollection {
		t.Errorf("%+v", got)
	}

	if math.Signbit(*got.Score) || math.Signbit(got.Dimensions["a"]) {
		t.Error("a zero kept its sign")
	}

	if !got.At.Equal(noon) || got.At.Location() != time.UTC || !entry.RecordedAt.Equal(noon) {
		t.Errorf("at %v, recorded %v", got.At, entry.RecordedAt)
	}

	*event.Score, event.Dimensions["a"] = 1, 1

	if *got.Score != 0 || got.Dimensions["a"] != 0 {
		t.Error("the entry shares the event's values")
	}
}

func TestNewEntryNeedsValidEvent(t *testing.T) {
	t.Parallel()

	for name, event := range map[string]reputation.Event{"no id": validTask(), "no type": {ID: someID, AgentID: "a"}} {
		if _, err := reputation.NewEntry(event, noon); !errors.Is(err, reputation.ErrInvalidEvent) {
			t.Errorf("%s: %v, want ErrInvalidEvent", name, err)
		}
	}
}

// What the sender did not say does not make two sendings different, and what it
// said does.
func TestFingerprint(t *testing.T) {
	t.Parallel()

	fingerprint := func(edit func(*reputation.Event), now time.Time) string {
		event := validSignal()
		event.At = time.Time{}
		edit(&event)

		entry, err := reputation.NewEntry(event, now)
		if err != nil {
			t.Fatal(err)
		}

		return entry.Fingerprint
	}
	base := fingerprint(func(*reputation.Event) {}, noon)

	for name, tc := range map[string]struct {
		same bool
		edit func(*reputation.Event)
	}{
		"recorder":           {true, func(e *reputation.Event) { e.Recorder = "another" }},
		"id in capitals":     {true, func(e *reputation.Event) { e.ID = strings.ToUpper(e.ID) }},
		"score":              {false, func(e *reputation.Event) { e.Score = new(0.61) }},
		"agent":              {false, func(e *reputation.Event) { e.AgentID = "oracle-002" }},
		"timestamp":          {false, func(e *reputation.Event) { e.At = noon }},
		"default collection": {false, func(e *reputation.Event) { e.CollectionID = "" }},
		"dimension":          {false, func(e *reputation.Event) { e.Dimensions = nil }},
		"sequence":           {false, func(e *reputation.Event) { e.Sequence = nil }},
		"task type":          {false, func(e *reputation.Event) { e.TaskType = "" }},
	} {
		if got := fingerprint(tc.edit, noon.Add(time.Hour)); (got == base) != tc.same {
			t.Errorf("another %s: same fingerprint %v, want %v", name, got == base, tc.same)
		}
	}

	absent := fingerprint(func(e *reputation.Event) { e.CollectionID, e.Dimensions = "", nil }, noon)
	if explicit := fingerprint(func(e *reputation.Event) {
		e.CollectionID, e.Dimensions = reputation.DefaultCollection, map[string]float64{}
	}, noon); absent != explicit {
		t.Error("the default collection makes a difference when it is said")
	}
}

// Whatever is valid can be folded, and what comes out is in range.
func FuzzEvent(f *testing.F) {
	f.Add("quality_signal", "oracle-001", 0.6, "guild:audits", "accuracy", 0.9, "", "", int64(0))
	f.Add("model_performance", "a", 1.0, "general", "", 0.0, "gpt-4o", someID, int64(5))
	f.Add("task_completed", "a", 0.0, "analysis", "", 0.0, "", "", int64(3_600_000))
	f.Add("credential_update", "a", 0.0, "", "", 0.0, "", someID, int64(-1))

	f.Fuzz(func(t *testing.T, kind, agent string, score float64, taskType, dimension string, value float64, text, id string, number int64) {
		event := reputation.Event{
			ID: someID, AgentID: agent, Type: reputation.EventType(kind), TaskType: reputation.TaskType(taskType),
			At: noon.Add(time.Duration(number)), Sequence: &number, CollectionID: text,
		}

		switch event.Type {
		case reputation.QualitySignal:
			event.Score, event.Dimensions = &score, map[string]float64{dimension: value}
		case reputation.ModelPerformance:
			event.Score, event.ModelID, event.Provider, event.PoolID = &score, text, text, text
			event.RequestID, event.LatencyMS = id, &number
		case reputation.TaskCompleted:
			event.Success, event.DurationMS = new(number > 0), &number
		case reputation.CredentialUpdate:
			event.CredentialID, event.Action = id, reputation.CredentialAction(text)
		}

		entry, err := reputation.NewEntry(event, noon)
		if err != nil {
			if _, ok := errors.AsType[*reputation.FieldError](err); !ok {
				t.Fatalf("NewEntry: %v, want a FieldError", err)
			}

			return
		}

		again, err := reputation.NewEntry(entry.Event, noon)
		if err != nil || again.Event.At != entry.Event.At {
			t.Fatalf("a canonical event is refused: %v", err)
		}

		changes := reputation.FoldBatch(reputation.Loaded{}, []reputation.Entry{entry, entry})
		if len(changes.Entries) != 1 || !changes.Outcomes[1].Duplicate {
			t.Fatalf("twice the same made %+v", changes)
		}

		for name, x := range changes.Aggregates[agent].DimensionScores() {
			if x < 0 || x > 1 {
				t.Errorf("%s is %v", name, x)
			}
		}

		if a := changes.Aggregates[agent]; a.BlendedScore != nil && (*a.BlendedScore < 0 || *a.BlendedScore > 1) {
			t.Errorf("score is %v", *a.BlendedScore)
		}
	})
}
