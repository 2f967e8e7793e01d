// Package postgres keeps reputation in PostgreSQL: the log of events, the aggregates that follow from it
// and the moments of the population, in the tables that package migrate makes.
//
// A batch is one transaction of two round trips: lock and load, then write and commit. The lock is the row
// of the population, which every scored event changes, so batches of all replicas follow one another and
// the positions of the log are the order in which they were applied. What a batch acknowledged is durable.
package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"dixie/database"
	"dixie/reputation"
)

// Store is a [reputation.Store] on PostgreSQL. It is safe for concurrent use, by any number of processes.
type Store struct {
	pool *pgxpool.Pool
}

var _ reputation.Store = (*Store)(nil)

// New returns a store on the pool, which the caller keeps and closes after everything that uses the store. Without a
// pool there is no store: it is nil then, which dixie.New refuses.
func New(pool *pgxpool.Pool) *Store {
	if pool == nil {
		return nil
	}
	return &Store{pool: pool}
}

const (
	beginBatch = `BEGIN`
	// A process that is held still, or cut off, between the two round trips must not keep the lock.
	boundIdle = `SET LOCAL idle_in_transaction_session_timeout = '10s'`
	// A plan that was made while the log was short must not read all of it once it is long.
	planAnew       = `SET LOCAL plan_cache_mode = force_custom_plan`
	planAsBefore   = `SET LOCAL plan_cache_mode = auto`
	lockPopulation = `SELECT members, mean, m2 FROM reputation_population FOR UPDATE`
	loadAggregates = `SELECT data FROM reputation_aggregates WHERE agent_id = ANY ($1)`
	loadKnown      = `SELECT event_id::text, fingerprint FROM reputation_events WHERE event_id = ANY ($1::uuid[])`
	appendEvents   = `INSERT INTO reputation_events (event_id, agent_id, event_type, data, fingerprint, prior, recorded_at)
		SELECT e.event_id, e.agent_id, e.event_type, e.data::json, e.fingerprint, e.prior, e.recorded_at
		FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::float8[], $7::timestamptz[])
			WITH ORDINALITY AS e (event_id, agent_id, event_type, data, fingerprint, prior, recorded_at, n)
		ORDER BY e.n`
	writeAggregates = `INSERT INTO reputation_aggregates
			(agent_id, state, sample_count, blended_score, data, version, created_at, updated_at)
		SELECT a.agent_id, a.state, a.sample_count, a.score, a.data::json, a.version, a.created_at, now()
		FROM unnest($1::text[], $2::text[], $3::int[], $4::float8[], $5::text[], $6::bigint[], $7::timestamptz[])
			AS a (agent_id, state, sample_count, score, data, version, created_at)
		ON CONFLICT (agent_id) DO UPDATE SET state = excluded.state, sample_count = excluded.sample_count,
			blended_score = excluded.blended_score, data = excluded.data, version = excluded.version, updated_at = excluded.updated_at`
	writePopulation = `UPDATE reputation_population SET members = $1, mean = $2, m2 = $3, agents = agents + $4`
	commitBatch     = `COMMIT`

	readAggregate  = `SELECT data FROM reputation_aggregates WHERE agent_id = $1`
	readPopulation = `SELECT members, mean, m2 FROM reputation_population`
	countAgents    = `SELECT agents FROM reputation_population`
	readEvents     = `SELECT position, data, fingerprint, prior, recorded_at FROM reputation_events
		WHERE position > $1 ORDER BY position LIMIT $2`
)

// Apply implements [reputation.Store]. A connection that turns out to be dead before anything was sent is
// replaced once.
func (s *Store) Apply(ctx context.Context, batch []reputation.Entry, fold reputation.Fold) ([]reputation.Outcome, error) {
	if len(batch) == 0 {
		return []reputation.Outcome{}, nil
	}

	outcomes, err := s.apply(ctx, batch, fold)
	if err != nil && pgconn.SafeToRetry(err) && ctx.Err() == nil {
		outcomes, err = s.apply(ctx, batch, fold)
	}

	if err != nil {
		return nil, interpret("apply a batch", err)
	}

	return outcomes, nil
}

