package instruments

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Sources are asked at each collection. They must be quick, but for Dependencies, whose answers are kept for a while.
type Sources struct {
	Circuit     func() string
	ActiveTasks func() int
	// Dependencies tells of each by its name whether it answers.
	Dependencies func(context.Context) map[string]bool
}

// Observe asks the sources at each collection, until the registration ends.
func (i *Instruments) Observe(s Sources) (metric.Registration, error) {
	o := &observer{meter: i.meter}
	state := o.gauge("dixie.finn.circuit.state", "{state}", "1 for the state that the circuit breaker is in, 0 for the others.")
	tasks := o.gauge("dixie.fleet.active_tasks", "{task}", "Tasks that this process works on.")
	up := o.gauge("dixie.dependency.up", "{dependency}", "1 while a dependency answers, else 0.")
	states := make(map[string]metric.ObserveOption)
	for _, word := range circuitStates() {
		states[word] = metric.WithAttributeSet(attribute.NewSet(attribute.String("state", word)))
	}
	return o.register(func(ctx context.Context, to metric.Observer) error {
		now := s.Circuit()
		for word, option := range states {
			to.ObserveInt64(state, truth(word == now), option)
		}
		to.ObserveInt64(tasks, int64(s.ActiveTasks()))
		for name, answers := range s.Dependencies(ctx) {
			to.ObserveInt64(up, truth(answers), metric.WithAttributes(attribute.String("dependency", name)))
		}
		return nil
	})
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// Pool is the use of a pool of connections.
type Pool struct {
	Used, Idle, Max int64
	// Waits, Timeouts and WaitSeconds are since the start: who had to wait for a connection, who gave up, and how
	// long they waited together.
	Waits, Timeouts int64
	WaitSeconds     float64
}

// ObservePool tells of a pool at each collection, until the registration ends. name tells it from other pools.
func ObservePool(meter metric.Meter, name string, read func() Pool) (metric.Registration, error) {
	o := &observer{meter: meter}
	count := o.gauge("db.client.connection.count", "{connection}", "Connections of the pool, by state.")
	largest := o.gauge("db.client.connection.max", "{connection}", "Connections that the pool may have.")
	timeouts := o.total("db.client.connection.timeouts", "{timeout}", "Callers that gave up waiting for a connection.")
	waits := o.total("dixie.pool.waits", "{wait}", "Callers that had to wait for a connection.")
	waited := o.seconds("dixie.pool.wait_time", "Time that callers waited for a connection.")
	pool := attribute.String("db.client.connection.pool.name", name)
	option := metric.WithAttributeSet(attribute.NewSet(pool))
	used := metric.WithAttributeSet(attribute.NewSet(pool, attribute.String("db.client.connection.state", "used")))
	idle := metric.WithAttributeSet(attribute.NewSet(pool, attribute.String("db.client.connection.state", "idle")))
	return o.register(func(_ context.Context, to metric.Observer) error {
		p := read()
		to.ObserveInt64(count, p.Used, used)
		to.ObserveInt64(count, p.Idle, idle)
		to.ObserveInt64(largest, p.Max, option)
		to.ObserveInt64(timeouts, p.Timeouts, option)
		to.ObserveInt64(waits, p.Waits, option)
		to.ObserveFloat64(waited, p.WaitSeconds, option)
		return nil
	})
}

// Signals are the accounts of a publisher since its start, but for Buffered.
type Signals struct {
	Published, Retried, Full, Refused, Lost, Buffered int64
}

// ObserveSignals tells of signals at each collection, until the registration ends.
func ObserveSignals(meter metric.Meter, read func() Signals) (metric.Registration, error) {
	o := &observer{meter: meter}
	published := o.total("dixie.signals.published", "{signal}", "Signals that JetStream has stored.")
	retried := o.total("dixie.signals.retries", "{signal}", "Attempts that JetStream did not confirm, and that are repeated.")
	dropped := o.total("dixie.signals.dropped", "{signal}", "Signals that nobody will get, by reason.")
	buffered := o.gauge("dixie.signals.buffered", "{signal}", "Signals that wait for NATS.")
	because := func(word string) metric.ObserveOption {
		return metric.WithAttributeSet(attribute.NewSet(attribute.String("reason", word)))
	}
	full, refused, lost := because("buffer_full"), because("refused"), because("shutdown")
	return o.register(func(_ context.Context, to metric.Observer) error {
		s := read()
		to.ObserveInt64(published, s.Published)
		to.ObserveInt64(retried, s.Retried)
		to.ObserveInt64(dropped, s.Full, full)
		to.ObserveInt64(dropped, s.Refused, refused)
		to.ObserveInt64(dropped, s.Lost, lost)
		to.ObserveInt64(buffered, s.Buffered)
		return nil
	})
}

// Spans are the accounts of an export of spans since its start, but for Queued.
type Spans struct{ Exported, Dropped, Queued int64 }

// ObserveSpans tells of spans at each collection, until the registration ends.
func ObserveSpans(meter metric.Meter, read func() Spans) (metric.Registration, error) {
	o := &observer{meter: meter}
	exported := o.total("dixie.spans.exported", "{span}", "Spans that the collector has taken.")
	dropped := o.total("dixie.spans.dropped", "{span}", "Spans that were not sent.")
	queued := o.gauge("dixie.spans.queued", "{span}", "Spans that wait to be sent.")
	return o.register(func(_ context.Context, to metric.Observer) error {
		s := read()
		to.ObserveInt64(exported, s.Exported)
		to.ObserveInt64(dropped, s.Dropped)
		to.ObserveInt64(queued, s.Queued)
		return nil
	})
}

// observer makes instruments that are asked, and collects what goes wrong.
type observer struct {
	meter    metric.Meter
	all      []metric.Observable
	problems []error
}

func (o *observer) note(i metric.Observable, err error) {
	o.all = append(o.all, i)
	if err != nil {
		o.problems = append(o.problems, err)
	}
}

func (o *observer) gauge(name, unit, description string) metric.Int64ObservableGauge {
	g, err := o.meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
	o.note(g, err)
	return g
}

func (o *observer) total(name, unit, description string) metric.Int64ObservableCounter {
	c, err := o.meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	o.note(c, err)
	return c
}

func (o *observer) seconds(name, description string) metric.Float64ObservableCounter {
	c, err := o.meter.Float64ObservableCounter(name, metric.WithUnit("s"), metric.WithDescription(description))
	o.note(c, err)
	return c
}

func (o *observer) register(f metric.Callback) (metric.Registration, error) {
	if err := errors.Join(o.problems...); err != nil {
		return nil, fmt.Errorf("make the instruments: %w", err)
	}
	registration, err := o.meter.RegisterCallback(f, o.all...)
	if err != nil {
		return nil, fmt.Errorf("register the instruments: %w", err)
	}
	return registration, nil
}
