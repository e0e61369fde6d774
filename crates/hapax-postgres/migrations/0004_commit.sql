-- Same transaction: an application commits its effect, and the fact that it happened, at once.
--
-- An open record whose claim is transactional has a seat, and the seat alone says who may commit: the
-- attempt whose name is on it, once. `hapax.commit` locks the seat, writes on it and touches nothing
-- else, so that whatever an application keeps open stands in the way of no renewal and no duplicate.
-- A take-over writes the next attempt's name on the seat, and a settlement removes it; both *change*
-- the row, so that an overtaken application is stopped in every isolation level: READ COMMITTED sees
-- the change, and a snapshot that is older fails with 40001 and sees it when it tries again. A lock or
-- a plain look would let the older snapshot pass.
--
-- Nobody can wait in a circle, and nobody waits for long. All calls of the gateway lock the record
-- first and then the seat, and the seat never by waiting: whoever is on it is passed over. As they all
-- hold the record, that is an application. An application in its turn locks the seat alone. Only
-- `await_seat` waits for an application, and has locked nothing when it does.
--
-- Applications may have any settings, so what they call has no backslash in a literal, and names
-- nothing that a search path could lead elsewhere.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM hapax.migration WHERE version = 3) THEN
        RAISE EXCEPTION 'version 3 of this schema is missing'
            USING ERRCODE = 'HX003',
            HINT = 'Apply 0003_administration.sql first, or leave all of them to `hapax migrate`.';
    ELSIF to_regclass('hapax.seat') IS NOT NULL
        AND NOT EXISTS (SELECT FROM hapax.migration WHERE version = 4)
    THEN
        RAISE EXCEPTION 'this schema was made by a build that was never released'
            USING ERRCODE = 'HX003', HINT = 'Drop the schema, and let it be made anew.';
    END IF;
END
$$;

CREATE TABLE hapax.seat (
    claimed_at   bigint  NOT NULL,
    retention    bigint,
    committed_at bigint,
    status       integer,
    id           bytea   NOT NULL,
    attempt      bytea   NOT NULL,
    kept         bytea,
    PRIMARY KEY (id)
) WITH (
    -- A row is inserted, often updated once, and soon deleted: half a page is kept for the update,
    -- which brings the answer along, and vacuum comes often, as the table should stay a few pages.
    fillfactor = 50,
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_threshold = 1000, autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 1
);

COMMENT ON TABLE hapax.seat IS 'One row for each open record whose effect commits through hapax.commit.';
COMMENT ON COLUMN hapax.seat.claimed_at IS 'When the present attempt was granted its claim.';
COMMENT ON COLUMN hapax.seat.retention IS
    'How long an answer is kept that the store itself finds committed; NULL: for ever.';
COMMENT ON COLUMN hapax.seat.committed_at IS
    'When hapax.commit was called, by this server''s clock; NULL: not committed.';
COMMENT ON COLUMN hapax.seat.status IS
    'Committed: the status that hapax.commit was told; 0 where it was told none.';
COMMENT ON COLUMN hapax.seat.attempt IS 'The attempt that may commit.';
COMMENT ON COLUMN hapax.seat.kept IS 'The answer that hapax.commit was told, in the codec of Hapax.';

-- Gives the seat of a record, whose row the caller has locked, to an attempt.
CREATE FUNCTION hapax.give_seat(
    record_id bytea, to_attempt bytea, at bigint, answer_retention bigint
) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    INSERT INTO hapax.seat AS s (id, attempt, claimed_at, retention)
    VALUES (record_id, to_attempt, at, answer_retention)
    ON CONFLICT (id) DO UPDATE SET
        attempt = excluded.attempt,
        claimed_at = excluded.claimed_at,
        committed_at = NULL,
        kept = NULL,
        retention = excluded.retention,
        status = NULL;
END
$$;

