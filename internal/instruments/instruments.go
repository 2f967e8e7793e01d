// Package instruments holds the metrics of dixie, all in one place: their names, their units, and the words that
// their attributes may have. It knows the API of OpenTelemetry only.
//
// No attribute has a value that a client can choose: each is one of a list that is fixed here or comes from the
// configuration, and what is none of them is "other" or "unmatched".
package instruments

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Scope is the name of the meter.
const Scope = "dixie"

// other stands for every word that is not known.
const other = "other"

// none stands for the reason where there is none.
const none = "none"

// DurationBounds are the upper bounds, in seconds, of the buckets of every duration: 1 ms to 120 s.
func DurationBounds() []float64 {
	return []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60, 120}
}

// Instruments are what a Handler measures by. A nil *Instruments measures nothing and costs nothing. It is safe for
// concurrent use.
type Instruments struct {
	meter metric.Meter

	requestDuration metric.Float64Histogram
	activeRequests  metric.Int64UpDownCounter
	requests        map[string]*routeSeries

	transitions  tally
	callDuration timing

	admissions tally
	outcomes   tally

	reputationEvents tally
	batchSize        metric.Int64Histogram
	batchDuration    timing

	refusals  tally
	fallbacks metric.Int64Counter
	signIns   tally

	streams, sockets metric.Int64UpDownCounter
}

// New makes the instruments. A nil provider, also a nil pointer of a provider's type, gives nil, which measures nothing;
// so does a provider whose Meter method panics or returns nil.
func New(provider metric.MeterProvider) (*Instruments, error) {
	meter := meterOf(provider)
	if meter == nil {
		return nil, nil //nolint:nilnil // Nothing to measure by; nil is what does not measure.
	}
	b := &builder{meter: meter}
	i := &Instruments{meter: b.meter}
	b.requests(i)
	b.finn(i)
	b.fleet(i)
	b.reputation(i)
	b.callers(i)
	if err := errors.Join(b.problems...); err != nil {
		return nil, err
	}
	return i, nil
}

// meterOf returns the provider's meter, or nil if it has none to give: a nil pointer in an interface panics.
func meterOf(provider metric.MeterProvider) (meter metric.Meter) {
	defer func() {
		if recover() != nil {
			meter = nil
		}
	}()
	if provider == nil {
		return nil
	}
	return provider.Meter(Scope)
}

// builder collects what goes wrong.
type builder struct {
	meter    metric.Meter
	problems []error
}

func (b *builder) check(err error) {
	if err != nil {
		b.problems = append(b.problems, err)
	}
}

func (b *builder) counter(name, unit, description string) metric.Int64Counter {
	c, err := b.meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
	b.check(err)
	return c
}

func (b *builder) upDown(name, unit, description string) metric.Int64UpDownCounter {
	c, err := b.meter.Int64UpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	b.check(err)
	if err == nil {
		c.Add(context.Background(), 0)
	}
	return c
}

func (b *builder) duration(name, description string) metric.Float64Histogram {
	h, err := b.meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description),
		metric.WithExplicitBucketBoundaries(DurationBounds()...))
	b.check(err)
	return h
}

// outcomeKey is the attribute that says how something ended.
const outcomeKey = "outcome"

// pair is one combination of words; the second is empty where there is only one attribute.
type pair [2]string

// keys name the attributes of a tally; the second may be empty.
type keys [2]string

func (k keys) set(words pair) attribute.Set {
	if k[1] == "" {
		return attribute.NewSet(attribute.String(k[0], words[0]))
	}
	return attribute.NewSet(attribute.String(k[0], words[0]), attribute.String(k[1], words[1]))
}

// tally is a counter whose attributes have a closed vocabulary. Each of its series is there from the start with 0,
// so that a rate over it knows the first event.
type tally struct {
	counter metric.Int64Counter
	options map[pair][]metric.AddOption
}

func (b *builder) tally(name, unit, description string, k keys, words ...pair) tally {
	t := tally{counter: b.counter(name, unit, description), options: make(map[pair][]metric.AddOption, len(words))}
	for _, w := range words {
		options := []metric.AddOption{metric.WithAttributeSet(k.set(w))}
		t.options[w] = options
		t.counter.Add(context.Background(), 0, options...)
	}
	return t
}

// add counts; what is not known counts as the first of the candidates that is.
func (t tally) add(ctx context.Context, n int64, candidates ...pair) {
	for _, w := range candidates {
		if options, ok := t.options[w]; ok {
			t.counter.Add(ctx, n, options...)
			return
		}
	}
}

// timing is a duration whose attributes have a closed vocabulary.
type timing struct {
	histogram metric.Float64Histogram
	options   map[pair][]metric.RecordOption
}

func (b *builder) timing(name, description string, k keys, words ...pair) timing {
	t := timing{histogram: b.duration(name, description), options: make(map[pair][]metric.RecordOption, len(words))}
	for _, w := range words {
		t.options[w] = []metric.RecordOption{metric.WithAttributeSet(k.set(w))}
	}
	return t
}

func (t timing) record(ctx context.Context, seconds float64, words pair) {
	if options, ok := t.options[words]; ok {
		t.histogram.Record(ctx, seconds, options...)
	}
}

// single makes pairs of words that stand alone.
func single(words ...string) []pair {
	pairs := make([]pair, 0, len(words))
	for _, w := range words {
		pairs = append(pairs, pair{w})
	}
	return pairs
}