func (s *Store) apply(ctx context.Context, batch []reputation.Entry, fold reputation.Fold) (_ []reputation.Outcome, err error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("acquire a connection: %w", err)
	}

	defer func() {
		// A transaction that is still open goes with its connection: the server rolls it back.
		if err != nil && conn.Conn().PgConn().TxStatus() != 'I' {
			_ = conn.Hijack().Close(context.WithoutCancel(ctx))

			return
		}

		conn.Release()
	}()

	loaded, err := load(ctx, conn, batch)
	if err != nil {
		return nil, err
	}

	changes := fold(loaded, batch)
	if err := write(ctx, conn, loaded, changes); err != nil {
		return nil, err
	}

	return changes.Outcomes, nil
}

// load begins the transaction, waits for the lock and reads what the fold needs.
func load(ctx context.Context, conn *pgxpool.Conn, batch []reputation.Entry) (reputation.Loaded, error) {
	agents, events := make([]string, len(batch)), make([]string, len(batch))
	for i, entry := range batch {
		agents[i], events[i] = entry.Event.AgentID, entry.Event.ID
	}

	loaded := reputation.Loaded{Aggregates: map[string]reputation.Aggregate{}, Fingerprints: map[string]string{}}

	queries := &pgx.Batch{}
	queries.Queue(beginBatch)
	queries.Queue(boundIdle)
	queries.Queue(planAnew)
	queries.Queue(lockPopulation).QueryRow(func(row pgx.Row) error {
		return row.Scan(&loaded.Population.Count, &loaded.Population.Mean, &loaded.Population.M2)
	})
	queries.Queue(loadAggregates, agents).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (reputation.Aggregate, error) {
			return decodeAggregate(row.RawValues()[0])
		})
		for _, a := range found {
			loaded.Aggregates[a.AgentID] = a
		}

		return err //nolint:wrapcheck // The callers say what they were doing.
	})
	queries.Queue(loadKnown, events).Query(func(rows pgx.Rows) error {
		var id, fingerprint string
		_, err := pgx.ForEachRow(rows, []any{&id, &fingerprint}, func() error {
			loaded.Fingerprints[id] = fingerprint
			return nil
		})

		return err //nolint:wrapcheck // The callers say what they were doing.
	})

	queries.Queue(planAsBefore)

	if err := conn.SendBatch(ctx, queries).Close(); err != nil {
		return reputation.Loaded{}, fmt.Errorf("lock and load: %w", err)
	}

	return loaded, nil
}

// write stores the changes and commits them.
func write(ctx context.Context, conn *pgxpool.Conn, loaded reputation.Loaded, changes reputation.Changes) error {
	queries := &pgx.Batch{}

	if len(changes.Entries) > 0 {
		if err := queueEvents(queries, changes.Entries); err != nil {
			return err
		}

		if err := queueAggregates(queries, changes.Aggregates); err != nil {
			return err
		}

		added := 0
		for agent := range changes.Aggregates {
			if _, known := loaded.Aggregates[agent]; !known {
				added++
			}
		}

		p := changes.Population
		queries.Queue(writePopulation, p.Count, p.Mean, p.M2, added)
	}

	queries.Queue(commitBatch)

	if err := conn.SendBatch(ctx, queries).Close(); err != nil {
		return fmt.Errorf("write and commit: %w", err)
	}

	return nil
}

func queueEvents(queries *pgx.Batch, entries []reputation.Entry) error {
	n := len(entries)
	ids, agents, types, data, fingerprints := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	priors, times := make([]float64, n), make([]time.Time, n)

	for i, e := range entries {
		text, err := json.Marshal(e.Event)
		if err != nil {
			return fmt.Errorf("encode an event: %w", err)
		}

		ids[i], agents[i], types[i], data[i], fingerprints[i] = e.Event.ID, e.Event.AgentID, string(e.Event.Type), string(text), e.Fingerprint
		priors[i], times[i] = e.Prior, e.RecordedAt
	}

	queries.Queue(appendEvents, ids, agents, types, data, fingerprints, priors, times)

	return nil
}

