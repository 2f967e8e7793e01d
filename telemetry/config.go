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
}

// settings are a configuration that was checked.
type settings struct {
	Config

	// target is empty when there is no tracing, else an URL with scheme, host and port.
	target    string
	batchSize int
}

// resolve fills in defaults and checks; all problems are reported at once.
func (c Config) resolve(getenv func(string) string) (settings, error) {
	if strings.EqualFold(strings.TrimSpace(getenv("OTEL_SDK_DISABLED")), "true") {
		return settings{}, nil
	}
	c.Endpoint = cmp.Or(strings.TrimSpace(c.Endpoint),
		strings.TrimSpace(getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")),
		strings.TrimSpace(getenv("OTEL_EXPORTER_OTLP_ENDPOINT")))
	if c.Endpoint == "" {
		return settings{}, nil
	}
	var problems []error
	problem := func(text string) { problems = append(problems, fmt.Errorf("%w: %s", ErrConfig, text)) }

	insecure := cmp.Or(getenv("OTEL_EXPORTER_OTLP_TRACES_INSECURE"), getenv("OTEL_EXPORTER_OTLP_INSECURE"))
	target, err := parseEndpoint(c.Endpoint, c.Insecure || strings.EqualFold(strings.TrimSpace(insecure), "true"))
	if err != nil {
		problems = append(problems, err)
	}
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
	return settings{Config: c, target: target, batchSize: batchSize}, nil
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

// parseEndpoint returns an endpoint as an URL of scheme, host and port. Its errors do not repeat the endpoint, which
// may contain a password.
func parseEndpoint(endpoint string, insecure bool) (string, error) {
	if !strings.Contains(endpoint, "://") {
		scheme := "https://"
		if insecure {
			scheme = "http://"
		}
		endpoint = scheme + endpoint
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Hostname() == "":
		return "", fmt.Errorf("%w: the endpoint is not an URL or host:port", ErrConfig)
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("%w: the endpoint's scheme is not http or https", ErrConfig)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("%w: the endpoint has more than scheme, host and port; credentials go into OTEL_EXPORTER_OTLP_HEADERS", ErrConfig)
	}
	// A path is what OTLP over HTTP would use; gRPC has none.
	return u.Scheme + "://" + net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), defaultPort)), nil
}

// positive reads a number from the environment; what is none counts as absent.
func positive(s string, otherwise int) int {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || n <= 0 {
		return otherwise
	}
	return n
}

// environment is where the process's variables are read.
func environment() func(string) string { return os.Getenv }
