package telemetry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	otlpPrefix = "OTEL_EXPORTER_OTLP_"
	// longestTimeout bounds one export; more is a slip of the unit, which is milliseconds.
	longestTimeout = time.Hour
	// largestCertificate bounds what is read by mistake.
	largestCertificate = 1 << 20
)

// delivering is how spans travel, as the environment has it.
type delivering struct {
	headers map[string]string
	// timeout is nil where nothing is said.
	timeout *time.Duration
	gzip    bool
	roots   *x509.CertPool
	client  []tls.Certificate
}

// options are those for a collector at an URL. They win over what the exporter reads by itself.
func (d *delivering) options(target string) []otlptracegrpc.Option {
	options := []otlptracegrpc.Option{otlptracegrpc.WithEndpointURL(target)}
	if len(d.headers) > 0 {
		options = append(options, otlptracegrpc.WithHeaders(d.headers))
	}
	if d.timeout != nil {
		options = append(options, otlptracegrpc.WithTimeout(*d.timeout))
	}
	if d.gzip {
		options = append(options, otlptracegrpc.WithCompressor("gzip"))
	}
	switch {
	case d.roots == nil && d.client == nil:
	case strings.HasPrefix(target, "https:"):
		options = append(options, otlptracegrpc.WithTLSCredentials(credentials.NewTLS(&tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: d.roots, Certificates: d.client,
		})))
	default:
		// Else the exporter would speak TLS to it, because of the certificates.
		options = append(options, otlptracegrpc.WithTLSCredentials(insecure.NewCredentials()))
	}
	return options
}

// variables reads the environment and collects what is wrong with it. The library prints a malformed value, which
// may be a credential, to the standard log and goes on without it; so each is refused here, by its name alone.
type variables struct {
	get      func(string) string
	problems []error
}

func (v *variables) problemf(name, format string, args ...any) {
	v.problems = append(v.problems, fmt.Errorf("%w: %s %w", ErrConfig, name, fmt.Errorf(format, args...)))
}

func (v *variables) text(name string) string { return strings.TrimSpace(v.get(name)) }

// flag is true or false; false when it is absent.
func (v *variables) flag(name string) bool {
	value := strings.ToLower(v.text(name))
	if value != "" && value != "true" && value != "false" {
		v.problemf(name, "is not true or false")
	}
	return value == "true"
}

// exportsNothing says that no span shall leave.
func (v *variables) exportsNothing() bool {
	const name = "OTEL_TRACES_EXPORTER"
	switch v.text(name) {
	case "none":
		return true
	case "", "otlp":
	default:
		v.problemf(name, "is not otlp or none")
	}
	return false
}

// protocol is only looked at: there is one.
func (v *variables) protocol() {
	var name, value string
	v.otlp("PROTOCOL", func(variable, said string) { name, value = variable, said })
	if value != "" && value != "grpc" {
		v.problemf(name, "is not grpc, which is all that is spoken here; a collector takes it at port 4317")
	}
}

// otlp hands over what is set of a variable for all signals and then of that for traces, which wins.
func (v *variables) otlp(name string, take func(name, value string)) {
	for _, variable := range []string{otlpPrefix + name, otlpPrefix + "TRACES_" + name} {
		if value := v.text(variable); value != "" {
			take(variable, value)
		}
	}
}

func (v *variables) delivering() delivering {
	var d delivering
	v.otlp("HEADERS", func(name, value string) { d.headers = v.headers(name, value) })
	v.otlp("TIMEOUT", func(name, value string) {
		ms, err := strconv.Atoi(value)
		if err != nil || ms < 0 || ms > int(longestTimeout.Milliseconds()) {
			v.problemf(name, "is not a number of milliseconds from 0 to %d", longestTimeout.Milliseconds())
			return
		}
		timeout := time.Duration(ms) * time.Millisecond
		d.timeout = &timeout
	})
	v.otlp("COMPRESSION", func(name, value string) {
		if value != "gzip" && value != "none" {
			v.problemf(name, "is not gzip or none")
		}
		d.gzip = value == "gzip"
	})
	v.otlp("CERTIFICATE", func(name, value string) {
		d.roots = x509.NewCertPool()
		content, ok := v.file(name, value)
		if ok && !d.roots.AppendCertsFromPEM(content) {
			v.problemf(name, "names a file without a certificate in PEM")
		}
	})
	for _, prefix := range []string{otlpPrefix, otlpPrefix + "TRACES_"} {
		if pair, ok := v.clientCertificate(prefix+"CLIENT_CERTIFICATE", prefix+"CLIENT_KEY"); ok {
			d.client = []tls.Certificate{pair}
		}
	}
	return d
}

