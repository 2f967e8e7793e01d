package deploy_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSecretsComeFromFiles: with the second file no service has a secret in its environment, and every other variable is
// as without it.
func TestSecretsComeFromFiles(t *testing.T) {
	t.Parallel()
	const password, signing = "postgres_password", "dixie_jwt_private_key"
	const admin, finn = "dixie_admin_key", "finn_auth_token"
	files := map[string]map[string]string{
		"postgres": {"POSTGRES_PASSWORD": password},
		"dixie-bff": {
			"DATABASE_PASSWORD": password, "DIXIE_JWT_PRIVATE_KEY": signing, "DIXIE_ADMIN_KEY": admin, "FINN_AUTH_TOKEN": finn,
		},
		"finn":  {"FINN_AUTH_TOKEN": finn},
		"redis": {}, "nats": {},
	}
	said := []string{"DIXIE_JWT_PRIVATE_KEY=not-used", "DIXIE_ADMIN_KEY=not-used", "FINN_AUTH_TOKEN=not-used"}
	without, project := loaded(t, said, nil), loaded(t, said, nil, secretsFile)
	for service := range project.Services {
		want := environmentOf(t, without, service)
		for name, file := range files[service] {
			if _, ok := want[name]; !ok {
				t.Errorf("%s has no %s to take away", service, name)
			}
			delete(want, name)
			want[name+"_FILE"] = "/run/secrets/" + file
		}
		if diff := cmp.Diff(want, environmentOf(t, project, service)); diff != "" {
			t.Errorf("%s:\n%s", service, diff)
		}
		mounted := []string{}
		for _, secret := range project.Services[service].Secrets {
			if secret.Target != "" && secret.Target != "/run/secrets/"+secret.Source {
				t.Errorf("%s has %s at %s", service, secret.Source, secret.Target)
			}
			mounted = append(mounted, secret.Source)
		}
		wantMounted := []string{}
		for _, file := range files[service] {
			wantMounted = append(wantMounted, file)
		}
		slices.Sort(mounted)
		slices.Sort(wantMounted)
		if diff := cmp.Diff(wantMounted, mounted); diff != "" {
			t.Errorf("%s:\n%s", service, diff)
		}
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for name, secret := range project.Secrets {
		got[name] = strings.TrimPrefix(secret.File, here)
	}
	want := map[string]string{
		password: "/secrets/postgres_password", signing: "/secrets/dixie_jwt_private_key",
		admin: "/secrets/dixie_admin_key", finn: "/secrets/finn_auth_token",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestSecretsAreNotKept: neither git nor a build takes what has secrets in it.
func TestSecretsAreNotKept(t *testing.T) {
	t.Parallel()
	for file, wants := range map[string][]string{
		"../.gitignore":    {"/.env", "/deploy/.env", "/deploy/.env.new", "/deploy/finn.env", "/deploy/secrets", "*.dump"},
		"../.dockerignore": {".*", "deploy", "secrets", "**/*.env", "**/*.dump"},
	} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(content), "\n")
		for _, want := range wants {
			if !slices.Contains(lines, want) {
				t.Errorf("%s has no line %s", file, want)
			}
		}
		for _, line := range lines {
			if strings.HasPrefix(line, "!") {
				t.Errorf("%s lets something in again: %s", file, line)
			}
		}
	}
}
