-- What the vendors of the spawn's trace have to say, as a W3C tracestate, to be handed on beside the traceparent.

-- +goose Up
ALTER TABLE fleet_tasks ADD COLUMN tracestate text;

-- +goose Down
ALTER TABLE fleet_tasks DROP COLUMN tracestate;
