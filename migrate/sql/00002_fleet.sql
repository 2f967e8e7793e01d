-- Tasks that agents do, what they said, and what they cost.

-- +goose Up
CREATE TABLE fleet_tasks (
    id                uuid        PRIMARY KEY,
    operator_id       text        NOT NULL,
    tier              text        NOT NULL,
    task_type         text        NOT NULL,
    description       text        NOT NULL,
    repository        text        NOT NULL,
    base_branch       text        NOT NULL,
    context_overrides jsonb,
    agent_type        text        NOT NULL,
    model             text        NOT NULL,
    branch            text        NOT NULL,
    -- Identifies the content of the request, to tell a repetition from a conflict.
    context_hash      text        NOT NULL,
    -- The state machine is code; what it permits is not repeated here.
    status            text        NOT NULL,
    -- Grows with each change of the task, but not with the lease.
    version           integer     NOT NULL,
    -- Fences the writes of workers: only the one that has this attempt may write.
    attempt           integer     NOT NULL,
    retry_count       integer     NOT NULL,
    max_retries       integer     NOT NULL,
    timeout           interval    NOT NULL,
    prompt_tokens     integer     NOT NULL,
    reference         text        NOT NULL,
    pr_number         integer     NOT NULL,
    failure           jsonb,
    -- The operator's limit at admission.
    admission_limit   integer     NOT NULL,
    cost_micro_usd    bigint      NOT NULL,
    cost              jsonb       NOT NULL,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    spawned_at        timestamptz,
    completed_at      timestamptz,
    history           jsonb       NOT NULL,
    -- When the waiting attempt is due, and the job of River that hands it out.
    run_at            timestamptz,
    job_id            bigint,
    -- Until when the attempt belongs to the worker that holds the lease, and the name of that lease. No
    -- index has these two, so that the renewals, which are by far the most writes, stay off the indexes.
    lease_until       timestamptz,
    leased_by         text
);

-- The newest tasks of an operator, and of all; the recent ones that the policy counts.
CREATE INDEX fleet_tasks_operator_created ON fleet_tasks (operator_id, created_at DESC, id DESC);
CREATE INDEX fleet_tasks_created ON fleet_tasks (created_at DESC, id DESC);
-- Counts by state.
CREATE INDEX fleet_tasks_operator_status ON fleet_tasks (operator_id, status);
-- The few tasks that have not ended, among the many that have: for the limit and for the sweep.
CREATE INDEX fleet_tasks_active ON fleet_tasks (operator_id)
    WHERE status IN ('proposed', 'spawning', 'running', 'pr_created', 'reviewing', 'ready', 'retrying');
-- What has ended, oldest first, to be dropped.
CREATE INDEX fleet_tasks_completed ON fleet_tasks (completed_at)
    WHERE status IN ('merged', 'abandoned', 'completed', 'cancelled');

-- A key lives as long as its task.
CREATE TABLE fleet_idempotency (
    operator_id     text NOT NULL,
    idempotency_key text NOT NULL,
    task_id         uuid NOT NULL REFERENCES fleet_tasks ON DELETE CASCADE,
    PRIMARY KEY (operator_id, idempotency_key)
);

CREATE INDEX fleet_idempotency_task ON fleet_idempotency (task_id);

-- A row is a batch of lines as it was appended. The positions count all lines and bytes that the task ever
-- had, so that what is too old is found without reading what is kept.
CREATE TABLE fleet_task_log (
    task_id   uuid   NOT NULL REFERENCES fleet_tasks ON DELETE CASCADE,
    end_line  bigint NOT NULL,
    end_bytes bigint NOT NULL,
    lines     text[] NOT NULL,
    PRIMARY KEY (task_id, end_line)
);

-- Append-only; what an operator has spent on a day is the sum of its rows. It outlives the tasks.
CREATE TABLE budget_ledger (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    operator_id      text        NOT NULL,
    -- In UTC. A release is booked on the day of its charge.
    day              date        NOT NULL,
    task_id          uuid        NOT NULL,
    kind             text        NOT NULL CHECK (kind IN ('charge', 'release')),
    -- A release is negative.
    amount_micro_usd bigint      NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    -- A task is charged once, and its charge is given back once.
    UNIQUE (task_id, kind)
);

CREATE INDEX budget_ledger_operator_day ON budget_ledger (operator_id, day) INCLUDE (amount_micro_usd);

-- +goose Down
DROP TABLE budget_ledger;
DROP TABLE fleet_task_log;
DROP TABLE fleet_idempotency;
DROP TABLE fleet_tasks;
