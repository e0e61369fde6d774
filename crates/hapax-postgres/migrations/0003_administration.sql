-- What is done with records beside the steps: looking at them, listing and counting, removing, telling
-- other nodes, and saying whose they are. The same as for the steps holds here (`0002_steps.sql`).
--
-- Sweeping is planned anew each time, since the best plan depends on how much has expired, and is not
-- compiled, which takes longer than it.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM hapax.migration WHERE version = 2) THEN
        RAISE EXCEPTION 'version 2 of this schema is missing'
            USING ERRCODE = 'HX003',
            HINT = 'Apply 0002_steps.sql first, or leave all of them to `hapax migrate`.';
    ELSIF to_regprocedure('hapax.peek(bigint,bytea)') IS NOT NULL
        AND NOT EXISTS (SELECT FROM hapax.migration WHERE version = 3)
    THEN
        RAISE EXCEPTION 'this schema was made by a build that was never released'
            USING ERRCODE = 'HX003', HINT = 'Drop the schema, and let it be made anew.';
    END IF;
END
$$;

-- The row as it stands, if there is one, expired or not; or in progress, while an application is on its
-- seat.
CREATE FUNCTION hapax.peek(clock_offset bigint, record_id bytea)
RETURNS TABLE (seen_at bigint, shown bytea)
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    stands hapax.record;
BEGIN
    seen_at := hapax.clock(clock_offset);
    SELECT r.* INTO stands FROM hapax.record AS r WHERE r.id = record_id;
    IF FOUND THEN
        IF stands.phase IN ('in_doubt', 'in_progress')
            AND hapax.meaning(
                stands.phase, stands.moment, stands.expires_at, stands.unknown_retention, seen_at
            ) <> 'running'
            AND hapax.is_seat_busy(record_id)
        THEN
            stands := hapax.alive(stands, seen_at);
        END IF;
        shown := record_send(stands);
        RETURN NEXT;
    END IF;
END
$$;

-- Removes a row that is not running, or any by force, but none on whose seat an application is:
-- 'absent', 'refused' or 'removed'.
CREATE FUNCTION hapax.purge(
    clock_offset bigint, record_id bytea, by_force boolean, OUT outcome text
)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    stands record;
BEGIN
    SELECT r.expires_at, r.moment, r.phase, r.unknown_retention INTO stands
    FROM hapax.record AS r WHERE r.id = record_id FOR UPDATE;
    IF NOT FOUND THEN
        outcome := 'absent';
    ELSIF NOT by_force AND hapax.meaning(
        stands.phase, stands.moment, stands.expires_at, stands.unknown_retention,
        hapax.clock(clock_offset)
    ) = 'running' OR hapax.take_seat(record_id) = 'busy' THEN
        outcome := 'refused';
    ELSE
        DELETE FROM hapax.seat AS s WHERE s.id = record_id;
        DELETE FROM hapax.record AS r WHERE r.id = record_id;
        outcome := 'removed';
    END IF;
END
$$;

-- Removes at most `rows_max` expired rows. Rows that somebody works on are passed over, so that any
-- number of nodes may sweep at once and none waits. A row that was claimed anew since the statement
-- began is looked at again before it is locked, and stays.
CREATE FUNCTION hapax.sweep(clock_offset bigint, rows_max bigint, OUT swept bigint)
LANGUAGE plpgsql VOLATILE
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    at bigint := hapax.clock(clock_offset);
    more bigint;
BEGIN
    -- A sweep that a crash undoes is done again: no need to wait for the disk. Whatever is claimed
    -- afterwards takes this to the disk along with it.
    PERFORM set_config('synchronous_commit', 'off', true);
    WITH gone AS MATERIALIZED (
        SELECT r.id FROM hapax.record AS r
        WHERE r.expires_at <= at
        ORDER BY r.expires_at
        LIMIT rows_max
        FOR UPDATE SKIP LOCKED
    )
    DELETE FROM hapax.record AS r USING gone WHERE r.id = gone.id;
    GET DIAGNOSTICS swept = ROW_COUNT;
    -- Those whose outcome stayed unknown for as long as their route keeps that; they are few. Where it can
    -- be known, it is found out instead.
    IF swept < rows_max THEN
        WITH gone AS MATERIALIZED (
            SELECT r.id FROM hapax.record AS r
            WHERE r.phase IN ('in_doubt', 'in_progress') AND r.moment + r.unknown_retention <= at
                AND NOT EXISTS (SELECT FROM hapax.seat AS s WHERE s.id = r.id)
            LIMIT rows_max - swept
            FOR UPDATE SKIP LOCKED
        )
        DELETE FROM hapax.record AS r USING gone WHERE r.id = gone.id;
        GET DIAGNOSTICS more = ROW_COUNT;
        swept := swept + more;
    END IF;
    swept := swept + hapax.resolve(at, rows_max - swept);
END
$$;

