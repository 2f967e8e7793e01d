// Package deploy_test holds the Compose files to what is promised of them.
package deploy_test

import (
	"maps"
	"net"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"dixie"
)

const (
	stagingFile = "docker-compose.staging.yml"
	secretsFile = "docker-compose.secrets.yml"
)

// load reads the files as `docker compose` does, with exactly these variables.
func load(t *testing.T, env, profiles []string, files ...string) (*types.Project, error) {
	t.Helper()
	options, err := cli.NewProjectOptions(append([]string{stagingFile}, files...), cli.WithEnv(env), cli.WithProfiles(profiles))
	if err != nil {
		t.Fatal(err)
	}
	return options.LoadProject(t.Context())
}

func loaded(t *testing.T, env, profiles []string, files ...string) *types.Project {
	t.Helper()
	project, err := load(t, append([]string{"POSTGRES_PASSWORD=p@ss/w$rd"}, env...), profiles, files...)
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// everything is the project with all its profiles.
func everything(t *testing.T) *types.Project {
	t.Helper()
	return loaded(t, nil, []string{"observability"})
}

func TestServicesAndProfiles(t *testing.T) {
	t.Parallel()
	base := []string{"dixie-bff", "finn", "nats", "postgres", "redis"}
	if diff := cmp.Diff(base, loaded(t, nil, nil).ServiceNames()); diff != "" {
		t.Error(diff)
	}
	all := everything(t).ServiceNames()
	slices.Sort(all)
	if diff := cmp.Diff([]string{"dixie-bff", "finn", "grafana", "nats", "postgres", "prometheus", "redis", "tempo"}, all); diff != "" {
		t.Error(diff)
	}
}

func TestPasswordIsRequired(t *testing.T) {
	t.Parallel()
	for _, env := range [][]string{nil, {"POSTGRES_PASSWORD="}} {
		_, err := load(t, env, nil)
		if err == nil {
			t.Fatalf("%v: no error", env)
		}
		for _, want := range []string{"POSTGRES_PASSWORD", "deploy/.env", "openssl rand -hex 24", ".env.example"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %q is not in %v", env, want, err)
			}
		}
	}
	for name, service := range everything(t).Services {
		for variable, value := range service.Environment {
			if value != nil && strings.Contains(*value, "p@ss/w$rd") != slices.Contains([]string{"POSTGRES_PASSWORD", "DATABASE_PASSWORD"}, variable) {
				t.Errorf("%s: %s=%s", name, variable, *value)
			}
		}
	}
}

