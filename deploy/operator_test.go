package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// checkout is a folder with what an operator's commands need: the Makefile, an environment, and before everything else
// in the PATH a docker that prints its arguments.
func checkout(t *testing.T) (folder string, run func(script string) string) {
	t.Helper()
	folder = t.TempDir()
	for name, content := range map[string]string{
		"Makefile":    read(t, "../Makefile"),
		"dixie.go":    "package dixie\n\nconst Version = \"9.9.9\"\n",
		"deploy/.env": "POSTGRES_PASSWORD=a;echo INJECTED\nDIXIE_ADMIN_KEY='the-$admin;key'\n",
		"bin/docker":  "#!/bin/sh\necho docker \"$@\"\nenv | grep ^DIXIE_\n:\n",
	} {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(folder, "bin", "docker"), 0o700); err != nil {
		t.Fatal(err)
	}
	return folder, func(script string) string {
		command := exec.CommandContext(t.Context(), "sh", "-euc", script)
		command.Dir = folder
		command.Env = []string{"PATH=" + filepath.Join(folder, "bin") + ":" + os.Getenv("PATH")}
		out, err := command.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
		return string(out)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// preamble is what STAGING.md asks for in each new shell: its first block of commands.
func preamble(t *testing.T) string {
	t.Helper()
	_, rest, _ := strings.Cut(read(t, "../STAGING.md"), "```sh\n")
	block, _, found := strings.Cut(rest, "```")
	if !found || !strings.Contains(block, "dc() {") {
		t.Fatalf("STAGING.md does not begin with dc:\n%s", block)
	}
	return block
}

// TestServicesAreReachedAlike: make and the runbook's dc give Compose the same files and nothing else, or one would
// start anew what the other started.
func TestServicesAreReachedAlike(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("make"); err != nil {
		t.Skipf("make is not installed: %v", err)
	}
	folder, run := checkout(t)
	const plain = "docker compose -f deploy/docker-compose.staging.yml"
	const withSecrets = plain + " -f deploy/docker-compose.secrets.yml"
	for _, step := range []struct{ prepare, want string }{
		{"true", plain},
		{"mkdir deploy/secrets", withSecrets},
		{"mv deploy/secrets elsewhere && ln -s ../elsewhere deploy/secrets", withSecrets},
	} {
		run(step.prepare)
		want := step.want + " up -d --wait\n"
		if got := run("make -s staging-up"); got != want {
			t.Errorf("%s: make says\n%s, want\n%s", step.prepare, got, want)
		}
		if got := run(preamble(t) + "dc up -d --wait"); got != want {
			t.Errorf("%s: dc says\n%s, want\n%s", step.prepare, got, want)
		}
		if got, want := run("make -s staging-down"), step.want+" --profile observability down -v\n"; got != want {
			t.Errorf("%s: make says\n%s, want\n%s", step.prepare, got, want)
		}
	}
	if err := os.Remove(filepath.Join(folder, "deploy", ".env")); err != nil {
		t.Fatal(err)
	}
	run("make -s staging-up")
	made := read(t, filepath.Join(folder, "deploy", ".env"))
	for _, name := range []string{"POSTGRES_PASSWORD", "DIXIE_JWT_PRIVATE_KEY", "DIXIE_ADMIN_KEY", "FINN_AUTH_TOKEN"} {
		_, rest, _ := strings.Cut(made, name+"=")
		if value, _, _ := strings.Cut(rest, "\n"); len(value) != 48 {
			t.Errorf("%s is %d characters long", name, len(value))
		}
	}
	if info, err := os.Stat(filepath.Join(folder, "deploy", ".env")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

// TestSecretsAreReadForTheOperator: the admin key is found in both variants, and no value is run by the shell.
func TestSecretsAreReadForTheOperator(t *testing.T) {
	t.Parallel()
	folder, run := checkout(t)
	script := preamble(t) + "admin_key"
	if got := run(script); got != "the-$admin;key\n" {
		t.Errorf("of deploy/.env the key is %q", got)
	}
	run("mkdir deploy/secrets")
	if err := os.WriteFile(filepath.Join(folder, "deploy", "secrets", "dixie_admin_key"), []byte("of the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := run(script); got != "of the file\n" {
		t.Errorf("of deploy/secrets the key is %q", got)
	}
	if strings.Contains(read(t, "../STAGING.md"), ". deploy/.env\n") {
		t.Error("STAGING.md has a shell run deploy/.env")
	}
}
