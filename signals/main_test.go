package signals_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/propagation"
	"go.uber.org/goleak"

	"dixie/fleet"
	"dixie/internal/chat"
	"dixie/internal/pgtest"
	"dixie/internal/testserver"
	"dixie/signals"
)

//nolint:gochecknoglobals // The server that this package's tests share.
var database *pgtest.Pool

func TestMain(m *testing.M) {
	database = pgtest.Main(m)
	goleak.VerifyTestMain(database)
}

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// natsServer is one in this process, which can be stopped and started again.
type natsServer struct {
	*server.Server

	opts server.Options
}

// startNATS starts a server with JetStream, which ends with the test.
func startNATS(tb testing.TB, adjust ...func(*server.Options)) *natsServer {
	tb.Helper()
	port, err := testserver.FreePort()
	if err != nil {
		tb.Fatal(err)
	}
	s := &natsServer{opts: server.Options{
		Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: tb.TempDir(), NoLog: true, NoSigs: true,
	}}
	for _, change := range adjust {
		change(&s.opts)
	}
	s.run(tb)
	tb.Cleanup(s.stop)
	return s
}

// run starts the server, on the port that it had.
func (s *natsServer) run(tb testing.TB) {
	tb.Helper()
	opts := s.opts
	started, err := server.NewServer(&opts)
	if err != nil {
		tb.Fatal(err)
	}
	started.Start()
	s.Server = started
	if !started.ReadyForConnections(patience) {
		tb.Fatal("the server does not start")
	}
}

func (s *natsServer) stop() {
	s.Shutdown()
	s.WaitForShutdown()
}

// admin is a JetStream client of the test's own.
func admin(tb testing.TB, url string) jetstream.JetStream {
	tb.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		tb.Fatal(err)
	}
	return js
}

// message is one in the stream. Its trace and state are the headers traceparent and tracestate.
type message struct{ subject, id, body, trace, state string }

// patiently is a context with a limit of its own: without one, JetStream's client waits five seconds.
func patiently(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	tb.Cleanup(cancel)
	return ctx
}

// stored returns what is in the stream, in order.
func stored(tb testing.TB, url string) []message {
	tb.Helper()
	ctx := patiently(tb)
	stream, err := admin(tb, url).Stream(ctx, signals.Stream)
	if err != nil {
		tb.Fatal(err)
	}
	state := stream.CachedInfo().State
	var all []message
	for number := max(1, state.FirstSeq); number <= state.LastSeq; number++ {
		m, err := stream.GetMsg(ctx, number)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, message{
			m.Subject, m.Header.Get(nats.MsgIdHdr), string(m.Data),
			strings.Join(m.Header["traceparent"], " and "), strings.Join(m.Header["tracestate"], " and "),
		})
	}
	return all
}

// sessions returns the sessions of the interactions in the stream, in order.
func sessions(tb testing.TB, url string) []string {
	tb.Helper()
	var all []string
	for _, m := range stored(tb, url) {
		_, rest, _ := strings.Cut(m.body, `"sessionId":"`)
		id, _, _ := strings.Cut(rest, `"`)
		all = append(all, id)
	}
	return all
}

// connect makes a publisher whose Close must publish all that it has.
func connect(tb testing.TB, url string, adjust ...func(*signals.Config)) *signals.Publisher {
	tb.Helper()
	p := open(tb, url, adjust...)
	tb.Cleanup(func() { closeWell(tb, p) })
	return p
}

// open makes a publisher, which the test closes.
func open(tb testing.TB, url string, adjust ...func(*signals.Config)) *signals.Publisher {
	tb.Helper()
	cfg := signals.Config{URL: url}
	for _, change := range adjust {
		change(&cfg)
	}
	p, err := signals.Connect(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func closeWell(tb testing.TB, p *signals.Publisher) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), patience)
	defer cancel()
	if err := p.Close(ctx); err != nil {
		tb.Errorf("Close: %v", err)
	}
}

// eventually waits until a condition holds.
func eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-limit:
			tb.Fatalf("waited in vain: %s", what)
		}
	}
}

// ready waits until the publisher is connected and has its stream.
func ready(tb testing.TB, p *signals.Publisher) {
	tb.Helper()
	eventually(tb, "the stream", func() bool { return p.Check(tb.Context()) == nil })
}

// noon is when everything happens.
func noon() time.Time { return time.Date(2026, 3, 4, 12, 0, 0, 5_000_000, time.UTC) }

func turn(session string) chat.Interaction {
	return chat.Interaction{Wallet: alice, SessionID: session, MessageID: "m-1", At: noon()}
}

// parent is the trace that things happen in, as a header and as a context.
const (
	parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	state  = "a=1,b@c=2"
)

func inTrace(ctx context.Context) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": parent, "tracestate": state})
}

const alice = "0xA11CE00000000000000000000000000000000001"

func spawned() fleet.Event {
	return fleet.Event{
		Type: fleet.AgentSpawned, TaskID: "task-1", Operator: alice, At: noon(), TaskType: "bug_fix",
		AgentType: "claude_code", Branch: "fleet/task-1", Tier: "architect", Model: "native", RoutingReason: "task_type",
	}
}

// journal is a log that can be read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// count says how often a text is in the log.
func (j *journal) count(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), text)
}

// lines returns those with an event.
func (j *journal) lines(event string) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []string
	for line := range strings.Lines(j.text.String()) {
		if strings.Contains(line, "msg="+event+" ") {
			found = append(found, line)
		}
	}
	return found
}