func TestImagesArePinned(t *testing.T) {
	t.Parallel()
	pinned := regexp.MustCompile(`^[a-z/-]+:v?\d+\.\d+(\.\d+)?(-alpine)?$`)
	project := everything(t)
	for name, service := range project.Services {
		if !pinned.MatchString(service.Image) {
			t.Errorf("%s: the image %s has no version", name, service.Image)
		}
	}
	for name, want := range map[string]string{
		"postgres": "postgres:16.6-alpine", "redis": "redis:7.4-alpine", "nats": "nats:2.10-alpine",
		"dixie-bff": "dixie/dixie-bff:" + dixie.Version, "finn": "dixie/finn:" + dixie.Version,
	} {
		if got := project.Services[name].Image; got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if got := *project.Services["dixie-bff"].Build.Args["VERSION"]; got != dixie.Version {
		t.Errorf("the build is told version %s, want %s", got, dixie.Version)
	}
}

func TestEveryServiceIsGuarded(t *testing.T) {
	t.Parallel()
	for name, service := range everything(t).Services {
		if h := service.HealthCheck; h == nil || h.Disable || len(h.Test) < 2 || h.Test[0] != "CMD" ||
			h.Interval == nil || h.Timeout == nil || h.Retries == nil {
			t.Errorf("%s: a health check without a shell, with all its times, is wanted, not %+v", name, h)
		}
		if !service.ReadOnly {
			t.Errorf("%s: the root is writable", name)
		}
		if !slices.Equal(service.CapDrop, []string{"ALL"}) || len(service.CapAdd) > 0 || service.Privileged {
			t.Errorf("%s: capabilities %v %v", name, service.CapDrop, service.CapAdd)
		}
		if !slices.Contains(service.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s: %v", name, service.SecurityOpt)
		}
		if service.Restart != "unless-stopped" {
			t.Errorf("%s: restart %q", name, service.Restart)
		}
		if service.Deploy == nil || service.Deploy.Resources.Limits == nil || service.Deploy.Resources.Limits.MemoryBytes == 0 {
			t.Errorf("%s: no memory limit", name)
		}
		if service.Logging == nil || service.Logging.Options["max-size"] == "" || service.Logging.Options["max-file"] == "" {
			t.Errorf("%s: logs grow without end", name)
		}
		if service.StopGracePeriod == nil {
			t.Errorf("%s: no time to stop in", name)
		}
		if service.ContainerName != "" || service.NetworkMode != "" || service.Pid != "" || service.Ipc != "" {
			t.Errorf("%s shares more with this machine than it should", name)
		}
	}
}

func TestOnlyDixieIsPublished(t *testing.T) {
	t.Parallel()
	project := everything(t)
	published := map[string]string{}
	for name, service := range project.Services {
		for _, port := range service.Ports {
			published[name] += port.HostIP + ":" + port.Published
		}
	}
	want := map[string]string{"dixie-bff": ":3001", "tempo": "127.0.0.1:3200", "prometheus": "127.0.0.1:9090", "grafana": "127.0.0.1:3000"}
	if diff := cmp.Diff(want, published); diff != "" {
		t.Error(diff)
	}
	if !project.Networks["backend"].Internal {
		t.Error("the network backend leads outside")
	}
	outside := map[string][]string{}
	for name, service := range project.Services {
		for network := range service.Networks {
			if !project.Networks[network].Internal {
				outside[name] = append(outside[name], network)
			}
		}
		if _, ok := service.Networks["backend"]; !ok {
			t.Errorf("%s is not on the network backend", name)
		}
	}
	wantOutside := map[string][]string{
		"dixie-bff": {"edge"}, "finn": {"models"}, "tempo": {"tools"}, "prometheus": {"tools"}, "grafana": {"tools"},
	}
	if diff := cmp.Diff(wantOutside, outside); diff != "" {
		t.Error(diff)
	}
}

func TestTheDatabaseKeepsItsData(t *testing.T) {
	t.Parallel()
	project := everything(t)
	for service, target := range map[string]string{"postgres": "/var/lib/postgresql/data", "nats": "/data"} {
		volumes := project.Services[service].Volumes
		if len(volumes) != 1 || volumes[0].Type != types.VolumeTypeVolume || volumes[0].Target != target || volumes[0].Source == "" {
			t.Errorf("%s keeps its data in %+v", service, volumes)
			continue
		}
		if _, ok := project.Volumes[volumes[0].Source]; !ok {
			t.Errorf("the volume %s is not declared", volumes[0].Source)
		}
	}
}

func TestOrderOfTheStart(t *testing.T) {
	t.Parallel()
	project := everything(t)
	needs := project.Services["dixie-bff"].DependsOn
	names := slices.Sorted(maps.Keys(needs))
	if diff := cmp.Diff([]string{"finn", "nats", "postgres", "redis"}, names); diff != "" {
		t.Error(diff)
	}
	for name, need := range needs {
		if need.Condition != types.ServiceConditionHealthy || !need.Required {
			t.Errorf("%s: %+v", name, need)
		}
	}
	if check := project.Services["postgres"].HealthCheck.Test; !slices.Contains(check, "127.0.0.1") {
		t.Errorf("PostgreSQL is asked over its socket, where it answers before it is ready: %v", check)
	}
	if command := project.Services["nats"].Command; !slices.Contains(command, "-js") || !slices.Contains(command, "8222") {
		t.Errorf("NATS without JetStream or monitoring: %v", command)
	}
}

// TestThereIsTimeToDrain: 15 s for requests, 5 s for spans, 2 s and 5 s for signals, 3 s for connections.
func TestThereIsTimeToDrain(t *testing.T) {
	t.Parallel()
	if got := time.Duration(*everything(t).Services["dixie-bff"].StopGracePeriod); got < 35*time.Second {
		t.Errorf("dixie-bff is killed after %s", got)
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

func TestFinnCanBeReplaced(t *testing.T) {
	t.Parallel()
	own := loaded(t, nil, nil).Services["finn"]
	if own.Build.Target != "finn" || *own.Build.Args["FINN_IMAGE"] != "local-finn-root" {
		t.Errorf("%s of %s", own.Build.Target, *own.Build.Args["FINN_IMAGE"])
	}
	const released = "ghcr.io/0xhoneyjar/loa-finn:v3.2.0"
	other := loaded(t, []string{"FINN_IMAGE=" + released, "FINN_READ_ONLY=false", "FINN_MEMORY=1G"}, nil).Services["finn"]
	if *other.Build.Args["FINN_IMAGE"] != released || other.ReadOnly || other.Deploy.Resources.Limits.MemoryBytes != 1<<30 {
		t.Errorf("%+v", other)
	}
	// Made anew at each start, or the image of another choice would be used.
	if own.PullPolicy != types.PullPolicyBuild || other.PullPolicy != types.PullPolicyBuild {
		t.Errorf("pull policy %q", other.PullPolicy)
	}
}

func TestDixieNeedsNoRestOfTheMachine(t *testing.T) {
	t.Parallel()
	for name, service := range everything(t).Services {
		for _, volume := range service.Volumes {
			if volume.Type == types.VolumeTypeBind && !volume.ReadOnly {
				t.Errorf("%s may write to %s", name, volume.Source)
			}
			if volume.Type != types.VolumeTypeBind {
				continue
			}
			if _, err := os.Stat(volume.Source); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestSecretsComeFromFiles(t *testing.T) {
	t.Parallel()
	project := loaded(t, nil, nil, secretsFile)
	for service, want := range map[string][]string{
		"postgres":  {"POSTGRES_PASSWORD"},
		"dixie-bff": {"DATABASE_PASSWORD", "DIXIE_JWT_PRIVATE_KEY", "DIXIE_ADMIN_KEY"},
	} {
		environment := project.Services[service].Environment
		mounted := map[string]bool{}
		for _, secret := range project.Services[service].Secrets {
			mounted["/run/secrets/"+secret.Source] = true
		}
		for _, name := range want {
			if _, ok := environment[name]; ok {
				t.Errorf("%s still has %s", service, name)
			}
			if file := environment[name+"_FILE"]; file == nil || !mounted[*file] {
				t.Errorf("%s_FILE of %s is not a secret that is mounted", name, service)
			}
		}
	}
	for name, secret := range project.Secrets {
		if !strings.HasSuffix(secret.File, "/secrets/"+name) {
			t.Errorf("%s is in %s", name, secret.File)
		}
	}
}

// TestDockerfile: every base has a version or is empty, and the user has no name to be looked up.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	stages := []string{"scratch", "${FINN_IMAGE}"}
	from := regexp.MustCompile(`(?m)^FROM (?:--platform=\S+ )?(\S+) AS (\S+)$`)
	for _, m := range from.FindAllStringSubmatch(string(content), -1) {
		if !slices.Contains(stages, m[1]) && !regexp.MustCompile(`:\d+\.\d+`).MatchString(m[1]) {
			t.Errorf("%s has no version", m[1])
		}
		stages = append(stages, m[2])
	}
	for _, target := range []string{"dixie-bff", "local-finn", "finn"} {
		if !slices.Contains(stages, target) {
			t.Errorf("no target %s in %v", target, stages)
		}
	}
	if n := strings.Count(string(content), "\nUSER 65532:65532\n"); n != 2 {
		t.Errorf("%d images have a user without rights", n)
	}
	if !strings.Contains(string(content), "-trimpath") || !strings.Contains(string(content), "main.build=$VERSION") {
		t.Error("paths of the build machine, or no version, in the program")
	}
}
