package telemetry_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dixie/internal/otlptest"
	"dixie/telemetry"
)

// certificate writes a certificate and its key, and returns the paths.
func certificate(t *testing.T) (chain, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "collector"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	chain = writeFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return chain, writeFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})))
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hunter2.pem")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestMalformedVariables are refused by their names, and their values are not repeated.
func TestMalformedVariables(t *testing.T) {
	t.Parallel()
	chain, key := certificate(t)
	_, otherKey := certificate(t)
	for variable, values := range map[string][]string{
		"HEADERS": {
			"hunter2", "a=b,hunter2", "x-api-key=abc%zzhunter2", "hunter2 x=y", "=hunter2", "a=b,", "grpc-hunter2=x", "a!=hunter2", "k\u00e4=hunter2",
			"a=hunter2\nb", "a=hunter2%0ab", "a=hunter2\u00e4",
		},
		"TIMEOUT":            {"hunter2", "10s", "-1", "1.5", "99999999999999999999", "3600001"},
		"COMPRESSION":        {"hunter2", "GZIP"},
		"CERTIFICATE":        {"/no/hunter2", "/dev/zero", t.TempDir(), writeFile(t, "hunter2"), writeFile(t, strings.Repeat("hunter2", 1<<20))},
		"INSECURE":           {"hunter2", "1"},
		"CLIENT_CERTIFICATE": {chain},
		"CLIENT_KEY":         {key},
		"ENDPOINT":           {"http://hunter2@h", "http://h:99999", "foo hunter2"},
	} {
		for _, prefix := range []string{"OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_TRACES_"} {
			for _, value := range values {
				env := map[string]string{prefix + variable: value}
				if variable != "ENDPOINT" {
					env["OTEL_EXPORTER_OTLP_ENDPOINT"] = "https://tempo"
				}
				wantRefused(t, env, prefix+variable)
			}
		}
	}
	for _, env := range []map[string]string{
		{"OTEL_TRACES_SAMPLER": "hunter2"},
		{"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "hunter2"},
		{"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1.5"},
		{"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "NaN"},
		{"OTEL_RESOURCE_ATTRIBUTES": "hunter2"},
		{"OTEL_SDK_DISABLED": "hunter2"},
		{"OTEL_TRACES_EXPORTER": "console,hunter2"},
		{"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
		{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"},
		{"OTEL_RESOURCE_ATTRIBUTES": "a=b,c=%zzhunter2"},
		{"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": chain, "OTEL_EXPORTER_OTLP_CLIENT_KEY": otherKey},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://tempo", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://u:hunter2 x@h"},
	} {
		name := ""
		for variable := range env {
			name = max(name, variable) // That with _ARG, where there are two.
		}
		if strings.HasSuffix(name, "_TRACES_ENDPOINT") || strings.HasSuffix(name, "_KEY") {
			name = "OTEL_EXPORTER_OTLP_"
		}
		if _, ok := env["OTEL_EXPORTER_OTLP_ENDPOINT"]; !ok {
			env["OTEL_EXPORTER_OTLP_ENDPOINT"] = "https://tempo"
		}
		wantRefused(t, env, name)
	}
}

func wantRefused(t *testing.T, env map[string]string, name string) {
	t.Helper()
	err := telemetry.Config{Getenv: func(key string) string { return env[key] }}.Check()
	if !errors.Is(err, telemetry.ErrConfig) || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v: error %v, want one about %s", env, err, name)
	}
}

// TestVariablesThatCount are taken, and nothing that is empty, or of no account, is refused.
func TestVariablesThatCount(t *testing.T) {
	t.Parallel()
	chain, key := certificate(t)
	for name, env := range map[string]map[string]string{
		"empty": {
			"OTEL_EXPORTER_OTLP_HEADERS": "", "OTEL_EXPORTER_OTLP_CERTIFICATE": " ", "OTEL_TRACES_SAMPLER": "", "OTEL_TRACES_SAMPLER_ARG": "",
			"OTEL_SDK_DISABLED": "", "OTEL_RESOURCE_ATTRIBUTES": "", "OTEL_EXPORTER_OTLP_TIMEOUT": "", "OTEL_EXPORTER_OTLP_COMPRESSION": "",
		},
		"all": {
			"OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Basic%20abc, x-scope-orgid=1", "OTEL_EXPORTER_OTLP_CERTIFICATE": chain,
			"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": chain, "OTEL_EXPORTER_OTLP_CLIENT_KEY": key, "OTEL_EXPORTER_OTLP_TIMEOUT": "10000",
			"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip", "OTEL_TRACES_SAMPLER": "ParentBased_TraceIDRatio", "OTEL_TRACES_SAMPLER_ARG": "0.1",
			"OTEL_RESOURCE_ATTRIBUTES": "team=a%20b,zone=c",
		},
		"an argument that nothing reads": {"OTEL_TRACES_SAMPLER": "always_on", "OTEL_TRACES_SAMPLER_ARG": "endpoint=x"},
		"a protocol for other signals":   {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"},
		"no exporter":                    {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
		"disabled":                       {"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_HEADERS": "x"},
	} {
		get := func(key string) string {
			if key == "OTEL_EXPORTER_OTLP_ENDPOINT" {
				return "https://tempo"
			}
			return env[key]
		}
		if err := (telemetry.Config{Getenv: get}).Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (telemetry.Config{Getenv: func(key string) string {
		return map[string]string{"OTEL_EXPORTER_OTLP_HEADERS": "x"}[key]
	}}).Check(); err != nil {
		t.Errorf("without an endpoint: %v", err)
	}
}

// TestGetenv: what it says reaches the collector, although the process has none of it set.
func TestGetenv(t *testing.T) {
	t.Parallel()
	collector, roots := otlptest.StartTLS(t)
	env := map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": collector.Endpoint(), "OTEL_EXPORTER_OTLP_CERTIFICATE": roots,
		"OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=all", "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "X-Tenant=a%20shop",
		"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip", "OTEL_EXPORTER_OTLP_TIMEOUT": "5000",
	}
	tel := start(t, telemetry.Config{Getenv: func(key string) string { return env[key] }})
	endSpans(t.Context(), tel, 3)
	if err := tel.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(collector.Spans()); n != 3 {
		t.Errorf("%d spans have arrived, want 3", n)
	}
	if diff := cmp.Diff([]string{"a shop"}, collector.Metadata().Get("x-tenant")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"gzip"}, collector.Metadata().Get("grpc-accept-encoding")); diff != "" {
		t.Error(diff)
	}

	env = map[string]string{"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
	off := start(t, telemetry.Config{Endpoint: collector.Endpoint(), Getenv: func(key string) string { return env[key] }})
	endSpans(t.Context(), off, 1)
	if ended := off.Stats().Ended; ended != 0 {
		t.Errorf("%d spans were recorded", ended)
	}
}
