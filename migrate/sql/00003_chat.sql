-- Whose conversations there are. Finn has their content and no owners.

-- +goose Up
CREATE TABLE chat_sessions (
    session_id    text        PRIMARY KEY,
    owner         text        NOT NULL,
    first_message text        NOT NULL,
    turns         bigint      NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL,
    last_activity timestamptz NOT NULL
) WITH (fillfactor = 80);

CREATE INDEX chat_sessions_owner ON chat_sessions (owner, last_activity DESC);

-- +goose Down
DROP TABLE chat_sessions;
