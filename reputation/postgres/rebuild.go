package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"dixie/database"
	"dixie/reputation"
)

const (
	removeAggregates = `DELETE FROM reputation_aggregates`
	resetPopulation  = `UPDATE reputation_population SET members = $1, mean = $2, m2 = $3, agents = $4`
)

// Rebuild computes every aggregate and the population anew from the log and replaces what is stored, in one
// transaction. It returns the number of agents. Recording waits meanwhile, as all of it happens under the
// lock, and every aggregate is in memory at once. Use [reputation.Verify] to see whether it is needed.
func (s *Store) Rebuild(ctx context.Context) (int, error) {
	agents := 0
	err := database.Transact(ctx, s.pool, func(tx pgx.Tx) error {
		var ignored reputation.Moments
		if err := tx.QueryRow(ctx, lockPopulation).Scan(&ignored.Count, &ignored.Mean, &ignored.M2); err != nil {
			return fmt.Errorf("lock: %w", err)
		}

		projection, err := project(ctx, tx)
		if err != nil {
			return err
		}

		agents = len(projection.Aggregates)

		return replace(ctx, tx, projection)
	})
	if err != nil {
		return 0, interpret("rebuild", err)
	}

	return agents, nil
}

// project reads the log page by page.
func project(ctx context.Context, tx pgx.Tx) (reputation.Projection, error) {
	projection := reputation.Projection{}

	for position := int64(0); ; {
		rows, err := tx.Query(ctx, readEvents, position, reputation.MaxPage)
		if err != nil {
			return reputation.Projection{}, fmt.Errorf("read the log: %w", err)
		}

		page, err := pgx.CollectRows(rows, scanEntry)
		if err != nil {
			return reputation.Projection{}, fmt.Errorf("read the log: %w", err)
		}

		if len(page) == 0 {
			return projection, nil
		}

		projection = projection.With(slices.Values(page))
		position = page[len(page)-1].Position
	}
}

func replace(ctx context.Context, tx pgx.Tx, projection reputation.Projection) error {
	queries := &pgx.Batch{}
	queries.Queue(removeAggregates)

	for chunk := range slices.Chunk(slices.Sorted(maps.Keys(projection.Aggregates)), reputation.MaxPage) {
		aggregates := make(map[string]reputation.Aggregate, len(chunk))
		for _, agent := range chunk {
			aggregates[agent] = projection.Aggregates[agent]
		}

		if err := queueAggregates(queries, aggregates); err != nil {
			return err
		}
	}

	p := projection.Population
	queries.Queue(resetPopulation, p.Count, p.Mean, p.M2, len(projection.Aggregates))

	if err := tx.SendBatch(ctx, queries).Close(); err != nil {
		return fmt.Errorf("replace the aggregates: %w", err)
	}

	return nil
}
