package telemetry_test

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"dixie/internal/otlptest"
	"dixie/telemetry"
)

// picky is a collector that takes spans in part.
type picky struct {
	collector.UnimplementedTraceServiceServer

	verdict atomic.Pointer[collector.ExportTracePartialSuccess]
}

func (p *picky) Export(context.Context, *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	return &collector.ExportTraceServiceResponse{PartialSuccess: p.verdict.Load()}, nil
}

func startPicky(t *testing.T) (served *picky, endpoint string) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, server, done := &picky{}, grpc.NewServer(), make(chan error, 1)
	collector.RegisterTraceServiceServer(server, p)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return p, "http://" + listener.Addr().String()
}

func TestCollectorTakesAPart(t *testing.T) {
	t.Parallel()
	type partial = collector.ExportTracePartialSuccess
	for name, tt := range map[string]struct {
		verdict *partial
		dropped int64
		// line is in the log; empty is no line.
		line string
	}{
		"all":                {nil, 0, ""},
		"nothing to say":     {&partial{}, 0, ""},
		"all, and a word":    {&partial{ErrorMessage: "deprecated, " + hardhat}, 0, "refused 0 of 10 spans: deprecated, 0x[REDACTED]"},
		"all but one":        {&partial{RejectedSpans: 1, ErrorMessage: "too old"}, 1, "refused 1 of 10 spans: too old"},
		"without a word":     {&partial{RejectedSpans: 3}, 3, "refused 3 of 10 spans"},
		"none":               {&partial{RejectedSpans: 10}, 10, "refused 10 of 10 spans"},
		"more than it got":   {&partial{RejectedSpans: 11}, 10, "refused 10 of 10 spans"},
		"fewer than nothing": {&partial{RejectedSpans: -1}, 0, "refused 0 of 10 spans"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, endpoint := startPicky(t)
			server.verdict.Store(tt.verdict)
			log := &lines{}
			tel := start(t, telemetry.Config{Endpoint: endpoint, Logger: log.logger()})
			for range 2 {
				endSpans(t.Context(), tel, 10)
				if err := tel.Flush(t.Context()); err != nil {
					t.Errorf("Flush: %v", err)
				}
			}
			if diff := cmp.Diff(telemetry.Stats{Ended: 20, Exported: 20 - 2*tt.dropped, Dropped: 2 * tt.dropped}, tel.Stats()); diff != "" {
				t.Error(diff)
			}
			got, wanted := log.String(), min(len(tt.line), 1)
			if strings.Count(got, "level=WARN msg=trace_export_failed") != wanted || !strings.Contains(got, tt.line) {
				t.Errorf("%d lines with %q are wanted:\n%s", wanted, tt.line, got)
			}
			if len(otlptest.Leaks([]byte(got), hardhat)) != 0 {
				t.Errorf("the collector's words are in the log:\n%s", got)
			}
			server.verdict.Store(nil)
			endSpans(t.Context(), tel, 1)
			if err := tel.Flush(t.Context()); err != nil {
				t.Errorf("Flush: %v", err)
			}
			if n := strings.Count(log.String(), "trace_export_recovered"); n != wanted {
				t.Errorf("%d lines about the end, want %d:\n%s", n, wanted, log)
			}
		})
	}
}
