package httpapi

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// dependencyTimeout bounds one check of a dependency, so that a health report is never slower.
	dependencyTimeout = 2 * time.Second
	// forgetAfter is when a check that does not end is given up, and another one may begin.
	forgetAfter = time.Minute
)

// answer is what a dependency said, and after how long; nil is well.
type answer struct {
	err     error
	latency time.Duration
}

// askDependencies asks all of them at once.
func (a *API) askDependencies(ctx context.Context, dependencies []Dependency) []answer {
	answers := make([]answer, len(dependencies))
	var wg sync.WaitGroup
	for i, d := range dependencies {
		wg.Go(func() {
			began := time.Now()
			err := a.askDependency(ctx, d)
			answers[i] = answer{err, time.Since(began)}
		})
	}
	wg.Wait()
	return answers
}

// askDependency asks for a limited time. All who ask at a time share one check: one that does not heed its context is left
// behind, and another is begun when it is over, or after a minute.
func (a *API) askDependency(ctx context.Context, d Dependency) error {
	ctx, cancel := context.WithTimeout(ctx, dependencyTimeout)
	defer cancel()
	said := a.checks.DoChan(d.Name, func() (any, error) {
		defer time.AfterFunc(forgetAfter, func() { a.checks.Forget(d.Name) }).Stop()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dependencyTimeout)
		defer cancel()
		return nil, contain(d.Name, func() error { return d.Check(ctx) })
	})
	select {
	case result := <-said:
		return result.Err
	case <-ctx.Done():
		return fmt.Errorf("%s does not answer: %w", d.Name, context.Cause(ctx))
	}
}

// contain calls somebody else's code, on goroutines of our own too, where a panic would end the process, so
// it becomes an error.
func contain(name string, ask func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w of %s: %T", errPanic, name, p)
		}
	}()
	return ask()
}