-- Takes the seat of a record, whose row the caller has locked, without waiting: 'busy' (an application
-- is on it), 'committed', 'open', or 'none' where the record has none.
CREATE FUNCTION hapax.take_seat(record_id bytea) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    committed bigint;
BEGIN
    -- Not as strong as what an application takes: those who only look do not make it look busy.
    SELECT s.committed_at INTO committed
    FROM hapax.seat AS s WHERE s.id = record_id FOR NO KEY UPDATE SKIP LOCKED;
    IF FOUND THEN
        RETURN CASE WHEN committed IS NULL THEN 'open' ELSE 'committed' END;
    END IF;
    RETURN CASE
        WHEN EXISTS (SELECT FROM hapax.seat AS s WHERE s.id = record_id) THEN 'busy'
        ELSE 'none'
    END;
END
$$;

-- Waits until no application is on the seat of a record, if there is a seat, but not for long, and keeps
-- nothing.
CREATE FUNCTION hapax.await_seat(record_id bytea, OUT is_free boolean)
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM set_config('lock_timeout', '1s', true);
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM FROM hapax.seat AS s WHERE s.id = record_id FOR KEY SHARE;
    is_free := true;
EXCEPTION WHEN lock_not_available THEN
    is_free := false;
END
$$;

-- Whether an application is on the seat of a record. To see is to lock, as weakly as there is, and need
-- not be on the disk. The record first: a call that holds it may be about to remove the seat, and is no
-- application.
CREATE FUNCTION hapax.is_seat_busy(record_id bytea) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM hapax.seat AS s WHERE s.id = record_id) THEN
        RETURN false;
    END IF;
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM FROM hapax.record AS r WHERE r.id = record_id FOR KEY SHARE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM FROM hapax.seat AS s WHERE s.id = record_id FOR KEY SHARE SKIP LOCKED;
    RETURN NOT FOUND AND EXISTS (SELECT FROM hapax.seat AS s WHERE s.id = record_id);
END
$$;

-- A row as those are shown it who ask while an application is on its seat: in progress a moment longer,
-- so that they ask again then. Nothing is written.
CREATE FUNCTION hapax.alive(stands hapax.record, at bigint) RETURNS hapax.record
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    stands.cause := NULL;
    stands.moment := at + 1000000;
    stands.phase := 'in_progress';
    RETURN stands;
END
$$;

-- Completes a record, whose row and seat the caller has locked, with what its application committed.
CREATE FUNCTION hapax.finish(record_id bytea, at bigint) RETURNS hapax.record
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    stands hapax.record;
BEGIN
    UPDATE hapax.record AS r SET
        cause = NULL,
        expires_at = at + s.retention,
        -- Completed, by its owner, with this status.
        history = hapax.remember(
            r.history, at, r.attempts, '\x0101' || substring(hapax.little(s.status) FOR 2)),
        kept = s.kept,
        moment = at,
        phase = 'completed',
        progress = NULL,
        rerun_of = NULL,
        status = nullif(s.status, 0)
    FROM hapax.seat AS s
    WHERE r.id = record_id AND s.id = record_id
    RETURNING r.* INTO stands;
    DELETE FROM hapax.seat AS s WHERE s.id = record_id;
    RETURN stands;
END
$$;

-- Finds out about transactional records that nobody retries, a minute after they lapsed or came in
-- doubt: what was committed is completed; anything else is released, and can never commit any more.
-- Rows and seats that somebody works on are passed over. Removes what counts as absent anyway, at most
-- `rows_max` rows, and says how many.
CREATE FUNCTION hapax.resolve(at bigint, rows_max bigint, OUT removed bigint)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    patience CONSTANT bigint := 60000000;
    fate     text;
    known    bigint := 0;
    seat     record;
    stands   record;
