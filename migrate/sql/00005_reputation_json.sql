-- What is stored as a whole, read as a whole and never searched need not be taken apart: as text it is
-- written and read faster. The tables are rewritten; at some millions of events that takes a minute.

-- +goose Up
ALTER TABLE reputation_events ALTER COLUMN data TYPE json USING data::text::json;
ALTER TABLE reputation_aggregates ALTER COLUMN data TYPE json USING data::text::json;

-- +goose Down
ALTER TABLE reputation_events ALTER COLUMN data TYPE jsonb USING data::jsonb;
ALTER TABLE reputation_aggregates ALTER COLUMN data TYPE jsonb USING data::jsonb;
