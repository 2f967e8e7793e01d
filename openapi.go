package dixie

import (
	_ "embed"
	"slices"
)

//go:embed openapi.yaml
var openAPI []byte

// OpenAPI returns the OpenAPI 3.1 description of what a [Handler] serves, as YAML. The caller owns it.
func OpenAPI() []byte { return slices.Clone(openAPI) }