-- One page in the order of ids: of those after `after_id` and from `first_id` to `last_id`, rows whose
-- state is `wanted` ('' for all that have not expired). At most `looks_max` rows are looked at,
-- `rows_max` are shown, and no more once they hold `bytes_max`. There is always a row, if only to say
-- how far the looking came.
CREATE FUNCTION hapax.list(
    clock_offset bigint,
    after_id     bytea,
    first_id     bytea,
    last_id      bytea,
    wanted       text,
    looks_max    bigint,
    rows_max     bigint,
    bytes_max    bigint
)
RETURNS TABLE (
    seen_at bigint, looks bigint, looked_to bytea, matches bigint, shown bytea
)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    at bigint := hapax.clock(clock_offset);
BEGIN
    RETURN QUERY
    WITH looked AS MATERIALIZED (
        (
            SELECT r.id, r.phase, r.moment, r.expires_at, r.unknown_retention,
                octet_length(r.kept) AS bytes
            FROM hapax.record AS r
            WHERE r.id > after_id AND r.id >= first_id AND r.id <= last_id
                AND wanted NOT IN ('in_doubt', 'in_progress')
            ORDER BY r.id
            LIMIT looks_max
        )
        UNION ALL
        -- The few that are open have an index of their own.
        (
            SELECT r.id, r.phase, r.moment, r.expires_at, r.unknown_retention, 0
            FROM hapax.record AS r
            WHERE r.id > after_id AND r.id >= first_id AND r.id <= last_id
                AND wanted IN ('in_doubt', 'in_progress')
                AND r.phase IN ('in_doubt', 'in_progress')
            ORDER BY r.id
            LIMIT looks_max
        )
    ), matched AS MATERIALIZED (
        SELECT m.id, sum(coalesce(m.bytes, 0)) OVER (ORDER BY m.id) - coalesce(m.bytes, 0) AS before
        FROM (
            SELECT l.id, l.bytes,
                hapax.meaning(l.phase, l.moment, l.expires_at, l.unknown_retention, at) AS means
            FROM looked AS l
        ) AS m
        WHERE CASE m.means
            WHEN 'expired' THEN false
            WHEN 'lapsed' THEN wanted IN ('', 'in_doubt')
            WHEN 'running' THEN wanted IN ('', 'in_progress')
            ELSE wanted IN ('', m.means)
        END
        ORDER BY m.id
        LIMIT rows_max
    )
    SELECT
        at,
        (SELECT count(*) FROM looked),
        (SELECT l.id FROM looked AS l ORDER BY l.id DESC LIMIT 1),
        (SELECT count(*) FROM matched),
        record_send(r)
    FROM (VALUES (true)) AS always (is_there)
    LEFT JOIN (
        matched AS m JOIN hapax.record AS r ON r.id = m.id
    ) ON m.before < bytes_max
    ORDER BY m.id;
END
$$;

-- Sizes: doubts are counted, over an index that holds only what is open; all records and bytes are
-- what the server knows without looking.
CREATE FUNCTION hapax.stats(
    clock_offset       bigint,
    OUT seen_at        bigint,
    OUT in_doubt       bigint,
    OUT in_doubt_since bigint,
    OUT records        bigint,
    OUT bytes          bigint
)
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    seen_at := hapax.clock(clock_offset);
    SELECT count(*), min(r.moment) INTO in_doubt, in_doubt_since
    FROM hapax.record AS r
    WHERE r.phase IN ('in_doubt', 'in_progress')
        AND hapax.meaning(r.phase, r.moment, r.expires_at, r.unknown_retention, seen_at)
            IN ('in_doubt', 'lapsed');
    SELECT
        sum(greatest(c.reltuples, pg_stat_get_live_tuples(c.oid), 0))::bigint,
        sum(pg_total_relation_size(c.oid))::bigint
    INTO records, bytes
    FROM pg_inherits AS p JOIN pg_class AS c ON c.oid = p.inhrelid
    WHERE p.inhparent = 'hapax.record'::regclass;
END
$$;

-- Tells listening nodes which records were settled: `ids` is 32 bytes for each. Apart from settling,
-- and for many at once, because the server lets transactions that notify commit only one at a time.
CREATE FUNCTION hapax.wake(channel text, ids bytea, OUT woken bigint)
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    -- A hint may be lost, so the next commit in line need not wait for the disk either.
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM pg_notify(channel, encode(substring(ids FROM 1 + 32 * n FOR 32), 'hex'))
    FROM generate_series(0, length(ids) / 32 - 1) AS n;
    woken := length(ids) / 32;
END
$$;

-- Says whose records these are: the first node's word stands.
CREATE FUNCTION hapax.identify(
    node_format     integer,
    node_digest     bytea,
    node_secret     bytea,
    OUT known_format integer,
    OUT known_digest bytea,
    OUT known_secret bytea
)
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    INSERT INTO hapax.identity (format, digest, secret)
    VALUES (node_format, node_digest, node_secret)
    ON CONFLICT (is_one) DO NOTHING;
    SELECT i.format, i.digest, i.secret INTO known_format, known_digest, known_secret
    FROM hapax.identity AS i;
END
$$;

INSERT INTO hapax.migration (version) VALUES (3);