BEGIN
    removed := 0;
    -- Seats are few, and those of what is answered in time are left out without a look at the record.
    FOR seat IN
        SELECT s.id, s.retention FROM hapax.seat AS s WHERE s.claimed_at + patience <= at LIMIT 10000
    LOOP
        EXIT WHEN known = 100;
        SELECT r.expires_at, r.moment, r.phase, r.unknown_retention INTO stands
        FROM hapax.record AS r
        WHERE r.id = seat.id AND r.phase IN ('in_doubt', 'in_progress') AND r.moment + patience <= at
        FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        fate := hapax.take_seat(seat.id);
        CONTINUE WHEN fate NOT IN ('committed', 'open');
        known := known + 1;
        IF fate = 'committed' THEN
            PERFORM hapax.finish(seat.id, at);
            CONTINUE;
        END IF;
        IF hapax.meaning(
            stands.phase, stands.moment, stands.expires_at, stands.unknown_retention, at
        ) = 'expired' THEN
            CONTINUE WHEN removed = rows_max;
            DELETE FROM hapax.record AS r WHERE r.id = seat.id;
            removed := removed + 1;
        ELSE
            UPDATE hapax.record AS r SET
                cause = NULL,
                expires_at = at + seat.retention,
                -- Released, on behalf of its owner, by no answer.
                history = hapax.remember(r.history, at, r.attempts, '\x03010000'),
                moment = at,
                phase = 'released',
                progress = NULL,
                rerun_of = NULL
            WHERE r.id = seat.id;
        END IF;
        DELETE FROM hapax.seat AS s WHERE s.id = seat.id;
    END LOOP;
END
$$;

-- The header lines of an answer in their order: from a list of pairs, or from an object of names that
-- have a value or a list of values each. What is neither shows as NULL.
CREATE FUNCTION hapax.header_lines(headers jsonb)
RETURNS TABLE (place bigint, name text, value text)
LANGUAGE sql IMMUTABLE
AS $$
    SELECT p.place, lower(p.name COLLATE "C"),
        CASE WHEN jsonb_typeof(p.value) IN ('number', 'string') THEN p.value #>> '{}' END
    FROM (
        SELECT e.place, l.pair ->> 0, l.pair -> 1
        FROM jsonb_array_elements(
            CASE jsonb_typeof(headers) WHEN 'array' THEN headers ELSE '[]' END
        ) WITH ORDINALITY AS e (pair, place)
        LEFT JOIN LATERAL (
            SELECT CASE jsonb_typeof(e.pair) WHEN 'array' THEN e.pair ELSE '[]' END
        ) AS l (pair) ON jsonb_array_length(l.pair) = 2
        UNION ALL
        SELECT row_number() OVER (), o.key, v.value
        FROM jsonb_each(CASE jsonb_typeof(headers) WHEN 'object' THEN headers ELSE '{}' END) AS o,
            jsonb_array_elements(
                CASE jsonb_typeof(o.value) WHEN 'array' THEN o.value
                ELSE jsonb_build_array(o.value) END
            ) AS v
    ) AS p (place, name, value)
    ORDER BY p.place
$$;

-- What is kept of an answer, in version 1 of the codec: encode_kept. Without headers and body only its
-- status is. Raises HX013 for what could not be sent; what is only too large is not an error, because
-- the effect must not fail for the sake of its answer.
CREATE FUNCTION hapax.kept_answer(status integer, headers jsonb, body bytea) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    body_bytes_max   CONSTANT integer := 1048576;
    header_bytes_max CONSTANT integer := 16384;
    header_lines_max CONSTANT integer := 64;
    bytes     integer := 0;
    count     integer := 0;
    here_only text[];
    line      record;
    lines     bytea := '';
    location  bytea;
    name      bytea;
    value     bytea;
    version   bytea := decode('01', 'hex');
    two_bytes bytea := substring(hapax.little(coalesce(status, 0)) FOR 2);
