package apitest_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dixie/internal/apitest"
)

// see makes the spec see an answer that is as described.
func see(t *testing.T, spec *apitest.Spec, method, path string, status int, body string) {
	t.Helper()
	header := http.Header{"X-Request-Id": {"r-1"}, "Content-Type": {"application/json"}, "Allow": {"GET"}}
	response := apitest.Response{Status: status, Header: header, Body: []byte(body)}
	if err := spec.Check(httptest.NewRequest(method, path, nil), response); err != nil {
		t.Fatal(err)
	}
}

func seeMost(t *testing.T, spec *apitest.Spec) {
	t.Helper()
	see(t, spec, http.MethodGet, "/things/a", http.StatusOK, `{"name":"a"}`)
	see(t, spec, http.MethodPut, "/things/a", http.StatusMethodNotAllowed, `{"error":"x","request_id":"r-1"}`)
	see(t, spec, http.MethodPost, "/things", http.StatusCreated, `{"name":"a"}`)
	see(t, spec, http.MethodGet, "/things/newest", http.StatusNoContent, "")
}

func TestCoverage(t *testing.T) {
	t.Parallel()
	missing := apitest.Allowed{Operation: "getThing", Status: http.StatusNotFound, Reason: "things never end"}
	uncalled := apitest.Allowed{Operation: "getEvents", Reason: "needs a broker"}
	for name, c := range map[string]struct {
		allowed []apitest.Allowed
		want    []string // lines of the error
	}{
		"what is missing": {nil, []string{
			"getEvents is described but was never called",
			"getThing 404 is described but was never answered",
		}},
		"excused": {[]apitest.Allowed{missing, uncalled}, nil},
		"excused everywhere": {
			[]apitest.Allowed{{Status: http.StatusNotFound, Reason: "things never end"}, uncalled}, nil,
		},
		"without reason": {
			[]apitest.Allowed{missing, {Operation: "getEvents"}},
			[]string{"the excuse for getEvents has no reason"},
		},
		"not needed": {
			[]apitest.Allowed{missing, uncalled, {Operation: "makeThing", Status: http.StatusCreated, Reason: "slow"}},
			[]string{"the excuse for makeThing 201 is not needed any more"},
		},
		"for everything": {
			[]apitest.Allowed{{Reason: "too much work"}},
			[]string{"an excuse for everything excuses nothing"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := load(t)
			seeMost(t, spec)
			err := spec.Coverage(c.allowed...)
			if len(c.want) == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || err.Error() != strings.Join(c.want, "\n") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestCoverageOfNothing(t *testing.T) {
	t.Parallel()
	err := load(t).Coverage()
	if err == nil || strings.Count(err.Error(), "was never called") != 4 {
		t.Errorf("got %v, want each of four operations once", err)
	}
}

type run int

func (r run) Run() int { return int(r) }

func TestOperations(t *testing.T) {
	t.Parallel()
	want := []apitest.Operation{
		{ID: "getEvents", Method: http.MethodGet, Template: "/events", Path: "/events", Statuses: []int{200}},
		{ID: "makeThing", Method: http.MethodPost, Template: "/things", Path: "/things", Statuses: []int{201}},
		{ID: "getThing", Method: http.MethodGet, Template: "/things/{id}", Path: "/things/a", Statuses: []int{200, 404, 405}},
		{ID: "getNewest", Method: http.MethodGet, Template: "/things/newest", Path: "/things/newest", Statuses: []int{204}},
	}
	if diff := cmp.Diff(want, load(t).Operations()); diff != "" {
		t.Error(diff)
	}
}

func TestCovering(t *testing.T) {
	t.Parallel()
	const failed = 3
	for name, c := range map[string]struct {
		code    int
		whole   bool
		allowed []apitest.Allowed
		want    int
		says    string
	}{
		"uncovered":         {code: 0, whole: true, want: 1, says: "makeThing is described but was never called"},
		"covered":           {code: 0, whole: true, allowed: excuses(), want: 0},
		"part of the tests": {code: 0, whole: false, want: 0},
		"failed before":     {code: failed, whole: true, want: failed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			got := apitest.CoveringRun(load(t), run(c.code), c.whole, &out, c.allowed...).Run()
			if got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
			if said := out.String(); !strings.Contains(said, c.says) || (c.says == "" && said != "") {
				t.Errorf("said %q, want %q", said, c.says)
			}
		})
	}
}

func excuses() []apitest.Allowed {
	var all []apitest.Allowed
	for _, operation := range []string{"getThing", "getNewest", "makeThing", "getEvents"} {
		all = append(all, apitest.Allowed{Operation: operation, Reason: "not part of this test"})
	}
	return all
}