// headers reads name=value pairs with commas between them and values percent-encoded. What gRPC would refuse at each export is
// refused here.
func (v *variables) headers(variable, text string) map[string]string {
	headers := map[string]string{}
	for i, item := range strings.Split(text, ",") {
		name, value, found := strings.Cut(item, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		decoded, err := url.PathUnescape(value)
		decoded = strings.TrimSpace(decoded)
		switch {
		case !found:
			v.problemf(variable, "has an entry %d without =; write name=value,name=value", i+1)
		case !isHeaderName(name):
			v.problemf(variable, "has an entry %d whose name is none of a header", i+1)
		case err != nil:
			v.problemf(variable, "has an entry %d whose value is not percent-encoded (%% is %%25)", i+1)
		case !strings.HasSuffix(name, "-bin") && strings.ContainsFunc(decoded, func(r rune) bool { return r < ' ' || r > '~' }):
			v.problemf(variable, "has an entry %d whose value is not printable ASCII", i+1)
		}
		headers[name] = decoded
	}
	return headers
}

// isHeaderName says whether gRPC takes the name, in lower case, for metadata.
func isHeaderName(name string) bool {
	return name != "" && !strings.HasPrefix(name, "grpc-") && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	})
}

func (v *variables) clientCertificate(certificate, key string) (tls.Certificate, bool) {
	files := [2]string{v.text(certificate), v.text(key)}
	switch {
	case files[0] == "" && files[1] == "":
		return tls.Certificate{}, false
	case files[1] == "":
		v.problemf(certificate, "is set without %s", key)
		return tls.Certificate{}, false
	case files[0] == "":
		v.problemf(key, "is set without %s", certificate)
		return tls.Certificate{}, false
	}
	chain, ok := v.file(certificate, files[0])
	private, alsoOK := v.file(key, files[1])
	if !ok || !alsoOK {
		return tls.Certificate{}, false
	}
	pair, err := tls.X509KeyPair(chain, private)
	if err != nil {
		v.problemf(certificate, "and %s are no pair of a certificate and its key in PEM", key)
		return tls.Certificate{}, false
	}
	return pair, true
}

// file reads what a variable names. Reading a device might never end.
func (v *variables) file(variable, path string) ([]byte, bool) {
	content, err := readFile(path)
	if err != nil {
		// What the system says, without the path.
		if where, ok := errors.AsType[*fs.PathError](err); ok {
			err = where.Err
		}
		v.problemf(variable, "names a file that cannot be read: %w", err)
	}
	return content, err == nil
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err //nolint:wrapcheck // The caller does.
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	file, err := os.Open(path) //nolint:gosec // The operator names it.
	if err != nil {
		return nil, err //nolint:wrapcheck // The caller does.
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, largestCertificate+1))
	if err == nil && len(content) > largestCertificate {
		err = fmt.Errorf("it has more than %d bytes", largestCertificate)
	}
	return content, err
}

const samplerVariable = "OTEL_TRACES_SAMPLER"

// sampler is nil where nothing is said.
func (v *variables) sampler() sdktrace.Sampler {
	switch strings.ToLower(v.text(samplerVariable)) {
	case "":
		return nil
	case "always_on":
		return sdktrace.AlwaysSample()
	case "always_off":
		return sdktrace.NeverSample()
	case "traceidratio":
		return v.ratio()
	case "parentbased_always_on":
		return sdktrace.ParentBased(sdktrace.AlwaysSample())
	case "parentbased_always_off":
		return sdktrace.ParentBased(sdktrace.NeverSample())
	case "parentbased_traceidratio":
		return sdktrace.ParentBased(v.ratio())
	default:
		v.problemf(samplerVariable, "is none of always_on, always_off, traceidratio, and these with parentbased_ before them")
		return nil
	}
}

func (v *variables) ratio() sdktrace.Sampler {
	const argument = samplerVariable + "_ARG"
	ratio := 1.0
	if text := v.text(argument); text != "" {
		var err error
		// The negation catches NaN.
		if ratio, err = strconv.ParseFloat(text, 64); err != nil || !(ratio >= 0 && ratio <= 1) {
			v.problemf(argument, "is not a number between 0 and 1")
		}
	}
	return sdktrace.TraceIDRatioBased(ratio)
}

// resourceAttributes are read by the SDK; here they are only looked at.
func (v *variables) resourceAttributes() {
	const name = "OTEL_RESOURCE_ATTRIBUTES"
	text := v.text(name)
	if text == "" {
		return
	}
	for i, item := range strings.Split(text, ",") {
		_, value, found := strings.Cut(item, "=")
		if _, err := url.PathUnescape(strings.TrimSpace(value)); err != nil || !found {
			v.problemf(name, "has an entry %d that is not name=value with the value percent-encoded", i+1)
		}
	}
}
