package apitest

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// Allowed excuses answers that no test of a package can bring about.
type Allowed struct {
	// Operation is an operationId; empty means every operation.
	Operation string
	// Status is the status; 0 means that the operation is not called at all.
	Status int
	// Reason says why. It is required.
	Reason string
}

func (a Allowed) covers(k Key) bool {
	return (a.Operation == "" || a.Operation == k.Operation) && (a.Status == 0 || a.Status == k.Status)
}

func (a Allowed) String() string {
	operation := a.Operation
	if operation == "" {
		operation = "every operation"
	}
	if a.Status == 0 {
		return operation
	}
	return fmt.Sprintf("%s %d", operation, a.Status)
}

// Coverage returns an error that lists every described answer that has not been seen and is not
// excused, every excuse without a reason, and every excuse that excuses nothing any more.
func (s *Spec) Coverage(allowed ...Allowed) error {
	var problems []error
	used := make([]bool, len(allowed))
	called := make(map[string]bool)
	declared := s.declared()
	for _, k := range declared {
		called[k.Operation] = called[k.Operation] || s.hasSeen(k)
	}
	reported := make(map[string]bool)
	for _, k := range declared {
		if s.hasSeen(k) || excuse(k, allowed, used) || reported[k.Operation] {
			continue
		}
		if called[k.Operation] {
			problems = append(problems, fmt.Errorf("%s is described but was never answered", k))
			continue
		}
		reported[k.Operation] = true
		problems = append(problems, fmt.Errorf("%s is described but was never called", k.Operation))
	}
	for i, a := range allowed {
		switch {
		case a.Reason == "":
			problems = append(problems, fmt.Errorf("the excuse for %s has no reason", a))
		case a.Operation == "" && a.Status == 0:
			problems = append(problems, errors.New("an excuse for everything excuses nothing"))
		case !used[i]:
			problems = append(problems, fmt.Errorf("the excuse for %s is not needed any more", a))
		}
	}
	return errors.Join(problems...)
}

// excuse marks every excuse that applies, so that none seems unused because another came first.
func excuse(k Key, allowed []Allowed, used []bool) bool {
	excused := false
	for i, a := range allowed {
		if a.covers(k) {
			used[i], excused = true, true
		}
	}
	return excused
}

// Runner is the part of *testing.M that a TestMain needs; goleak.VerifyTestMain takes it too.
type Runner interface {
	Run() int
}

// Covering returns a Runner that fails when m has passed but [Spec.Coverage] finds something. It only
// judges whole runs, not those in which a flag selects tests, lists them, benchmarks, fuzzes, or runs
// them no times.
func (s *Spec) Covering(m Runner, allowed ...Allowed) Runner {
	return covering{spec: s, tests: m, allowed: allowed, whole: isWholeRun, out: os.Stderr}
}

type covering struct {
	spec    *Spec
	tests   Runner
	allowed []Allowed
	whole   func() bool
	out     io.Writer
}

// Run implements [Runner].
func (c covering) Run() int {
	code := c.tests.Run()
	if code != 0 || !c.whole() {
		return code
	}
	if err := c.spec.Coverage(c.allowed...); err != nil {
		// The testing package is done: nothing but the process's output is left to say it.
		_, _ = fmt.Fprintf(c.out, "FAIL: the tests do not cover the API description:\n%v\n", err)
		return 1
	}
	return 0
}

// isWholeRun reads the flags of the testing package, which are set once m has run.
func isWholeRun() bool {
	for _, name := range []string{"run", "skip", "list", "fuzz", "bench"} {
		if value(name) != "" {
			return false
		}
	}
	return value("short") != "true" && value("count") != "0"
}

func value(name string) string {
	if f := flag.Lookup("test." + name); f != nil {
		return f.Value.String()
	}
	return ""
}
