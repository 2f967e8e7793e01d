package instruments

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/metric"
)

// What became of a batch.
const (
	batchKept   = "recorded"
	batchFailed = "failed"
)

// Batch is what a step of the store made of some events together.
type Batch struct {
	Recorded, Duplicates, Refused, Failed int
	Took                                  time.Duration
}

func (b *builder) reputation(i *Instruments) {
	i.reputationEvents = b.tally("dixie.reputation.events", "{event}", "Events of reputation, by what became of them.",
		keys{outcomeKey}, single("recorded", "duplicate", "refused", "failed")...)
	var err error
	i.batchSize, err = b.meter.Int64Histogram("dixie.reputation.batch.size", metric.WithUnit("{event}"),
		metric.WithDescription("Events that one step of the store took together."),
		metric.WithExplicitBucketBoundaries(1, 2, 4, 8, 16, 32, 64, 128, 256))
	b.check(err)
	i.batchDuration = b.timing("dixie.reputation.batch.duration", "Time of one step of the store.",
		keys{outcomeKey}, single(batchKept, batchFailed)...)
}

// BatchEnded records a step of the store.
func (i *Instruments) BatchEnded(ctx context.Context, b Batch) {
	if i == nil {
		return
	}
	for _, part := range []struct {
		outcome string
		n       int
	}{{"recorded", b.Recorded}, {"duplicate", b.Duplicates}, {"refused", b.Refused}, {"failed", b.Failed}} {
		if part.n > 0 {
			i.reputationEvents.add(ctx, int64(part.n), pair{part.outcome})
		}
	}
	i.batchSize.Record(ctx, int64(b.Recorded+b.Duplicates+b.Refused+b.Failed))
	outcome := batchKept
	if b.Failed > 0 {
		outcome = batchFailed
	}
	i.batchDuration.record(ctx, b.Took.Seconds(), pair{outcome})
}
