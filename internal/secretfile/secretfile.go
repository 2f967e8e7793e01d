// Package secretfile reads secrets from files, as Docker and Kubernetes mount them.
package secretfile

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// Longest bounds what is read by mistake, in bytes; a real secret is far shorter.
const Longest = 64 << 10

// byteOrderMark is what some editors put before UTF-8.
const byteOrderMark = "\ufeff"

// Read is the content of a file without the line feed at its end. The file must be a regular one that holds text, of
// [Longest] bytes at most; an error names the path and nothing of the content.
func Read(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("the secret cannot be read: %w", err)
	}
	// Reading a device or a pipe might never end.
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is a folder, or no regular file", path)
	}
	file, err := os.Open(path) //nolint:gosec // The operator names the file.
	if err != nil {
		return "", fmt.Errorf("the secret cannot be read (it must be readable for the user of this process): %w", err)
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, Longest+1))
	if err != nil {
		return "", fmt.Errorf("the secret cannot be read: %w", err)
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	switch {
	case len(content) > Longest:
		return "", fmt.Errorf("%s is too large for a secret", path)
	case strings.TrimSpace(value) == "":
		return "", fmt.Errorf("%s is empty", path)
	case strings.ContainsRune(value, 0):
		return "", fmt.Errorf("%s has a zero byte: it must be text, in UTF-8", path)
	case strings.HasPrefix(value, byteOrderMark):
		return "", fmt.Errorf("%s begins with a byte order mark: save it without", path)
	}
	return value, nil
}
