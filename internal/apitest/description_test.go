package apitest_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"dixie/internal/apitest"
)

// served reads the description of the real service.
func served(t *testing.T) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestServedDescriptionLoads(t *testing.T) {
	t.Parallel()
	if _, err := apitest.Load(served(t)); err != nil {
		t.Fatal(err)
	}
}

// An answer may not grow a field that is not described, so every object in an answer is closed, or says
// that it is open on purpose. Fields schemas are closed by those that are made of them.
func TestAnswersAreClosed(t *testing.T) {
	t.Parallel()
	doc, err := openapi3.NewLoader().LoadFromData(served(t))
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			for status, response := range operation.Responses.Map() {
				for mediaType, content := range response.Value.Content {
					if content.Schema == nil {
						continue
					}
					at := strings.Join([]string{method, path, status, mediaType}, " ")
					checked += closed(t, at, content.Schema)
				}
			}
		}
	}
	if checked == 0 {
		t.Error("no object was checked")
	}
}

// closed walks a schema and returns how many objects it looked at.
func closed(t *testing.T, at string, ref *openapi3.SchemaRef) int {
	t.Helper()
	schema := ref.Value
	checked := 0
	if schema.Type.Includes(openapi3.TypeObject) && !strings.HasSuffix(ref.Ref, "Fields") {
		checked++
		says := schema.AdditionalProperties.Has != nil || schema.AdditionalProperties.Schema != nil ||
			schema.UnevaluatedProperties.Has != nil
		if !says {
			t.Errorf("%s: an object does not say whether it is open", at)
		}
	}
	for name, property := range schema.Properties {
		checked += closed(t, at+"."+name, property)
	}
	if schema.Items != nil {
		checked += closed(t, at+"[]", schema.Items)
	}
	if schema.AdditionalProperties.Schema != nil {
		checked += closed(t, at+".*", schema.AdditionalProperties.Schema)
	}
	for _, list := range []openapi3.SchemaRefs{schema.AllOf, schema.AnyOf, schema.OneOf} {
		for i, part := range list {
			// The alternatives of a closed object only narrow it.
			if part.Ref != "" {
				checked += closed(t, at+"#"+strconv.Itoa(i), part)
			}
		}
	}
	return checked
}
