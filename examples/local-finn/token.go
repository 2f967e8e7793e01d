package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

const (
	valueVariable = "FINN_AUTH_TOKEN"
	fileVariable  = "FINN_AUTH_TOKEN_FILE"
	// longestToken bounds what is read by mistake; a real token is far shorter.
	longestToken = 64 << 10
)

// token is what clients must present, from the environment or from the file that it names, and the variable that it
// came from. It is empty only where neither is set: a file that cannot be used would open the server otherwise.
func token(getenv func(string) string) (value, source string, err error) {
	value, path := getenv(valueVariable), getenv(fileVariable)
	switch {
	case path == "":
		return value, valueVariable, nil
	case value != "":
		return "", "", fmt.Errorf("%s and %s are both set: keep one", valueVariable, fileVariable)
	}
	value, err = readToken(path)
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", fileVariable, err)
	}
	return value, fileVariable, nil
}

// readToken is the content of a file without the line feed at its end.
func readToken(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("the token cannot be read: %w", err)
	}
	// A pipe would be waited for, and a device has no end.
	if !info.Mode().IsRegular() || info.Size() > longestToken {
		return "", errors.New(path + " is no regular file, or too large for a token")
	}
	content, err := os.ReadFile(path) //nolint:gosec // The operator names the file.
	if err != nil {
		return "", fmt.Errorf("the token cannot be read (it must be readable for the user of this process): %w", err)
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	if strings.TrimSpace(value) == "" {
		return "", errors.New(path + " is empty")
	}
	return value, nil
}
