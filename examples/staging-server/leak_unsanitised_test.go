package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"dixie/internal/otlptest"
)

const (
	mailAddress  = "zq.somebody@example.org"
	foreignToken = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJacVN1YmplY3RacSJ9.WnFTaWduYXR1cmVacQ"
)

// quotingTriggers make the stores' errors hold what clients sent: as it is if it can be known by its shape, and otherwise in
// quotation marks, as the rule for errors has it.
const quotingTriggers = `
CREATE FUNCTION quote_task() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	RAISE EXCEPTION 'no room for % (%), nor for %', NEW.operator_id, NEW.description,
		to_json(concat_ws(' ', NEW.repository, NEW.base_branch, NEW.model, NEW.context_overrides::text));
END $$;
CREATE TRIGGER quote_task BEFORE INSERT ON fleet_tasks FOR EACH ROW EXECUTE FUNCTION quote_task();
CREATE FUNCTION quote_event() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	RAISE EXCEPTION 'no room for % and % of %, nor for %', NEW.event_id, NEW.data->>'credential_id',
		substring(NEW.data::text from '0x[0-9a-fA-F]{40}'), to_json(concat_ws(' ', NEW.agent_id, NEW.data::text));
END $$;
CREATE TRIGGER quote_event BEFORE INSERT ON reputation_events FOR EACH ROW EXECUTE FUNCTION quote_event();`

// quotable are the bodies of requests that put secrets into spans, were it not for the sanitiser: by the errors of the
// stores, and by attributes whose values a client chooses.
func (l *leaks) quotable() []probe {
	shaped := strings.Join([]string{listedKey, wrongTicket, otherWallet, mailAddress, foreignToken}, " ")
	as := "Bearer " + l.token
	probes := []probe{
		{path: "/api/fleet/spawn", body: strings.Replace(spawnBody(), "ZqDescriptionZq [[words 2]]", shaped, 1)},
		{path: "/api/fleet/spawn", body: `{"description":"x","taskType":"ZqTaskZq","repository":"ZqRepositoryZq/app"}`},
	}
	for _, body := range eventBodies() {
		probes = append(probes, probe{path: "/api/reputation/ZqAgentZq/events", body: body})
	}
	for i := range probes {
		probes[i].method, probes[i].authorization = http.MethodPost, as
	}
	return probes
}

// carried are the secrets that those requests put into spans.
func (l *leaks) carried() []string {
	return []string{
		string(l.key.Address()), listedKey, wrongTicket, otherWallet, mailAddress, foreignToken, eventID, credentialID,
		"ZqRepositoryZq", "ZqBranchZq", "ZqModelZq", "ZqOverrideZq", "ZqContextZq", "ZqAgentZq", "ZqProviderZq", "ZqEvaluatorZq",
		"ZqModelIdZq", "ZqTaskZq", "ZqTraceStateZq",
	}
}

// switchSanitiserOff drives two servers with stores whose errors quote: the program as it is, whose spans go where those of
// all others do, and the same program with the sanitiser taken out. In the spans of the second, the search that finds
// nothing in those of the first must find every secret that they carry. So it is with their logs, where the causes of
// failures stand, too.
func (l *leaks) switchSanitiserOff(t *testing.T) {
	t.Helper()
	database := l.quotingDatabase(t)
	raw := otlptest.Start(t)
	as := func(binary string, collector *otlptest.Collector) *running {
		// What comes later counts.
		return serve(t, binary, append(slices.Clip(l.env), "DATABASE_URL="+database, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.Endpoint())...)
	}
	servers := []*running{as(build(t, "dixie/examples/staging-server"), l.collector), as(l.unsanitised(t), raw)}
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), quotingTriggers); err != nil {
		t.Fatal(err)
	}
	for i, server := range servers {
		var statuses []int
		for _, p := range l.quotable() {
			p.base = server.url
			statuses = append(statuses, l.send(t, p).status)
		}
		if got := fmt.Sprint(statuses); got != "[503 400 503 503 503 503]" {
			t.Errorf("server %d answers %s: not every store failed", i, got)
		}
		server.stop(t)
		leaked := otlptest.Leaks(server.stderr.Bytes(), l.carried()...)
		if sanitised := i == 0; sanitised != (len(leaked) == 0) {
			t.Errorf("the log of server %d has %q", i, leaked)
		}
	}
	found := otlptest.Leaks(raw.Bytes(), l.carried()...)
	for _, secret := range l.carried() {
		if !slices.Contains(found, secret) {
			t.Errorf("%q is not found although the sanitiser is off", secret)
		}
	}
	for name, want := range map[string]int{"dixie.reputation.update": len(eventBodies()), "dixie.fleet.spawn": 1} {
		told := slices.DeleteFunc(l.collector.Named(name), func(s otlptest.Span) bool { return !strings.Contains(s.StatusText, "no room for") })
		if len(told) != want {
			t.Errorf("%d sanitised spans %s tell of the store's error, want %d", len(told), name, want)
		}
	}
	t.Logf("%d secrets in %d spans without the sanitiser", len(found), len(raw.Spans()))
}

