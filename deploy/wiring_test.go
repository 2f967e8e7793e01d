package deploy_test

import (
	"net"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

// passwordOfTest is what loaded says for POSTGRES_PASSWORD, as it comes through.
const passwordOfTest = "p@ss/w$rd"

// TestDixieIsWired: what the file fixes for dixie-bff is this, and everything else is the operator's to say: as it is
// said, and empty until then.
func TestDixieIsWired(t *testing.T) {
	t.Parallel()
	fixed := map[string]string{
		"DIXIE_PORT": "3001", "DIXIE_HOST": "0.0.0.0", "DIXIE_ALLOWLIST_PATH": "/data/allowlist.json",
		"FINN_URL": "http://finn:3000", "FINN_WS_URL": "ws://finn:3000",
		"DATABASE_URL": "postgres://dixie@postgres:5432/dixie?sslmode=disable", "DATABASE_PASSWORD": passwordOfTest,
		"REDIS_URL": "redis://redis:6379/0", "NATS_URL": "nats://nats:4222", "GOMEMLIMIT": "460MiB",
	}
	unsaid := environmentOf(t, everything(t), "dixie-bff")
	said := make([]string, 0, len(unsaid))
	want := map[string]string{"DIXIE_ENV": "staging"}
	for name := range unsaid {
		value, ok := fixed[name]
		if !ok {
			said = append(said, name+"=said-"+name)
		}
		if _, ok := want[name]; !ok {
			want[name] = value
		}
	}
	for name := range fixed {
		want[name] = fixed[name]
	}
	if diff := cmp.Diff(want, unsaid); diff != "" {
		t.Errorf("where the operator says nothing:\n%s", diff)
	}
	for _, pair := range said {
		name, value, _ := strings.Cut(pair, "=")
		want[name] = value
	}
	for name := range fixed {
		said = append(said, name+"=ignored")
	}
	if diff := cmp.Diff(want, environmentOf(t, loaded(t, said, nil), "dixie-bff")); diff != "" {
		t.Errorf("where the operator says everything:\n%s", diff)
	}
}

// TestServicesAreWired compares the whole environment of all other services.
func TestServicesAreWired(t *testing.T) {
	t.Parallel()
	want := map[string]map[string]string{
		"finn": {
			"HOST": "0.0.0.0", "PORT": "3000", "FINN_AUTH_TOKEN": "finn-secret", "OTEL_EXPORTER_OTLP_ENDPOINT": "",
		},
		"postgres": {
			"POSTGRES_USER": "dixie", "POSTGRES_DB": "dixie", "POSTGRES_PASSWORD": passwordOfTest,
			"POSTGRES_INITDB_ARGS": "--data-checksums --auth-host=scram-sha-256",
		},
		"redis": {}, "nats": {}, "tempo": {}, "prometheus": {},
		"grafana": {
			"GF_AUTH_ANONYMOUS_ENABLED": "true", "GF_AUTH_ANONYMOUS_ORG_ROLE": "Editor", "GF_AUTH_DISABLE_LOGIN_FORM": "true",
			"GF_AUTH_BASIC_ENABLED": "false", "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION": "true",
			"GF_ANALYTICS_REPORTING_ENABLED": "false", "GF_ANALYTICS_CHECK_FOR_UPDATES": "false", "GF_PLUGINS_PREINSTALL_DISABLED": "true",
		},
	}
	project := loaded(t, []string{"FINN_AUTH_TOKEN=finn-secret"}, []string{"observability"})
	got := map[string]map[string]string{}
	for name := range project.Services {
		if name != "dixie-bff" {
			got[name] = environmentOf(t, project, name)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if both := environmentOf(t, project, "dixie-bff")["FINN_AUTH_TOKEN"]; both != "finn-secret" {
		t.Errorf("dixie-bff and Finn have different tokens: %q", both)
	}
}

func environmentOf(t *testing.T, project *types.Project, service string) map[string]string {
	t.Helper()
	values := map[string]string{}
	for name, value := range project.Services[service].Environment {
		if value == nil {
			t.Errorf("%s has %s from whatever shell Compose runs in", service, name)
			continue
		}
		values[name] = *value
	}
	return values
}

// TestSecretsHaveNoDefault: the password must be said wherever it is used, not only where Compose looks first.
func TestSecretsHaveNoDefault(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(stagingFile)
	if err != nil {
		t.Fatal(err)
	}
	uses := regexp.MustCompile(`\$\{?POSTGRES_PASSWORD(..)`).FindAllStringSubmatch(string(content), -1)
	if len(uses) != 2 {
		t.Errorf("POSTGRES_PASSWORD is used %d times, not by the server and the database", len(uses))
	}
	for _, use := range uses {
		if use[1] != ":?" {
			t.Errorf("%s... goes on without a password", use[0])
		}
	}
}

func TestCommandsOfServices(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"redis": "redis-server --save  --appendonly no --maxmemory 128mb --maxmemory-policy volatile-lru",
		"nats":  "nats-server -js -m 8222 -sd /data",
		"tempo": "-config.file=/etc/tempo.yaml",
		"prometheus": "--config.file=/etc/prometheus/prometheus.yml --storage.tsdb.path=/prometheus " +
			"--storage.tsdb.retention.time=6h --storage.tsdb.retention.size=100MB",
	}
	got := map[string]string{}
	for name, service := range everything(t).Services {
		if len(service.Command) > 0 {
			got[name] = strings.Join(service.Command, " ")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTracingIsWired(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		env  []string
		want string
	}{
		"off":         {nil, ""},
		"the profile": {[]string{"COMPOSE_PROFILES=observability"}, "http://tempo:4317"},
		"elsewhere":   {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=https://collector:4317"}, "https://collector:4317"},
		"both":        {[]string{"COMPOSE_PROFILES=observability", "OTEL_EXPORTER_OTLP_ENDPOINT=https://c:4317"}, "https://c:4317"},
	} {
		for _, service := range []string{"dixie-bff", "finn"} {
			got := loaded(t, tc.env, nil).Services[service].Environment["OTEL_EXPORTER_OTLP_ENDPOINT"]
			if got == nil || *got != tc.want {
				t.Errorf("%s: %s is told %v, want %q", name, service, got, tc.want)
			}
		}
	}
}

// TestMetricsAreWired: what the profile scrapes is where dixie-bff listens then, and what Grafana asks is there.
func TestMetricsAreWired(t *testing.T) {
	t.Parallel()
	const listen = "DIXIE_METRICS_LISTEN"
	if got := loaded(t, nil, nil).Services["dixie-bff"].Environment[listen]; got == nil || *got != "" {
		t.Errorf("without the profile, %s is %v", listen, got)
	}
	project := loaded(t, []string{"COMPOSE_PROFILES=observability"}, []string{"observability"})
	_, port, err := net.SplitHostPort(*project.Services["dixie-bff"].Environment[listen])
	if err != nil {
		t.Fatal(err)
	}
	var scraping struct {
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	unmarshal(t, "prometheus/prometheus.yml", &scraping)
	if got := scraping.ScrapeConfigs[0].StaticConfigs[0].Targets; !slices.Equal(got, []string{"dixie-bff:" + port}) {
		t.Errorf("Prometheus scrapes %v, and dixie-bff listens at %s", got, port)
	}
	for _, file := range scraping.RuleFiles {
		if _, err := os.Stat("prometheus/" + path.Base(file)); err != nil || path.Dir(file) != "/etc/prometheus" {
			t.Errorf("the rules %s are not mounted: %v", file, err)
		}
	}
	for _, name := range []string{"prometheus", "tempo"} {
		var provisioned struct{ Datasources []struct{ URL string } }
		unmarshal(t, "grafana/provisioning/datasources/"+name+".yaml", &provisioned)
		want := "http://" + net.JoinHostPort(name, strconv.Itoa(int(project.Services[name].Ports[0].Target)))
		if got := provisioned.Datasources[0].URL; got != want {
			t.Errorf("Grafana asks %s at %s, want %s", name, got, want)
		}
	}
}

func unmarshal(t *testing.T, file string, into any) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(content, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// TestTempoIsWired: it listens where spans are sent and where its health is asked, and what it may take in until it
// deletes it fits into its memory, even if nothing can be compressed.
func TestTempoIsWired(t *testing.T) {
	t.Parallel()
	var tempo struct {
		Server struct {
			Port int `yaml:"http_listen_port"`
		}
		Distributor struct {
			Receivers struct {
				OTLP struct {
					Protocols struct {
						GRPC struct{ Endpoint string }
					}
				} `yaml:"otlp"`
			}
		}
		Compactor struct {
			Compaction struct {
				Retention time.Duration `yaml:"block_retention"`
				Compacted time.Duration `yaml:"compacted_block_retention"`
			}
		}
		Storage struct {
			Trace struct {
				WAL, Local struct{ Path string }
			}
		}
		Overrides struct {
			Defaults struct {
				Ingestion struct {
					Strategy string `yaml:"rate_strategy"`
					Bytes    int64  `yaml:"rate_limit_bytes"`
					Burst    int64  `yaml:"burst_size_bytes"`
				}
			}
		}
	}
	unmarshal(t, "tempo.yaml", &tempo)
	if tempo.Server.Port != 3200 || tempo.Distributor.Receivers.OTLP.Protocols.GRPC.Endpoint != "0.0.0.0:4317" {
		t.Errorf("%+v %+v", tempo.Server, tempo.Distributor)
	}
	// Blocks are written and looked for in steps of some minutes.
	const steps = 10 * time.Minute
	kept := tempo.Compactor.Compaction.Retention + tempo.Compactor.Compaction.Compacted + steps
	limit := tempo.Overrides.Defaults.Ingestion
	folder, options, _ := strings.Cut(everything(t).Services["tempo"].Tmpfs[1], ":")
	_, size, _ := strings.Cut(options, "size=")
	mebibytes, err := strconv.ParseInt(strings.TrimSuffix(size, "m"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	room := mebibytes << 20
	taken := int64(kept/time.Second)*limit.Bytes + limit.Burst
	if limit.Strategy != "local" || limit.Bytes == 0 || limit.Burst == 0 || taken > room {
		t.Errorf("%d bytes may come in %s, by the rate %+v, and there is room for %d", taken, kept, limit, room)
	}
	for _, where := range []string{tempo.Storage.Trace.WAL.Path, tempo.Storage.Trace.Local.Path} {
		if !strings.HasPrefix(where, folder+"/") {
			t.Errorf("%s is not in %s, which is in memory", where, folder)
		}
	}
}
