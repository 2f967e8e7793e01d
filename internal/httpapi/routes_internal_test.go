package httpapi

import (
	"net/http"
	"testing"

	"go.opentelemetry.io/otel/attribute"

	"dixie/spansanitizer"
)

// TestEveryRouteIsKnownToTheSanitiser: a route that it does not know would be "other" in every span, and nobody would
// notice.
func TestEveryRouteIsKnownToTheSanitiser(t *testing.T) {
	t.Parallel()
	a := &API{mux: http.NewServeMux()}
	a.registerRoutes()
	if len(a.templates) < 20 {
		t.Fatalf("%d routes", len(a.templates))
	}
	var policy *spansanitizer.Policy
	for _, template := range append(a.templates, "unmatched") {
		given := attribute.String(spansanitizer.URL, template)
		if got, ok := policy.Attribute(spansanitizer.Request, given); !ok || got != given {
			t.Errorf("%s becomes %q, %v: add it to spansanitizer's vocabulary", template, got.Value.AsString(), ok)
		}
	}
}
