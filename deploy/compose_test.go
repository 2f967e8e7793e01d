// Package deploy_test holds the Compose files to what is promised of them.
package deploy_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"

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
	project, err := load(t, append([]string{"POSTGRES_PASSWORD=" + passwordOfTest}, env...), profiles, files...)
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
			if value != nil && strings.Contains(*value, passwordOfTest) != slices.Contains([]string{"POSTGRES_PASSWORD", "DATABASE_PASSWORD"}, variable) {
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
}

// TestImagesAreBuilt: from what, and with nothing that differs from one commit to the next, since then each start would
// find other images, and start everything anew.
func TestImagesAreBuilt(t *testing.T) {
	t.Parallel()
	type build struct {
		Target, Context, Dockerfile string
		Args                        map[string]string
	}
	want := map[string]build{
		"dixie-bff": {"dixie-bff", "..", "deploy/Dockerfile", map[string]string{"VERSION": dixie.Version}},
		"finn": {"finn", "..", "deploy/Dockerfile", map[string]string{
			"VERSION": dixie.Version, "FINN_IMAGE": "local-finn-root",
		}},
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]build{}
	for name, service := range everything(t).Services {
		if service.Build == nil {
			continue
		}
		args := map[string]string{}
		for arg, value := range service.Build.Args {
			args[arg] = *value
		}
		context, err := filepath.Rel(here, service.Build.Context)
		if err != nil {
			t.Error(err)
		}
		got[name] = build{service.Build.Target, context, service.Build.Dockerfile, args}
		if service.PullPolicy != types.PullPolicyBuild {
			t.Errorf("%s: pull policy %q", name, service.PullPolicy)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFinnCanBeReplaced(t *testing.T) {
	t.Parallel()
	const released = "ghcr.io/0xhoneyjar/loa-finn:v3.2.0"
	other := loaded(t, []string{"FINN_IMAGE=" + released, "FINN_READ_ONLY=false", "FINN_MEMORY=1G"}, nil).Services["finn"]
	if *other.Build.Args["FINN_IMAGE"] != released || other.ReadOnly || other.Deploy.Resources.Limits.MemoryBytes != 1<<30 {
		t.Errorf("%+v", other)
	}
	// Made anew at each start, or the image of another choice would be used.
	if other.PullPolicy != types.PullPolicyBuild {
		t.Errorf("pull policy %q", other.PullPolicy)
	}
}
