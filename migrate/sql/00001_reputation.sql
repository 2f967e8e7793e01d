-- What was observed of agents, and what follows from it.

-- +goose Up
CREATE TABLE reputation_events (
    -- The order in which events were applied: it is given under the lock of reputation_population.
    position    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id    uuid             NOT NULL UNIQUE,
    agent_id    text             NOT NULL,
    event_type  text             NOT NULL,
    -- The event as it was accepted, with its recorder.
    data        jsonb            NOT NULL,
    -- Identifies the content that the sender gave, to tell a repetition from a conflict.
    fingerprint text             NOT NULL,
    -- What the score was blended with: with it, an aggregate is a function of its events.
    prior       double precision NOT NULL,
    recorded_at timestamptz      NOT NULL
);

CREATE TABLE reputation_aggregates (
    agent_id      text        PRIMARY KEY,
    state         text        NOT NULL,
    sample_count  integer     NOT NULL,
    -- For looking at, and for sorting by; data has the exact number.
    blended_score numeric(6, 4),
    data          jsonb       NOT NULL,
    version       bigint      NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL
-- Rows are rewritten with every event of their agent; room on the page keeps that from touching the index.
) WITH (fillfactor = 60);

-- One row: the moments of all agents, and the lock that puts batches in line.
CREATE TABLE reputation_population (
    only_row boolean          PRIMARY KEY DEFAULT true CHECK (only_row),
    -- Agents with a score, and their moving averages after Welford.
    members  bigint           NOT NULL DEFAULT 0,
    mean     double precision NOT NULL DEFAULT 0,
    m2       double precision NOT NULL DEFAULT 0,
    -- Agents with any event.
    agents   bigint           NOT NULL DEFAULT 0
);

INSERT INTO reputation_population DEFAULT VALUES;

-- +goose Down
DROP TABLE reputation_population;
DROP TABLE reputation_aggregates;
DROP TABLE reputation_events;
