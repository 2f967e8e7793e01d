package secretfile_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dixie/internal/secretfile"
)

const secret = "hunter2"

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	t.Parallel()
	longest := strings.Repeat("x", secretfile.Longest)
	for name, tt := range map[string]struct{ content, want string }{
		"as it is":                {secret, secret},
		"line feed":               {secret + "\n", secret},
		"line feed of Windows":    {secret + "\r\n", secret},
		"one line feed goes":      {secret + "\n\n", secret + "\n"},
		"blanks are the secret's": {" " + secret + " \n", " " + secret + " "},
		"several lines":           {"a\nb\n", "a\nb"},
		"the longest":             {longest, longest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := secretfile.Read(write(t, tt.content)); err != nil || got != tt.want {
				t.Errorf("%q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ path, want string }{
		"missing":         {filepath.Join(t.TempDir(), "none"), "no such file"},
		"folder":          {t.TempDir(), "is a folder"},
		"pipe":            {pipe, "no regular file"},
		"device":          {"/dev/zero", "no regular file"},
		"grows":           {"/proc/kallsyms", ""},
		"empty":           {write(t, ""), "is empty"},
		"blank":           {write(t, " \n"), "is empty"},
		"too large":       {write(t, secret+strings.Repeat("x", secretfile.Longest)), "too large"},
		"zero byte":       {write(t, secret+"\x00"), "zero byte"},
		"byte order mark": {write(t, "\ufeff"+secret), "byte order mark"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := secretfile.Read(tt.path)
			if err == nil || got != "" {
				t.Fatalf("%q, %v", got, err)
			}
			for _, want := range []string{tt.want, tt.path} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in %v", want, err)
				}
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the secret is in %v", err)
			}
		})
	}
}
