package deploy_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v4"
)

func TestEveryServiceIsGuarded(t *testing.T) {
	t.Parallel()
	// What else a service may have is compared as a whole, here or in another test. Whatever is not here opens it further:
	// devices, cap_add, privileged, network_mode, userns_mode, pid, ipc, ...
	known := []string{
		"build", "cap_drop", "command", "depends_on", "deploy", "entrypoint", "env_file", "environment", "healthcheck", "image",
		"logging", "networks", "ports", "profiles", "pull_policy", "read_only", "restart", "secrets", "security_opt", "shm_size",
		"stop_grace_period", "tmpfs", "user", "volumes",
	}
	users := map[string]string{}
	for _, project := range []*types.Project{everything(t), loaded(t, nil, nil, secretsFile)} {
		for name, service := range project.Services {
			for _, key := range keysOf(t, service) {
				if !slices.Contains(known, key) {
					t.Errorf("%s has %s, which no test here knows", name, key)
				}
			}
			if !service.ReadOnly {
				t.Errorf("%s: the root is writable", name)
			}
			if !slices.Equal(service.CapDrop, []string{"ALL"}) {
				t.Errorf("%s drops the capabilities %v", name, service.CapDrop)
			}
			if !slices.Equal(service.SecurityOpt, []string{"no-new-privileges:true"}) {
				t.Errorf("%s: %v", name, service.SecurityOpt)
			}
			if service.Restart != "unless-stopped" {
				t.Errorf("%s: restart %q", name, service.Restart)
			}
			if len(service.Entrypoint) > 0 {
				t.Errorf("%s: the entrypoint of its image is replaced by %v", name, service.Entrypoint)
			}
			if service.Logging == nil || service.Logging.Driver != "json-file" ||
				service.Logging.Options["max-size"] != "10m" || service.Logging.Options["max-file"] != "3" {
				t.Errorf("%s: logs are not bounded to 30 MB", name)
			}
			if service.User != "" {
				users[name] = service.User
			}
		}
	}
	// Those of dixie have theirs from the Dockerfile, and those of the profile from their images.
	if diff := cmp.Diff(map[string]string{"postgres": "70:70", "redis": "999:1000"}, users); diff != "" {
		t.Error(diff)
	}
}

func keysOf(t *testing.T, service types.ServiceConfig) []string {
	t.Helper()
	content, err := yaml.Marshal(service)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]any{}
	if err := yaml.Unmarshal(content, &keys); err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(keys))
}

// TestHealthChecksOfServices: each asks the service itself, without a shell, often enough.
func TestHealthChecksOfServices(t *testing.T) {
	t.Parallel()
	type check struct {
		command     string
		startPeriod time.Duration
	}
	const usual, slow = 30 * time.Second, time.Minute // Migrations, initdb and Grafana's database take longer.
	const fetch = "CMD wget -q -O /dev/null "
	want := map[string]check{
		"dixie-bff": {"CMD /usr/local/bin/staging-server healthcheck", slow},
		"finn":      {"CMD /usr/local/bin/local-finn -healthcheck", usual},
		// Over TCP: over its socket it answers before it is ready.
		"postgres":   {"CMD pg_isready -q -h 127.0.0.1 -U dixie -d dixie", slow},
		"redis":      {"CMD redis-cli -e ping", usual},
		"nats":       {fetch + "http://127.0.0.1:8222/healthz?js-enabled-only=true", usual},
		"tempo":      {fetch + "http://127.0.0.1:3200/ready", usual},
		"prometheus": {fetch + "http://127.0.0.1:9090/-/ready", usual},
		"grafana":    {fetch + "http://127.0.0.1:3000/api/health", slow},
	}
	got := map[string]check{}
	for name, service := range everything(t).Services {
		h := service.HealthCheck
		if h == nil || h.Interval == nil || h.Timeout == nil || h.Retries == nil || h.StartPeriod == nil || h.StartInterval == nil {
			t.Errorf("%s: a health check with all its times is wanted, not %+v", name, h)
			continue
		}
		got[name] = check{strings.Join(h.Test, " "), time.Duration(*h.StartPeriod)}
		if h.Disable || *h.Interval != types.Duration(5*time.Second) || *h.Timeout != types.Duration(5*time.Second) ||
			*h.Retries != 6 || *h.StartInterval != types.Duration(time.Second) {
			t.Errorf("%s is asked every %s for %s, %d times; disabled: %t", name, h.Interval, h.Timeout, *h.Retries, h.Disable)
		}
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(check{})); diff != "" {
		t.Error(diff)
	}
}