BEGIN
    IF jsonb_typeof(headers) = 'null' THEN
        headers := NULL;
    END IF;
    IF status NOT BETWEEN 200 AND 599
        OR status IS NULL AND (headers IS NOT NULL OR body IS NOT NULL)
    THEN
        RAISE EXCEPTION 'an answer has no status %', coalesce(status::text, 'NULL')
            USING ERRCODE = 'HX013', HINT = 'Pass the status of the final answer, 200 to 599.';
    END IF;
    IF status IN (204, 205, 304) AND octet_length(body) > 0 THEN
        RAISE EXCEPTION 'an answer of status % has no body', status
            USING ERRCODE = 'HX013', HINT = 'Pass no body with it.';
    END IF;
    IF jsonb_typeof(headers) NOT IN ('array', 'object') THEN
        RAISE EXCEPTION 'the headers of the answer are a JSON %', jsonb_typeof(headers)
            USING ERRCODE = 'HX013',
            HINT = 'Pass an object of names and values, or a list of pairs of them.';
    END IF;
    -- Lines that belong to one connection by the word of the answer itself (RFC 9110, section 7.6.1).
    SELECT array_agg(lower(btrim(o.name))) INTO here_only
    FROM hapax.header_lines(headers) AS h, unnest(string_to_array(h.value, ',')) AS o (name)
    WHERE h.name = 'connection';
    FOR line IN SELECT h.name, h.value FROM hapax.header_lines(headers) AS h LOOP
        IF line.name IS NULL OR line.name !~ '^[!#$%&''*+.^_`|~0-9a-z-]+$'
            OR line.value IS NULL OR replace(line.value, chr(9), '') ~ '[[:cntrl:]]'
        THEN
            RAISE EXCEPTION 'the header % of the answer could not be sent', quote_nullable(line.name)
                USING ERRCODE = 'HX013',
                HINT = 'A name is a token; a value is a string or a number, without line breaks.';
        END IF;
        name := convert_to(line.name, 'UTF8');
        value := convert_to(line.value, 'UTF8');
        IF line.name = 'location' AND octet_length(value) <= header_bytes_max THEN
            location := value;
        END IF;
        -- Lines of one connection or one exchange, framing that is made anew, marks that only the gateway
        -- sets, and cookies, which are for one client (REP-03, REP-05, REP-06).
        CONTINUE WHEN line.name = ANY (here_only) OR line.name ~ '^(hapax-|ratelimit|x-ratelimit-)'
            OR line.name IN (
                'age', 'alt-svc', 'connection', 'content-length', 'idempotency-expires',
                'idempotent-replayed', 'keep-alive', 'proxy-authenticate',
                'proxy-authentication-info', 'proxy-connection', 'server-timing', 'set-cookie',
                'te', 'trailer', 'traceresponse', 'transfer-encoding', 'upgrade',
                'www-authenticate'
            );
        count := count + 1;
        bytes := bytes + octet_length(name) + octet_length(value);
        CONTINUE WHEN count > header_lines_max OR bytes > header_bytes_max;
        lines := lines
            || substring(hapax.little(octet_length(name)) FOR 4) || name
            || substring(hapax.little(octet_length(value)) FOR 4) || value;
    END LOOP;
    IF headers IS NULL AND body IS NULL OR octet_length(body) > body_bytes_max
        OR count > header_lines_max OR bytes > header_bytes_max
    THEN
        -- Kept::NotRetained.
        RETURN version || decode('00', 'hex') || two_bytes || CASE WHEN location IS NULL
            THEN decode('00', 'hex')
            ELSE decode('01', 'hex') || substring(hapax.little(octet_length(location)) FOR 4) || location
        END;
    END IF;
    -- Kept::Response; there are no trailers.
    RETURN version || decode('01', 'hex') || two_bytes
        || substring(hapax.little(count) FOR 2) || lines || decode('0000', 'hex')
        || substring(hapax.little(coalesce(octet_length(body), 0)) FOR 4) || coalesce(body, '');
END
$$;

