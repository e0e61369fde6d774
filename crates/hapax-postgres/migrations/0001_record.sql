-- What the store keeps.
--
-- Plain SQL for PostgreSQL 14 and later: `serve` and `hapax migrate` apply it under an advisory lock,
-- or an operator does, in one transaction (psql -1 -f). Records of Hapax are in the schema `hapax`; a
-- store in another schema has that name put in the place of this one.
--
-- Times are microseconds since 1970 by this server's clock, spans are microseconds.

DO $$
BEGIN
    -- Only where it is missing: a schema made beforehand spares this role the right to make one.
    IF to_regnamespace('hapax') IS NULL THEN
        CREATE SCHEMA hapax;
    END IF;
END
$$;

CREATE TABLE hapax.migration (
    version    integer     PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE hapax.migration IS 'Which of the migrations of Hapax have been applied.';

CREATE TABLE hapax.identity (
    is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one),
    format integer NOT NULL,
    digest bytea   NOT NULL CHECK (length(digest) = 32),
    secret bytea            CHECK (length(secret) = 32)
);

COMMENT ON TABLE hapax.identity IS
    'One row, written by the first node: whose records these are. A node with another digest is refused.';
COMMENT ON COLUMN hapax.identity.digest IS
    'Keyed hash of the scope rules under the secret: tells whether a node would find these records.';
COMMENT ON COLUMN hapax.identity.secret IS
    'What record ids are keyed with, if it was made here; NULL where it is configured.';

CREATE TYPE hapax.phase AS ENUM ('completed', 'in_doubt', 'in_progress', 'released');

-- Fixed widths first, so that no space is lost to alignment.
CREATE TABLE hapax.record (
    fence             bigint      NOT NULL,
    attempts          bigint      NOT NULL,
    created_at        bigint      NOT NULL,
    claimed_at        bigint      NOT NULL,
    moment            bigint      NOT NULL,
    expires_at        bigint,
    reclaim_after     bigint,
    attempts_max      bigint,
    unknown_retention bigint,
    phase             hapax.phase NOT NULL,
    status            integer,
    rerun_of          integer,
    cause             integer,
    waited            boolean     NOT NULL DEFAULT false,
    id                bytea       NOT NULL,
    attempt           bytea       NOT NULL,
    fingerprint       bytea       NOT NULL,
    route             bytea       NOT NULL,
    history           bytea       NOT NULL,
    progress          bytea,
    kept              bytea,
    PRIMARY KEY (id)
) PARTITION BY HASH (id);

COMMENT ON TABLE hapax.record IS 'One row for each key.';
COMMENT ON COLUMN hapax.record.fence IS 'Newer than that of every earlier owner.';
COMMENT ON COLUMN hapax.record.attempts IS 'Attempts so far, the present one included.';
COMMENT ON COLUMN hapax.record.created_at IS 'When the first claim was granted.';
COMMENT ON COLUMN hapax.record.claimed_at IS 'When the present attempt was granted its claim.';
COMMENT ON COLUMN hapax.record.moment IS
    'In progress: when the lease lapses. Otherwise: since when the phase stands.';
COMMENT ON COLUMN hapax.record.expires_at IS
    'When the row counts as absent; NULL while in progress or in doubt, or for ever.';
COMMENT ON COLUMN hapax.record.reclaim_after IS
    'Rule for a lapse: how long after its claim another attempt may claim it; NULL: never.';
COMMENT ON COLUMN hapax.record.attempts_max IS 'Rule for a lapse: attempts in all.';
COMMENT ON COLUMN hapax.record.unknown_retention IS
    'How long an unknown outcome is kept; NULL: until it is settled.';
COMMENT ON COLUMN hapax.record.status IS
    'The status of the answer that completed or freed it, if an answer did.';
COMMENT ON COLUMN hapax.record.rerun_of IS
    'In progress: the status of the answer that freed the key before.';
COMMENT ON COLUMN hapax.record.cause IS
    'In doubt, why: 0 cut, 1 drained, 2 lost, 3 panicked, 4 reported, 5 timed out.';
COMMENT ON COLUMN hapax.record.waited IS
    'Whether somebody was held since it was claimed, and may be waiting to hear of its end.';
COMMENT ON COLUMN hapax.record.id IS 'Keyed hash of scope and key; the first 8 bytes are the scope''s.';
COMMENT ON COLUMN hapax.record.fingerprint IS 'Version of the rules, then SHA-256 of the request.';
COMMENT ON COLUMN hapax.record.route IS 'The configured route, in UTF-8.';
COMMENT ON COLUMN hapax.record.history IS 'What happened, in the codec of Hapax.';
COMMENT ON COLUMN hapax.record.progress IS 'Finished steps of the operation.';
COMMENT ON COLUMN hapax.record.kept IS 'The answer that retries get, in the codec of Hapax.';

-- Sixteen partitions keep each index, and each run of vacuum, a sixteenth as large. Every row is
-- updated once or twice and then deleted: pages keep room for the new version, and vacuum comes after
-- a small share of dead rows rather than a fifth.
DO $$
BEGIN
    FOR n IN 0..15 LOOP
        EXECUTE format(
            'CREATE TABLE hapax.record_%s PARTITION OF hapax.record'
            ' FOR VALUES WITH (MODULUS 16, REMAINDER %s)'
            ' WITH (fillfactor = 80,'
            ' autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02,'
            ' autovacuum_analyze_threshold = 1000, autovacuum_analyze_scale_factor = 0.05,'
            ' autovacuum_vacuum_cost_delay = 1,'
            ' toast.autovacuum_vacuum_threshold = 1000,'
            ' toast.autovacuum_vacuum_scale_factor = 0.02,'
            ' toast.autovacuum_vacuum_cost_delay = 1)',
            lpad(n::text, 2, '0'), n);
    END LOOP;
END
$$;

-- No index holds a column that a renewal changes, so that renewals stay within their page.
CREATE INDEX record_expires_at ON hapax.record (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX record_open ON hapax.record (id) WHERE phase IN ('in_doubt', 'in_progress');

INSERT INTO hapax.migration (version) VALUES (1);
