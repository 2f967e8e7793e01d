package main

import (
	"fmt"

	"dixie/internal/secretfile"
)

const (
	valueVariable = "FINN_AUTH_TOKEN"
	fileVariable  = "FINN_AUTH_TOKEN_FILE"
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
	value, err = secretfile.Read(path)
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", fileVariable, err)
	}
	return value, fileVariable, nil
}
