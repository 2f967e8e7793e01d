-- The span that spawned a task, as a W3C traceparent: whichever process does an attempt goes on in its trace.

-- +goose Up
ALTER TABLE fleet_tasks ADD COLUMN traceparent text;

-- +goose Down
ALTER TABLE fleet_tasks DROP COLUMN traceparent;
