package telemetry

import (
	"context"
	"fmt"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
)

// verdict is what a collector found wrong with spans that it took otherwise, which OTLP calls a partial success.
type verdict struct {
	// refused are the spans that it did not keep; it may warn and keep all.
	refused int64
	message string
}

type verdictKey struct{}

// withVerdict makes room for the verdict of calls with this context.
func withVerdict(ctx context.Context) (context.Context, *verdict) {
	v := &verdict{}
	return context.WithValue(ctx, verdictKey{}, v), v
}

// takeVerdict is a client's interceptor that moves the verdict from the answer to the context of the call. The client
// itself would make an error of it whose type is its own, so that nobody could tell how many spans were refused.
func takeVerdict(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, options ...grpc.CallOption) error {
	err := call(ctx, method, request, reply, conn, options...)
	answer, ok := reply.(*collector.ExportTraceServiceResponse)
	v, asked := ctx.Value(verdictKey{}).(*verdict)
	if err == nil && ok && asked {
		*v = verdict{refused: answer.GetPartialSuccess().GetRejectedSpans(), message: answer.GetPartialSuccess().GetErrorMessage()}
		answer.PartialSuccess = nil
	}
	return err
}

// of says how many of n spans were refused, and why; nil if all is well.
func (v *verdict) of(n int64) (refused int64, err error) {
	if *v == (verdict{}) {
		return 0, nil
	}
	refused = min(max(v.refused, 0), n)
	return refused, fmt.Errorf("the collector refused %d of %d spans: %s", refused, n, v.message) //nolint:err113 // It is logged, no more.
}
