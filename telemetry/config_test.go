package telemetry_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"dixie/telemetry"
)

func TestEndpoints(t *testing.T) {
	t.Parallel()
	for endpoint, want := range map[string]string{
		"http://tempo:4317":         "http://tempo:4317",
		"http://tempo":              "http://tempo:4317",
		"http://tempo:4318/v1":      "http://tempo:4318",
		"https://tempo.example:443": "https://tempo.example:443",
		"tempo:4317":                "https://tempo:4317",
		"tempo":                     "https://tempo:4317",
		" tempo ":                   "https://tempo:4317",
		"127.0.0.1:4317":            "https://127.0.0.1:4317",
		"[::1]:4317":                "https://[::1]:4317",
		"ftp://tempo":               "",
		"http://":                   "",
		":4317":                     "",
		"http://user:hunter2@tempo": "",
		"user:hunter2@tempo:4317":   "",
		"http://tempo?key=hunter2":  "",
		"http://hunter2 tempo:4317": "",
		"http://tempo:port-hunter2": "",
		"http://tempo:99999":        "",
		"tempo:0":                   "",
	} {
		got, _, _, err := telemetry.Resolved(telemetry.Config{Endpoint: endpoint}, noEnvironment)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", endpoint, got, err, want)
		}
		if err != nil && (!errors.Is(err, telemetry.ErrConfig) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%q: error %v", endpoint, err)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		cfg          telemetry.Config
		env          map[string]string
		target       string
		queue, batch int
	}{
		"defaults": {telemetry.Config{Endpoint: "a"}, nil, "https://a:4317", 2048, 512},
		"insecure": {telemetry.Config{Endpoint: "a", Insecure: true}, nil, "http://a:4317", 2048, 512},
		"endpoint": {telemetry.Config{}, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://b"}, "http://b:4317", 2048, 512},
		"traces before all": {
			telemetry.Config{},
			map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://b", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c"},
			"http://c:4317", 2048, 512,
		},
		"configuration before the environment": {
			telemetry.Config{Endpoint: "http://a"}, map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c"}, "http://a:4317", 2048, 512,
		},
		"insecure of the environment": {telemetry.Config{Endpoint: "a"}, map[string]string{"OTEL_EXPORTER_OTLP_INSECURE": "TRUE"}, "http://a:4317", 2048, 512},
		"disabled":                    {telemetry.Config{Endpoint: "a"}, map[string]string{"OTEL_SDK_DISABLED": "True"}, "", 0, 0},
		"no exporter":                 {telemetry.Config{Endpoint: "a"}, map[string]string{"OTEL_TRACES_EXPORTER": "none"}, "", 0, 0},
		"the exporter and the protocol there are": {
			telemetry.Config{Endpoint: "a"},
			map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "https://a:4317", 2048, 512,
		},
		"queue": {
			telemetry.Config{Endpoint: "a"},
			map[string]string{"OTEL_BSP_MAX_QUEUE_SIZE": "100", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10"}, "https://a:4317", 100, 10,
		},
		"queue of the configuration": {
			telemetry.Config{Endpoint: "a", QueueSize: 1}, map[string]string{"OTEL_BSP_MAX_QUEUE_SIZE": "100"}, "https://a:4317", 1, 1,
		},
		"no numbers": {
			telemetry.Config{Endpoint: "a"},
			map[string]string{"OTEL_BSP_MAX_QUEUE_SIZE": "-1", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "many"}, "https://a:4317", 2048, 512,
		},
		"too large a number": {telemetry.Config{Endpoint: "a"}, map[string]string{"OTEL_BSP_MAX_QUEUE_SIZE": "1000000000"}, "https://a:4317", 65536, 512},
	} {
		target, queue, batch, err := telemetry.Resolved(tt.cfg, func(key string) string { return tt.env[key] })
		if err != nil || target != tt.target || queue != tt.queue || batch != tt.batch {
			t.Errorf("%s: %q, %d, %d, %v", name, target, queue, batch, err)
		}
	}
}

func TestConfigIsRefused(t *testing.T) {
	t.Parallel()
	_, err := telemetry.Start(t.Context(), telemetry.Config{
		Endpoint: "ftp://x", ServiceName: "two words", ServiceVersion: hardhat, Environment: "a@b", SampleRatio: math.NaN(), QueueSize: -1,
	})
	if !errors.Is(err, telemetry.ErrConfig) {
		t.Fatalf("error %v, want ErrConfig", err)
	}
	for _, want := range []string{"scheme", "service.name", "service.version", "deployment.environment", "SampleRatio", "QueueSize"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %s in %v", want, err)
		}
	}
	if strings.Contains(err.Error(), hardhat) {
		t.Errorf("the error repeats a value: %v", err)
	}
}
