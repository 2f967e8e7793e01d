-- Who may come in. API keys are in clear text, as in the file and in the admin's listing.

-- +goose Up
CREATE TABLE allowlist_entries (
    -- What is compared: the spelling of a wallet does not count.
    entry    text COLLATE "C" PRIMARY KEY GENERATED ALWAYS AS (CASE kind WHEN 'wallet' THEN lower(value) ELSE value END) STORED,
    kind     text             NOT NULL,
    value    text COLLATE "C" NOT NULL,
    -- Who put it there: only what the file did goes when the file no longer has it.
    source   text             NOT NULL DEFAULT 'admin' CHECK (source IN ('admin', 'file')),
    -- The order in which the list is shown.
    position bigint           NOT NULL GENERATED ALWAYS AS IDENTITY,
    added_at timestamptz      NOT NULL DEFAULT now(),
    CHECK (kind = 'wallet' AND value ~ '^0x[0-9a-fA-F]{40}$' OR kind = 'api_key' AND value ~ '^dxk_[A-Za-z0-9_-]{8,124}$')
);

-- One row.
CREATE TABLE allowlist_meta (
    one             boolean     PRIMARY KEY DEFAULT true CHECK (one),
    -- Grows with each change of the entries.
    version         bigint      NOT NULL DEFAULT 0,
    updated_at      timestamptz NOT NULL DEFAULT now(),
    policy          jsonb,
    -- The file that was applied last: its hash, the time that it carries and its entries.
    seed_sha256     bytea,
    seed_updated_at timestamptz,
    seed            text[]      NOT NULL DEFAULT '{}'
);

INSERT INTO allowlist_meta DEFAULT VALUES;

-- Changes follow one another: whoever makes one, by hand too, locks the row of allowlist_meta first. The
-- tables are those of the schema that is changed, whatever the session's search_path.
-- +goose StatementBegin
CREATE FUNCTION allowlist_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO %I.allowlist_meta AS m (version) VALUES (1)
        ON CONFLICT (one) DO UPDATE SET version = m.version + 1, updated_at = clock_timestamp()', TG_TABLE_SCHEMA);
    PERFORM pg_notify('dixie_allowlist', '');
    RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE TRIGGER allowlist_changes BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON allowlist_entries
    FOR EACH STATEMENT EXECUTE FUNCTION allowlist_changes();

-- +goose StatementBegin
CREATE FUNCTION allowlist_is_bounded() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    most bigint;
BEGIN
    EXECUTE format('SELECT max(n) FROM (SELECT count(*) AS n FROM %I.allowlist_entries GROUP BY kind) AS kinds', TG_TABLE_SCHEMA)
        INTO most;
    IF most > 20000 THEN
        RAISE EXCEPTION 'the allowlist has at most 20000 entries of a kind' USING ERRCODE = 'program_limit_exceeded';
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE TRIGGER allowlist_is_bounded AFTER INSERT OR UPDATE ON allowlist_entries
    FOR EACH STATEMENT EXECUTE FUNCTION allowlist_is_bounded();

-- +goose Down
DROP TABLE allowlist_entries;
DROP TABLE allowlist_meta;
DROP FUNCTION allowlist_is_bounded();
DROP FUNCTION allowlist_changes();
