package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// exposition is what a scrape shows.
type exposition struct {
	// families are the names after # TYPE.
	families map[string]bool
	// samples are the values that each label of a series has, by the series' name, also those with _bucket, _sum and _count.
	samples map[string]map[string][]string
}

func parseExposition(text string) exposition {
	e := exposition{families: map[string]bool{}, samples: map[string]map[string][]string{}}
	label := regexp.MustCompile(`[{,]([a-z_]+)="((?:[^"\\]|\\.)*)"`)
	for line := range strings.Lines(text) {
		if after, ok := strings.CutPrefix(line, "# TYPE "); ok {
			e.families[strings.Fields(after)[0]] = true
			continue
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		name := line[:strings.IndexAny(line, "{ ")]
		if e.samples[name] == nil {
			e.samples[name] = map[string][]string{}
		}
		for _, found := range label.FindAllStringSubmatch(line, -1) {
			e.samples[name][found[1]] = append(e.samples[name][found[1]], found[2])
		}
	}
	// Prometheus itself adds one for each target.
	e.samples["up"] = map[string][]string{}
	return e
}

// ofTarget tells whether a label is of the target that is scraped, and thus of all its series.
func ofTarget(label string) bool { return label == "job" || label == "instance" }

// problems are what is wrong with a query: that it is none, or that it asks for a name, a label or a value that is not
// exposed. Each of its selectors must have the matcher job.
func (e exposition) problems(query, job string) []string {
	expr, err := parser.ParseExpr(query)
	if err != nil {
		return []string{err.Error()}
	}
	var found []string
	selectors := 0
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			selectors++
			found = append(found, e.problemsOfSelector(n, job)...)
		case *parser.AggregateExpr:
			found = append(found, e.problemsOfLabels(n, n.Grouping)...)
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				found = append(found, e.problemsOfLabels(n, slices.Concat(n.VectorMatching.MatchingLabels, n.VectorMatching.Include))...)
			}
		}
		return nil
	})
	if selectors == 0 {
		found = append(found, "it names no metric")
	}
	return found
}

func (e exposition) problemsOfSelector(selector *parser.VectorSelector, job string) []string {
	exposed, ok := e.samples[selector.Name]
	if !ok {
		return []string{fmt.Sprintf("the server does not expose %q", selector.Name)}
	}
	var found []string
	ofJob := func(m *labels.Matcher) bool { return m.String() == job }
	if !slices.ContainsFunc(selector.LabelMatchers, ofJob) {
		found = append(found, fmt.Sprintf("%s is not held to %s", selector, job))
	}
	for _, m := range selector.LabelMatchers {
		if m.Name == labels.MetricName || ofTarget(m.Name) {
			continue
		}
		if exposed[m.Name] == nil {
			found = append(found, fmt.Sprintf("%s has no label %q", selector.Name, m.Name))
			continue
		}
		// What is left out must exist as well, and so must each of several that are asked for.
		kind, wanted := labels.MatchEqual, []string{m.Value}
		if m.Type == labels.MatchRegexp || m.Type == labels.MatchNotRegexp {
			kind, wanted = labels.MatchRegexp, strings.Split(m.Value, "|")
		}
		for _, value := range wanted {
			one, err := labels.NewMatcher(kind, m.Name, value)
			if err != nil {
				found = append(found, fmt.Sprintf("%s: %q is no expression by itself: %v", m, value, err))
			} else if !slices.ContainsFunc(exposed[m.Name], one.Matches) {
				found = append(found, fmt.Sprintf("no series of %s has %s", selector.Name, one))
			}
		}
	}
	return found
}

// problemsOfLabels are the labels that not all the series below a node have.
func (e exposition) problemsOfLabels(node parser.Node, names []string) []string {
	var found []string
	parser.Inspect(node, func(below parser.Node, _ []parser.Node) error {
		selector, ok := below.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		for _, name := range names {
			if exposed, ok := e.samples[selector.Name]; ok && !ofTarget(name) && exposed[name] == nil {
				found = append(found, fmt.Sprintf("%s has no label %q to group or match by", selector.Name, name))
			}
		}
		return nil
	})
	return found
}

func TestQueryProblems(t *testing.T) {
	t.Parallel()
	e := parseExposition(`# TYPE calls counter
calls{state="open",status_class="5xx"} 1
calls{state="half-open",status_class="2xx"} 1
# TYPE tasks gauge
tasks 0
`)
	const job = `job="dixie"`
	for _, query := range []string{
		`up{job="dixie"} == 0`,
		`sum by (state, job) (rate(calls{job="dixie",state=~"open|half-.*",status_class!="5xx"}[5m])) > 0.5`,
		`calls{job="dixie"} unless on (instance) tasks{job="dixie"} == 1`,
		`sum without (state) (calls{job="dixie"}) / on (state) group_left (status_class) calls{job="dixie"}`,
	} {
		if found := e.problems(query, job); found != nil {
			t.Errorf("%s: %q", query, found)
		}
	}
	for query, want := range map[string]string{
		`sum(calls{job="dixie"}`:                               "unclosed left parenthesis",
		`calls{job="dixie" state="open"}`:                      "unexpected identifier",
		`rate(calls{job="dixie"})`:                             "expected type range vector",
		`call{job="dixie"}`:                                    "does not expose",
		`{job="dixie"}`:                                        "does not expose",
		`calls{state="open"}`:                                  "not held to",
		`calls{job="other"}`:                                   "not held to",
		`tasks{job="dixie",state="open"}`:                      `no label "state"`,
		`calls{job="dixie",state=~"ajar"}`:                     `has state=~"ajar"`,
		`calls{job="dixie",state=~"open|ajar"}`:                `has state=~"ajar"`,
		`calls{job="dixie",state!~"open|ajar"}`:                `has state=~"ajar"`,
		`calls{job="dixie",state=""}`:                          `has state=""`,
		`calls{job="dixie",status_class="5XX"}`:                `has status_class="5XX"`,
		`sum by (route) (calls{job="dixie"})`:                  `no label "route"`,
		`calls{job="dixie"} and on (state) tasks{job="dixie"}`: `tasks has no label "state"`,
		`vector(1)`: "names no metric",
	} {
		if found := strings.Join(e.problems(query, job), "\n"); !strings.Contains(found, want) {
			t.Errorf("%s: %q, want %q", query, found, want)
		}
	}
}