func (l *leaks) quotingDatabase(t *testing.T) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), l.postgres.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE quoting"); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(l.postgres.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/quoting"
	return u.String()
}

// switches are where the sanitiser is switched off: each text is in its file once, and has the other one in its place.
func switches() map[string][2]string {
	const atOnce = "\n\treturn "
	entry := func(function, result string) [2]string { return [2]string{function, function + atOnce + result} }
	return map[string][2]string{
		"spansanitizer/errortext.go": entry("func ErrorText(s string) string {", "s"),
		"spansanitizer/policy.go": entry("func (p *Policy) attribute(list *allowlist, kv attribute.KeyValue, from origin) (attribute.KeyValue, bool) {",
			"kv, true"),
		"spansanitizer/tracer.go": {"ctx = tracecontext.SetAside(ctx)", "_ = tracecontext.SetAside"},
		"telemetry/telemetry.go":  {"newDelivery(NewExporter(exporter, s.Policy), s.Logger)", "newDelivery(exporter, s.Logger)"},
	}
}

// buildUnsanitised compiles the server with the sanitiser switched off, at creation and in the exporter. It is done to
// copies that the compiler takes in the place of the files, so that no program that is shipped has such a switch.
func buildUnsanitised(ctx context.Context, folder string) (string, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return "", fmt.Errorf("the module's root: %w", err)
	}
	replaced := map[string]string{}
	for name, change := range switches() {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return "", fmt.Errorf("switch off: %w", err)
		}
		if n := strings.Count(string(text), change[0]); n != 1 {
			return "", fmt.Errorf("%s has %q %d times: say in switches how the sanitiser is switched off now", name, change[0], n)
		}
		without := filepath.Join(folder, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(without, []byte(strings.Replace(string(text), change[0], change[1], 1)), 0o600); err != nil {
			return "", fmt.Errorf("switch off: %w", err)
		}
		replaced[filepath.Join(root, name)] = without
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return "", fmt.Errorf("switch off: %w", err)
	}
	file, program := filepath.Join(folder, "overlay.json"), filepath.Join(folder, "staging-server-unsanitised")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return "", fmt.Errorf("switch off: %w", err)
	}
	out, err := exec.CommandContext(ctx, "go", "build", "-overlay", file, "-o", program, "dixie/examples/staging-server").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build without the sanitiser: %w\n%s", err, out)
	}
	return program, nil
}

// beginUnsanitised compiles while other things are done; the result is to be asked for.
func beginUnsanitised(t *testing.T) func(*testing.T) string {
	t.Helper()
	type result struct {
		program string
		err     error
	}
	folder, done := t.TempDir(), make(chan result, 1)
	go func() {
		program, err := buildUnsanitised(t.Context(), folder)
		done <- result{program, err}
	}()
	return func(t *testing.T) string {
		t.Helper()
		r := <-done
		if r.err != nil {
			t.Fatal(r.err)
		}
		return r.program
	}
}