-- Called by an application in its own transaction: what it changes there, and that it did, are committed
-- together or not at all. `claim` is the text of the request's `Hapax-Claim`; the answer, if it is told,
-- is what retries get should the gateway not hear it.
--
-- Raises HX010 if the attempt may not commit any more, HX011 if it has, HX012 if `claim` is none, HX013
-- if the answer is none. After each of them the application rolls back. 40001 means, as always, that the
-- transaction is to be tried again.
--
-- Runs with the rights of its owner, so that an application needs none to what the gateway keeps. The
-- seat is found by its index even while the table is small: a plan that reads the whole table would make
-- unrelated SERIALIZABLE transactions fail each other.
CREATE FUNCTION hapax.commit(claim text, status integer, headers jsonb, body bytea) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
DECLARE
    answer    bytea;
    committed bigint;
    record_id bytea;
    told      integer := coalesce(status, 0);
BEGIN
    IF claim IS NULL OR claim !~ '^1[.][0-9a-f]{64}[.][0-9a-f]{32}[.][0-9]{1,20}$' THEN
        IF claim ~ '^[0-9]{1,9}[.]' AND claim !~ '^1[.]' THEN
            RAISE EXCEPTION 'the claim is of version %, and this schema knows version 1',
                split_part(claim, '.', 1) USING ERRCODE = 'HX012',
                HINT = 'Bring the schema up to date with `hapax migrate` of the newest gateway.';
        END IF;
        -- Whatever it is instead is not repeated here: it might be somebody's key.
        RAISE EXCEPTION '% is no claim', CASE WHEN claim IS NULL THEN 'NULL' ELSE 'this text' END
            USING ERRCODE = 'HX012',
            HINT = 'Pass the value of the request header `Hapax-Claim` as the gateway sent it.';
    END IF;
    answer := hapax.kept_answer(status, headers, body);
    record_id := decode(split_part(claim, '.', 2), 'hex');
    -- Whoever was overtaken locks nothing: another attempt's settlement is not to find it on the seat.
    SELECT s.committed_at INTO committed
    FROM hapax.seat AS s
    WHERE s.id = record_id AND s.attempt = decode(split_part(claim, '.', 3), 'hex')
    FOR UPDATE;
    IF NOT FOUND AND EXISTS (SELECT FROM hapax.seat AS s WHERE s.id = record_id) THEN
        RAISE EXCEPTION
            'this claim cannot be committed any more: another attempt has taken its operation over'
            USING ERRCODE = 'HX010', HINT = 'Roll back; the other attempt does the work.';
    ELSIF NOT FOUND THEN
        RAISE EXCEPTION
            'this claim cannot be committed: its operation is settled, or its route is not transactional'
            USING ERRCODE = 'HX010',
            HINT = 'Roll back. A route whose claims all end so needs `unknown = "transactional"`.';
    ELSIF committed IS NOT NULL THEN
        RAISE EXCEPTION 'this claim is committed already'
            USING ERRCODE = 'HX011', HINT = 'Roll back; an earlier transaction did the work.';
    END IF;
    UPDATE hapax.seat AS s SET committed_at = hapax.clock(0), kept = answer, status = told
    WHERE s.id = record_id;
END
$$;

-- The same with a text for a body, or with none.
CREATE FUNCTION hapax.commit(
    claim text, status integer DEFAULT NULL, headers jsonb DEFAULT NULL, body text DEFAULT NULL
) RETURNS void
LANGUAGE sql VOLATILE
AS $$
    SELECT hapax.commit(claim, status, headers, pg_catalog.convert_to(body, 'UTF8'))
$$;

-- Granted to the roles of applications by an operator, as `application.sql` shows.
REVOKE ALL ON FUNCTION hapax.commit(text, integer, jsonb, bytea) FROM PUBLIC;
REVOKE ALL ON FUNCTION hapax.commit(text, integer, jsonb, text) FROM PUBLIC;

INSERT INTO hapax.migration (version) VALUES (4);
