// Package otlptest is an OTLP collector for tests: it takes spans over gRPC in the process, and shows what arrived, as
// bytes and decoded. It is safe for concurrent use.
package otlptest

import (
	"context"
	"encoding/hex"
	"encoding/pem"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // Exporters may compress.
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
)

// Collector is a running collector.
type Collector struct {
	collector.UnimplementedTraceServiceServer

	endpoint string
	server   *grpc.Server

	mu    sync.Mutex
	bytes []byte                      // GUARDED_BY(mu)
	spans []Span                      // GUARDED_BY(mu)
	fail  func(context.Context) error // GUARDED_BY(mu)
	md    metadata.MD                 // GUARDED_BY(mu)
}

// Span is a span that arrived.
type Span struct {
	Name string
	// The ids are in hexadecimal digits; ParentID is empty for a root.
	TraceID, SpanID, ParentID string
	TraceState                string
	Kind                      string
	// Status is UNSET, OK or ERROR.
	Status, StatusText string
	Attributes         map[string]any
	Events             []Event
	Links              []Link
	// Scope and Resource say who recorded it, and in which process.
	Scope    string
	Resource map[string]any
}

// Event is an event of a span.
type Event struct {
	Name       string
	Attributes map[string]any
}

// Link is a link of a span.
type Link struct {
	TraceID, SpanID, TraceState string
	Attributes                  map[string]any
}

// Start starts a collector on a loopback port. It ends with the test.
func Start(t testing.TB) *Collector {
	t.Helper()
	return start(t, "http://")
}

// StartTLS starts a collector with TLS, and returns the file with the certificate to trust.
func StartTLS(t testing.TB) (running *Collector, certificate string) {
	t.Helper()
	// The server is there for its certificate, which is for 127.0.0.1.
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	certificate = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(certificate, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatalf("write the certificate: %v", err)
	}
	return start(t, "https://", grpc.Creds(credentials.NewServerTLSFromCert(&server.TLS.Certificates[0]))), certificate
}

func start(t testing.TB, scheme string, options ...grpc.ServerOption) *Collector {
	t.Helper()
	var listen net.ListenConfig
	listener, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	c := &Collector{endpoint: scheme + listener.Addr().String()}
	c.server = grpc.NewServer(append(options, grpc.ForceServerCodecV2(recordingCodec{encoding.GetCodecV2(proto.Name), c}))...)
	collector.RegisterTraceServiceServer(c.server, c)
	done := make(chan error, 1)
	go func() { done <- c.server.Serve(listener) }()
	t.Cleanup(func() {
		c.server.Stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return c
}

// Endpoint is the URL to send to.
func (c *Collector) Endpoint() string { return c.endpoint }

// FailWith makes every export end with what fail returns, which may wait for the end of the call. Nil takes spans again.
func (c *Collector) FailWith(fail func(context.Context) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = fail
}

// Bytes returns every byte of every message that arrived, also of those that were refused.
func (c *Collector) Bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.bytes)
}

// Spans returns the spans that were taken, in the order in which they arrived.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// Metadata returns the headers of the latest call.
func (c *Collector) Metadata() metadata.MD {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.md.Copy()
}

// Named returns the spans of a name.
func (c *Collector) Named(name string) []Span {
	return slices.DeleteFunc(c.Spans(), func(s Span) bool { return s.Name != name })
}

// Export implements the collector's service.
func (c *Collector) Export(ctx context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	c.mu.Lock()
	fail := c.fail
	c.md = md
	c.mu.Unlock()
	if fail != nil {
		if err := fail(ctx); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spans = append(c.spans, decode(r)...)
	return &collector.ExportTraceServiceResponse{}, nil
}

// recordingCodec keeps what arrives before it is decoded.
type recordingCodec struct {
	encoding.CodecV2

	collector *Collector
}

func (r recordingCodec) Unmarshal(data mem.BufferSlice, v any) error {
	r.collector.mu.Lock()
	r.collector.bytes = append(r.collector.bytes, data.Materialize()...)
	r.collector.mu.Unlock()
	return r.CodecV2.Unmarshal(data, v) //nolint:wrapcheck // gRPC wants the codec's error.
}

func decode(r *collector.ExportTraceServiceRequest) []Span {
	var spans []Span
	for _, rs := range r.GetResourceSpans() {
		resource := attributes(rs.GetResource().GetAttributes())
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				span := Span{
					Name:    s.GetName(),
					TraceID: hex.EncodeToString(s.GetTraceId()), SpanID: hex.EncodeToString(s.GetSpanId()),
					ParentID: hex.EncodeToString(s.GetParentSpanId()), TraceState: s.GetTraceState(),
					Kind:       s.GetKind().String()[len("SPAN_KIND_"):],
					Status:     s.GetStatus().GetCode().String()[len("STATUS_CODE_"):],
					StatusText: s.GetStatus().GetMessage(),
					Attributes: attributes(s.GetAttributes()),
					Scope:      ss.GetScope().GetName(), Resource: resource,
				}
				for _, e := range s.GetEvents() {
					span.Events = append(span.Events, Event{Name: e.GetName(), Attributes: attributes(e.GetAttributes())})
				}
				for _, l := range s.GetLinks() {
					span.Links = append(span.Links, Link{
						TraceID: hex.EncodeToString(l.GetTraceId()), SpanID: hex.EncodeToString(l.GetSpanId()),
						TraceState: l.GetTraceState(), Attributes: attributes(l.GetAttributes()),
					})
				}
				spans = append(spans, span)
			}
		}
	}
	return spans
}

// attributes returns string, bool, int64 and float64 values as they are, others as text.
func attributes(from []*common.KeyValue) map[string]any {
	to := make(map[string]any, len(from))
	for _, kv := range from {
		switch v := kv.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			to[kv.GetKey()] = v.StringValue
		case *common.AnyValue_BoolValue:
			to[kv.GetKey()] = v.BoolValue
		case *common.AnyValue_IntValue:
			to[kv.GetKey()] = v.IntValue
		case *common.AnyValue_DoubleValue:
			to[kv.GetKey()] = v.DoubleValue
		default:
			to[kv.GetKey()] = kv.GetValue().String()
		}
	}
	return to
}
