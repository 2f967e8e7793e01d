package apitest

import "io"

// CoveringRun is Covering with what it reads from the process given.
func CoveringRun(s *Spec, m Runner, whole bool, out io.Writer, allowed ...Allowed) Runner {
	return covering{spec: s, tests: m, allowed: allowed, whole: func() bool { return whole }, out: out}
}
