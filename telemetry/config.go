package telemetry

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"dixie/spansanitizer"
)

// ErrConfig is matched by the errors of [Start] that are about its configuration.
var ErrConfig = errors.New("telemetry: invalid configuration")

// DefaultServiceName is the name of the service that the spans are about.
const DefaultServiceName = "dixie-bff"

const (
	defaultPort      = "4317"
	defaultQueueSize = 2048
	defaultBatchSize = 512
	maxQueueSize     = 1 << 16
)

// Config says where spans go, and what is said about the process. The environment counts where a field is empty; see
// the package's documentation.
type Config struct {
	// Endpoint is the collector: http://host:port, https://host:port (with TLS), or host:port, which is https unless
	// Insecure is set. The port is 4317 if it is left out. Empty is that of the environment, and without one there
	// is no tracing.
	Endpoint string
	// Insecure sends to an Endpoint without a scheme in clear.
	Insecure bool
	// ServiceName is dixie-bff if empty.
	ServiceName string
	// ServiceVersion and Environment are left out if empty.
	ServiceVersion string
	Environment    string
	// Policy says what may leave. Nil is that of the specification.
	Policy *spansanitizer.Policy
	// SampleRatio is which part of the traces that begin here is recorded, from above 0 to 1. 0 is all of them. A
	// trace that began elsewhere is recorded if it is there.
	SampleRatio float64
	// QueueSize is how many ended spans may wait to be sent, or be on their way, 65536 at most; beyond that they
	// are dropped. 0 is 2048.
	QueueSize int
	// Logger is told of failed exports. Nil discards.
	Logger *slog.Logger
	// Getenv reads the variables. Nil is os.Getenv. What the SDK heeds beside them, OTEL_RESOURCE_ATTRIBUTES and
	// the limits of spans, it takes from the process all the same.
	Getenv func(string) string
}

// Check reports everything that [Start] would refuse, and starts nothing.
func (c Config) Check() error {
	_, err := c.resolve(c.getenv())
	return err
}

func (c Config) getenv() func(string) string {
	if c.Getenv != nil {
		return c.Getenv
	}
	return os.Getenv
}

// settings are a configuration that was checked.
type settings struct {
	Config

	// target is empty when there is no tracing, else an URL with scheme, host and port.
	target     string
	batchSize  int
	delivering delivering
	// sampler is nil for that of the SDK.
	sampler sdktrace.Sampler
}

// resolve fills in defaults and checks; all problems are reported at once.
func (c Config) resolve(getenv func(string) string) (settings, error) {
	v := &variables{get: getenv}
	v.resourceAttributes()    // The SDK reads them for metrics too, disabled or not.
	off := v.exportsNothing() // Before the flag, so that each is checked.
	if v.flag("OTEL_SDK_DISABLED") || off {
		return settings{}, errors.Join(v.problems...)
	}
	target, named := v.target(c.Endpoint, c.Insecure)
	if !named {
		return settings{}, errors.Join(v.problems...)
	}
	v.protocol()
	s := settings{target: target, delivering: v.delivering(), sampler: v.sampler()}
	problems := v.problems
	problem := func(text string) { problems = append(problems, fmt.Errorf("%w: %s", ErrConfig, text)) }
	c.ServiceName = cmp.Or(c.ServiceName, DefaultServiceName)
	for _, kv := range c.resourceAttributes() {
		if _, ok := c.Policy.ResourceAttribute(kv); !ok {
			problem(string(kv.Key) + " is not a plain name of 64 characters at most")
		}
	}
	// The negation catches NaN.
	if !(c.SampleRatio >= 0 && c.SampleRatio <= 1) {
		problem("SampleRatio is not between 0 and 1")
	}
	if c.QueueSize < 0 || c.QueueSize > maxQueueSize {
		problem("QueueSize is not between 0 and " + strconv.Itoa(maxQueueSize))
	}
	if err := errors.Join(problems...); err != nil {
		return settings{}, err
	}

	if c.QueueSize == 0 {
		c.QueueSize = min(positive(getenv("OTEL_BSP_MAX_QUEUE_SIZE"), defaultQueueSize), maxQueueSize)
	}
	// A batch that has to wait for more than the queue holds would wait for the timer, and drop meanwhile.
	batchSize := min(positive(getenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE"), defaultBatchSize), max(c.QueueSize/4, 1))
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s.Config, s.batchSize = c, batchSize
	if c.SampleRatio != 0 {
		s.sampler = sdktrace.ParentBased(sdktrace.TraceIDRatioBased(c.SampleRatio))
	}
	return s, nil
}

// resourceAttributes are what the configuration says about the process.
func (c Config) resourceAttributes() []attribute.KeyValue {
	attrs := []attribute.KeyValue{attribute.String("service.name", c.ServiceName)}
	if c.ServiceVersion != "" {
		attrs = append(attrs, attribute.String("service.version", c.ServiceVersion))
	}
	if c.Environment != "" {
		// The first is the older name, which many dashboards still ask for.
		attrs = append(attrs, attribute.String("deployment.environment", c.Environment),
			attribute.String("deployment.environment.name", c.Environment))
	}
	return attrs
}

// target is the collector as an URL of scheme, host and port, and whether one is named at all.
func (v *variables) target(endpoint string, insecure bool) (target string, named bool) {
	const traces, all = otlpPrefix + "TRACES_ENDPOINT", otlpPrefix + "ENDPOINT"
	if cmp.Or(strings.TrimSpace(endpoint), v.text(traces), v.text(all)) == "" {
		return "", false
	}
	inClear := false
	v.otlp("INSECURE", func(name, _ string) { inClear = v.flag(name) })
	insecure = insecure || inClear
	for _, candidate := range []struct{ name, value string }{
		{"the endpoint", strings.TrimSpace(endpoint)}, {traces, v.text(traces)}, {all, v.text(all)},
	} {
		if candidate.value == "" {
			continue
		}
		parsed, problem := parseEndpoint(candidate.value, insecure)
		// One that does not count is printed by the exporter all the same when it is no URL.
		_, err := url.Parse(candidate.value)
		if problem != "" && (!named || err != nil) {
			v.problemf(candidate.name, "%s", problem)
		}
		if !named {
			target, named = parsed, true
		}
	}
	return target, named
}

// parseEndpoint returns an endpoint as an URL of scheme, host and port, or what is wrong with it, which does not repeat
// the endpoint: it may contain a password.
func parseEndpoint(endpoint string, insecure bool) (target, problem string) {
	if !strings.Contains(endpoint, "://") {
		scheme := "https://"
		if insecure {
			scheme = "http://"
		}
		endpoint = scheme + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Hostname() == "" {
		return "", "is not an URL or host:port"
	}
	port := cmp.Or(u.Port(), defaultPort)
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return "", "has a scheme that is not http or https"
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", "has more than scheme, host and port; credentials go into OTEL_EXPORTER_OTLP_HEADERS"
	case err != nil || n == 0:
		return "", "has a port that is not within 1 and 65535"
	}
	// A path is what OTLP over HTTP would use; gRPC has none.
	return u.Scheme + "://" + net.JoinHostPort(u.Hostname(), port), ""
}

// positive reads a number from the environment; what is none counts as absent.
func positive(s string, otherwise int) int {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || n <= 0 {
		return otherwise
	}
	return n
}