func queueAggregates(queries *pgx.Batch, aggregates map[string]reputation.Aggregate) error {
	n := len(aggregates)
	agents, states, data := make([]string, 0, n), make([]string, 0, n), make([]string, 0, n)
	samples, scores, versions := make([]int, 0, n), make([]*float64, 0, n), make([]int64, 0, n)
	created := make([]time.Time, 0, n)

	for agent, a := range aggregates {
		text, err := json.Marshal(a)
		if err != nil {
			return fmt.Errorf("encode an aggregate: %w", err)
		}

		agents, states, data = append(agents, agent), append(states, string(a.State)), append(data, string(text))
		samples, scores, versions = append(samples, a.SampleCount), append(scores, a.BlendedScore), append(versions, int64(a.Version))
		created = append(created, a.CreatedAt)
	}

	queries.Queue(writeAggregates, agents, states, samples, scores, data, versions, created)

	return nil
}

// Get implements [reputation.Store].
func (s *Store) Get(ctx context.Context, agentID string) (reputation.Aggregate, error) {
	a, err := scanAggregate(s.pool.QueryRow(ctx, readAggregate, agentID))
	if errors.Is(err, pgx.ErrNoRows) {
		return reputation.Aggregate{}, reputation.ErrNotFound
	}

	if err != nil {
		return reputation.Aggregate{}, interpret("get an aggregate", err)
	}

	return a, nil
}

// Population implements [reputation.Store].
func (s *Store) Population(ctx context.Context) (reputation.Moments, error) {
	var m reputation.Moments
	if err := s.pool.QueryRow(ctx, readPopulation).Scan(&m.Count, &m.Mean, &m.M2); err != nil {
		return reputation.Moments{}, interpret("get the population", err)
	}

	return m, nil
}

// Count implements [reputation.Store]. The number is kept, not counted.
func (s *Store) Count(ctx context.Context) (int, error) {
	var n int
	if err := s.pool.QueryRow(ctx, countAgents).Scan(&n); err != nil {
		return 0, interpret("count the aggregates", err)
	}

	return n, nil
}

// Events implements [reputation.Store]. Positions have gaps where a transaction was rolled back.
func (s *Store) Events(ctx context.Context, after int64, limit int) ([]reputation.Entry, error) {
	if limit < 1 || limit > reputation.MaxPage {
		limit = reputation.MaxPage
	}

	rows, err := s.pool.Query(ctx, readEvents, max(0, after), limit)
	if err != nil {
		return nil, interpret("read the log", err)
	}

	page, err := pgx.CollectRows(rows, scanEntry)
	if err != nil {
		return nil, interpret("read the log", err)
	}

	return page, nil
}

func scanEntry(row pgx.CollectableRow) (reputation.Entry, error) {
	var (
		e    reputation.Entry
		data []byte
	)
	if err := row.Scan(&e.Position, &data, &e.Fingerprint, &e.Prior, &e.RecordedAt); err != nil {
		return reputation.Entry{}, err //nolint:wrapcheck // The callers say what they were doing.
	}

	e.RecordedAt = e.RecordedAt.UTC()

	if err := json.Unmarshal(data, &e.Event); err != nil {
		return reputation.Entry{}, fmt.Errorf("event %d is not readable: %w", e.Position, err)
	}

	return e, nil
}

func scanAggregate(row pgx.Row) (reputation.Aggregate, error) {
	var data []byte
	if err := row.Scan(&data); err != nil {
		return reputation.Aggregate{}, err //nolint:wrapcheck // The callers say what they were doing.
	}

	return decodeAggregate(data)
}

func decodeAggregate(data []byte) (reputation.Aggregate, error) {
	var a reputation.Aggregate
	if err := json.Unmarshal(data, &a); err != nil {
		return reputation.Aggregate{}, fmt.Errorf("aggregate is not readable: %w", err)
	}

	return a, nil
}

// interpret sorts errors: the caller's own context, or a store that cannot answer.
func interpret(doing string, err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", doing, err)
	}

	return fmt.Errorf("%s: %w: %w", doing, reputation.ErrStoreUnavailable, database.Explain(err))
}