func TestLimitsOfServices(t *testing.T) {
	t.Parallel()
	type limits struct {
		Memory, Processes int64
		Stop              time.Duration
	}
	const mib = 1 << 20
	want := map[string]limits{
		// 15 s for requests, 2 s for what was cut off, 3 s for metrics, 5 s for spans, 5 s for signals, 3 s for connections: 33 s.
		"dixie-bff":  {512 * mib, 512, 40 * time.Second},
		"finn":       {256 * mib, 256, 20 * time.Second},
		"postgres":   {512 * mib, 256, time.Minute},
		"redis":      {192 * mib, 64, 10 * time.Second},
		"nats":       {256 * mib, 128, 20 * time.Second},
		"tempo":      {768 * mib, 256, 5 * time.Second},
		"prometheus": {512 * mib, 128, 10 * time.Second},
		"grafana":    {384 * mib, 256, 10 * time.Second},
	}
	got := map[string]limits{}
	for name, service := range everything(t).Services {
		if service.Deploy == nil || service.Deploy.Resources.Limits == nil || service.StopGracePeriod == nil {
			t.Errorf("%s has no limits", name)
			continue
		}
		l := service.Deploy.Resources.Limits
		got[name] = limits{int64(l.MemoryBytes), l.Pids, time.Duration(*service.StopGracePeriod)}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyDixieIsPublished(t *testing.T) {
	t.Parallel()
	project := everything(t)
	published := map[string][]types.ServicePortConfig{}
	for name, service := range project.Services {
		if len(service.Ports) > 0 {
			published[name] = service.Ports
		}
	}
	port := func(address, published string, target uint32) []types.ServicePortConfig {
		return []types.ServicePortConfig{{Mode: "ingress", HostIP: address, Published: published, Target: target, Protocol: "tcp"}}
	}
	want := map[string][]types.ServicePortConfig{
		"dixie-bff": port("", "3001", 3001), "tempo": port("127.0.0.1", "3200", 3200),
		"prometheus": port("127.0.0.1", "9090", 9090), "grafana": port("127.0.0.1", "3000", 3000),
	}
	if diff := cmp.Diff(want, published); diff != "" {
		t.Error(diff)
	}
	if !project.Networks["backend"].Internal {
		t.Error("the network backend leads outside")
	}
	networks := map[string][]string{}
	for name, service := range project.Services {
		networks[name] = slices.Sorted(maps.Keys(service.Networks))
	}
	wantNetworks := map[string][]string{
		"dixie-bff": {"backend", "edge"}, "finn": {"backend", "models"},
		"postgres": {"backend"}, "redis": {"backend"}, "nats": {"backend"},
		"tempo": {"backend", "tools"}, "prometheus": {"backend", "tools"}, "grafana": {"backend", "tools"},
	}
	if diff := cmp.Diff(wantNetworks, networks); diff != "" {
		t.Error(diff)
	}
}

func TestPublishedWhereTheOperatorSays(t *testing.T) {
	t.Parallel()
	env := []string{"DIXIE_PUBLISH=127.0.0.1:3101", "TEMPO_PORT=3201", "PROMETHEUS_PORT=9091", "GRAFANA_PORT=3009"}
	published := map[string]string{}
	for name, service := range loaded(t, env, []string{"observability"}).Services {
		for _, port := range service.Ports {
			published[name] = port.HostIP + ":" + port.Published
		}
	}
	want := map[string]string{
		"dixie-bff": "127.0.0.1:3101", "tempo": "127.0.0.1:3201", "prometheus": "127.0.0.1:9091", "grafana": "127.0.0.1:3009",
	}
	if diff := cmp.Diff(want, published); diff != "" {
		t.Error(diff)
	}
}

// TestVolumesOfServices: data that must stay is in volumes of Docker's own kind, what is mounted from this machine is
// known and read-only, and everything else is in memory.
func TestVolumesOfServices(t *testing.T) {
	t.Parallel()
	project := everything(t)
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	mounts := map[string][]string{}
	memory := map[string][]string{}
	for name, service := range project.Services {
		for _, volume := range service.Volumes {
			source := strings.TrimPrefix(volume.Source, here)
			line := volume.Type + " " + source + " " + volume.Target
			if volume.ReadOnly {
				line += " read-only"
			}
			mounts[name] = append(mounts[name], line)
			if volume.Type != types.VolumeTypeBind {
				continue
			}
			if _, err := os.Stat(volume.Source); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if len(service.Tmpfs) > 0 {
			memory[name] = service.Tmpfs
		}
	}
	want := map[string][]string{
		"postgres":   {"volume postgres-data /var/lib/postgresql/data"},
		"nats":       {"volume nats-data /data"},
		"dixie-bff":  {"bind /allowlist.json /data/allowlist.json read-only"},
		"tempo":      {"bind /tempo.yaml /etc/tempo.yaml read-only"},
		"prometheus": {"bind /prometheus /etc/prometheus read-only"},
		"grafana":    {"bind /grafana/provisioning /etc/grafana/provisioning read-only", "bind /grafana /etc/dashboards read-only"},
	}
	if diff := cmp.Diff(want, mounts); diff != "" {
		t.Error(diff)
	}
	wantMemory := map[string][]string{
		"finn":       {"/tmp"},
		"postgres":   {"/tmp", "/var/run/postgresql:uid=70,gid=70,mode=1770"},
		"redis":      {"/data"},
		"tempo":      {"/tmp", "/var/tempo:mode=1777,size=256m"},
		"prometheus": {"/prometheus:mode=1777,size=256m"},
		"grafana":    {"/tmp", "/var/log/grafana:mode=1777", "/var/lib/grafana:mode=1777,size=128m"},
	}
	if diff := cmp.Diff(wantMemory, memory); diff != "" {
		t.Error(diff)
	}
	wantVolumes := types.Volumes{"postgres-data": {Name: "dixie-staging_postgres-data"}, "nats-data": {Name: "dixie-staging_nats-data"}}
	if diff := cmp.Diff(wantVolumes, project.Volumes, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}
