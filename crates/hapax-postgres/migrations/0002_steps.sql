-- The steps of the machine, each one function: one statement, one round trip, one transaction.
--
-- They say in SQL what `crates/hapax/src/machine.rs` says, and the conformance suite compares the two.
-- All rely on READ COMMITTED, where each statement within a function sees what was committed when that
-- statement began. The pattern is the same everywhere: take the row's lock, then read the clock, then
-- decide on what the lock shows. Nothing is decided on a version of the row that somebody may be
-- replacing. Only the usual settlement, which depends on no clock, goes a shorter way, and says why. Each
-- call locks one row, so that no two calls can wait for each other in a circle; and as
-- every call is a transaction of its own, a lock lasts as long as one commit. Records of operations that
-- an application commits have a second row, their seat: `0003_commit.sql` says in which order the two
-- are locked, and has the functions that do it.
--
-- What a step costs the server is for the most part not the row: each statement is begun and ended, and
-- each expression made ready, once per call. Hence few statements, and short expressions where all pass.
--
-- Steps that find one row by its id have one plan for all ids: left to itself the server plans each
-- call anew, for the sake of the partition, which costs more than the step. Sweeping is planned anew,
-- since the best plan depends on how much has expired, and is not compiled, which takes longer than it.
--
-- `clock_offset` is added to the clock; it is 0 but in tests.

CREATE FUNCTION hapax.clock(clock_offset bigint) RETURNS bigint
LANGUAGE sql VOLATILE
AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + clock_offset
$$;

-- What a row means at a moment: Record::status.
CREATE FUNCTION hapax.meaning(
    phase hapax.phase, moment bigint, expires_at bigint, unknown_retention bigint, at bigint
) RETURNS text
LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE
        WHEN expires_at <= at THEN 'expired'
        WHEN phase = 'completed' THEN 'completed'
        WHEN phase = 'released' THEN 'released'
        WHEN phase = 'in_progress' AND at < moment THEN 'running'
        WHEN moment + unknown_retention <= at THEN 'expired'
        WHEN phase = 'in_progress' THEN 'lapsed'
        ELSE 'in_doubt'
    END
$$;

-- Eight bytes, the lowest first, as the codec has numbers. Of the server's own functions only one turns
-- anything round, and that a text: turned digit by digit, the number's halves of bytes are right if they
-- were swapped before. Eight shifts say the same in thirty calls, which cost a claim more than its index.
CREATE FUNCTION hapax.little(value bigint) RETURNS bytea
LANGUAGE sql IMMUTABLE
AS $$
    SELECT decode(reverse(encode(int8send(
        ((value & 1085102592571150095) << 4) | ((value >> 4) & 1085102592571150095)
    ), 'hex')), 'hex')
$$;

-- An entry of a history, in version 1 of the codec: a time (8 bytes), an attempt's number (4), what
-- happened (1) and its details.
CREATE FUNCTION hapax.entry(at bigint, attempt_number bigint, what bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE
AS $$
    SELECT hapax.little(at) || substring(hapax.little(attempt_number) FOR 4) || what
$$;

-- The history of a key that is claimed for the first time: a version byte, a count, and the entry.
CREATE FUNCTION hapax.first_history(at bigint) RETURNS bytea
LANGUAGE sql IMMUTABLE
AS $$
    SELECT '\x0101'::bytea || hapax.entry(at, 1, '\x00')
$$;

-- A history with one more entry: History::with.
CREATE FUNCTION hapax.remember(history bytea, at bigint, attempt_number bigint, what bytea)
RETURNS bytea
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    entry      bytea := hapax.entry(at, attempt_number, what);
    first_end  integer;
    second_end integer;
BEGIN
    IF get_byte(history, 0) <> 1 THEN
        RAISE EXCEPTION 'the history has version %, which this release cannot write',
            get_byte(history, 0) USING ERRCODE = 'data_corrupted';
    END IF;
    IF get_byte(history, 1) < 16 THEN
        RETURN set_byte(history, 1, get_byte(history, 1) + 1) || entry;
    END IF;
    -- The first entry says when the key was first seen, which stays worth knowing: the second goes.
    first_end := 2 + 13 + (ARRAY[0, 3, 1, 3])[1 + get_byte(history, 2 + 12)];
    second_end := first_end + 13 + (ARRAY[0, 3, 1, 3])[1 + get_byte(history, first_end + 12)];
    RETURN substring(history FOR first_end) || substring(history FROM second_end + 1) || entry;
END
$$;

-- machine::claim, the deciding: 'grant', 'again' (this attempt has it already) or 'held'.
CREATE FUNCTION hapax.decide(
    stands hapax.record, means text, claim_attempt bytea, claim_fingerprint bytea, at bigint
) RETURNS text
LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE
        WHEN means = 'expired' THEN 'grant'
        WHEN stands.fingerprint <> claim_fingerprint THEN 'held'
        WHEN stands.attempt = claim_attempt THEN
            CASE WHEN means = 'running' THEN 'again' ELSE 'held' END
        WHEN means = 'released' THEN 'grant'
        WHEN means IN ('in_doubt', 'lapsed')
            AND stands.attempts < stands.attempts_max
            AND stands.claimed_at + stands.reclaim_after <= at THEN 'grant'
        ELSE 'held'
    END
$$;

-- machine::claim.
--
-- The trap: when the INSERT meets a row that was committed after this transaction began, it does
-- nothing, and a fallback within the same statement would not see that row either. As a statement of
-- its own, the SELECT does. It finds nothing only if the row was removed in between; then the claim
-- starts over, three times at most.
--
-- `shown` is the row, in the form that `record_send` gives it; NULL where a key is claimed for the first
-- time, as the caller knows all that is in it but `seen_at`.
CREATE FUNCTION hapax.claim(
    node                    bytea,
    clock_offset            bigint,
    claim_id                bytea,
    claim_attempt           bytea,
    claim_fingerprint       bytea,
    claim_route             bytea,
    claim_term              bigint,
    claim_reclaim_after     bigint,
    claim_attempts_max      bigint,
    claim_unknown_retention bigint,
    is_transactional        boolean,
    answer_retention        bigint,
    OUT granted             boolean,
    OUT seen_at             bigint,
    OUT shown               bytea
)
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    means    text;
    decision text;
    seat     text := 'none';
    stands   hapax.record;
BEGIN
    -- Every claim says whose it is: whatever server a reconnection has led to, records of other
    -- scopes or under another secret are never taken for these.
    IF NOT EXISTS (SELECT FROM hapax.identity AS i WHERE i.digest = node) THEN
        RAISE EXCEPTION 'the records here were made with another `secret` or other scope rules'
            USING ERRCODE = 'HX001';
    END IF;
    FOR turn IN 1..3 LOOP
        seen_at := hapax.clock(clock_offset);
        INSERT INTO hapax.record AS r (
            id, attempt, attempts, attempts_max, claimed_at, created_at, fence, fingerprint, history,
            moment, phase, reclaim_after, route, unknown_retention
        ) VALUES (
            claim_id, claim_attempt, 1, claim_attempts_max, seen_at, seen_at, seen_at,
            claim_fingerprint, hapax.first_history(seen_at), seen_at + claim_term,
            'in_progress', claim_reclaim_after, claim_route, claim_unknown_retention
        )
        -- The id is all that is unique. To say so would have the server look up, in the catalogue and
        -- for every claim, which index of which partition that is.
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            IF is_transactional THEN
                PERFORM hapax.give_seat(claim_id, claim_attempt, seen_at, answer_retention);
            END IF;
            granted := true;
            RETURN;
        END IF;

        -- Claims that are held end here. The clock is read before the row, so that a lease that is
        -- renewed meanwhile is not taken for lapsed.
        seen_at := hapax.clock(clock_offset);
        SELECT r.* INTO stands FROM hapax.record AS r WHERE r.id = claim_id;
        CONTINUE WHEN NOT FOUND;
        means := hapax.meaning(
            stands.phase, stands.moment, stands.expires_at, stands.unknown_retention, seen_at);
        decision := hapax.decide(stands, means, claim_attempt, claim_fingerprint, seen_at);
        IF decision <> 'grant' THEN
            -- The first who is held says so on the row; whoever settles it then sends a hint. That need
            -- not be on the disk, and is not worth waiting for: where somebody works on the row, look
            -- again, and in the end go without.
            IF decision = 'held' AND NOT stands.waited AND stands.phase IN ('in_doubt', 'in_progress')
                AND turn < 3
            THEN
                PERFORM set_config('synchronous_commit', 'off', true);
                UPDATE hapax.record AS r SET waited = true
                FROM (
                    SELECT FROM hapax.record AS o
                    WHERE o.id = claim_id AND o.fence = stands.fence AND o.phase = stands.phase
                        AND NOT o.waited
                    FOR NO KEY UPDATE SKIP LOCKED
                ) AS mine
                WHERE r.id = claim_id;
                CONTINUE WHEN NOT FOUND;
            END IF;
            granted := decision = 'again';
            EXIT;
        END IF;

        -- A grant is decided on the version that nobody can replace any more.
        SELECT r.* INTO stands FROM hapax.record AS r WHERE r.id = claim_id FOR UPDATE;
        CONTINUE WHEN NOT FOUND;
        seen_at := hapax.clock(clock_offset);
        means := hapax.meaning(
            stands.phase, stands.moment, stands.expires_at, stands.unknown_retention, seen_at);
        decision := hapax.decide(stands, means, claim_attempt, claim_fingerprint, seen_at);
        IF decision <> 'grant' THEN
            granted := decision = 'again';
            EXIT;
        END IF;
        -- An application may have committed, or be about to: then its attempt is done, or alive, whatever
        -- its lease says.
        IF stands.phase IN ('in_doubt', 'in_progress') THEN
            seat := hapax.take_seat(claim_id);
            IF seat IN ('busy', 'committed') THEN
                stands := CASE seat
                    WHEN 'busy' THEN hapax.alive(stands, seen_at)
                    ELSE hapax.finish(claim_id, seen_at)
                END;
                granted := false;
                EXIT;
            END IF;
        END IF;
        -- What has expired lends the next record its fence, and nothing else.
        UPDATE hapax.record AS r SET
            attempt = claim_attempt,
            attempts = CASE WHEN means = 'expired' THEN 1 ELSE least(r.attempts + 1, 4294967295) END,
            attempts_max = claim_attempts_max,
            cause = NULL,
            claimed_at = seen_at,
            created_at = CASE WHEN means = 'expired' THEN seen_at ELSE r.created_at END,
            expires_at = NULL,
            fence = greatest(r.fence + 1, seen_at),
            fingerprint = claim_fingerprint,
            history = CASE
                WHEN means = 'expired' THEN hapax.first_history(seen_at)
                ELSE hapax.remember(
                    r.history, seen_at, least(r.attempts + 1, 4294967295), '\x00')
            END,
            kept = NULL,
            moment = seen_at + claim_term,
            phase = 'in_progress',
            progress = CASE WHEN means IN ('in_doubt', 'lapsed') THEN r.progress END,
            reclaim_after = claim_reclaim_after,
            rerun_of = CASE WHEN means = 'released' THEN r.status END,
            route = claim_route,
            status = NULL,
            unknown_retention = claim_unknown_retention,
            waited = r.waited AND means IN ('in_doubt', 'lapsed')
        WHERE r.id = claim_id
        RETURNING r.* INTO stands;
        IF is_transactional THEN
            PERFORM hapax.give_seat(claim_id, claim_attempt, seen_at, answer_retention);
        ELSIF seat = 'open' THEN
            DELETE FROM hapax.seat AS s WHERE s.id = claim_id;
        END IF;
        granted := true;
        EXIT;
    END LOOP;
    IF granted IS NULL THEN
        RAISE EXCEPTION 'the record was removed each time it was looked at' USING ERRCODE = 'HX002';
    END IF;
    shown := record_send(stands);
END
$$;

-- machine::renew. `outcome` is 'renewed', 'expired', 'settled' or 'superseded'; `fence` is then that
-- of the attempt that holds the record.
CREATE FUNCTION hapax.renew(
    node           bytea,
    clock_offset   bigint,
    lease_id       bytea,
    lease_attempt  bytea,
    lease_term     bigint,
    lease_progress bytea,
    OUT outcome    text,
    OUT fence      bigint,
    OUT attempts   bigint,
    OUT claimed_at bigint,
    OUT lapses_at  bigint,
    OUT rerun_of   integer,
    OUT progress   bytea
)
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    at     bigint;
    stands record;
BEGIN
    -- As in a claim: a renewal of nothing is what readiness asks.
    IF NOT EXISTS (SELECT FROM hapax.identity AS i WHERE i.digest = node) THEN
        RAISE EXCEPTION 'the records here were made with another `secret` or other scope rules'
            USING ERRCODE = 'HX001';
    END IF;
    SELECT r.attempt, r.expires_at, r.fence, r.moment, r.phase, r.unknown_retention INTO stands
    FROM hapax.record AS r WHERE r.id = lease_id FOR UPDATE;
    IF NOT FOUND THEN
        outcome := 'expired';
        RETURN;
    END IF;
    at := hapax.clock(clock_offset);
    fence := stands.fence;
    outcome := CASE
        WHEN hapax.meaning(
            stands.phase, stands.moment, stands.expires_at, stands.unknown_retention, at
        ) = 'expired' THEN 'expired'
        WHEN stands.attempt <> lease_attempt THEN 'superseded'
        WHEN stands.phase <> 'in_progress' THEN 'settled'
        ELSE 'renewed'
    END;
    IF outcome = 'renewed' THEN
        -- A clock that stepped back must not shorten what the owner was promised.
        UPDATE hapax.record AS r SET
            moment = greatest(at + lease_term, r.moment),
            progress = coalesce(lease_progress, r.progress)
        WHERE r.id = lease_id
        RETURNING r.attempts, r.claimed_at, r.moment, r.rerun_of, r.progress
        INTO attempts, claimed_at, lapses_at, rerun_of, progress;
    END IF;
END
$$;

-- machine::settle. `outcome` is 'done', 'stands' (settled like this before: nothing changes), 'busy',
-- 'expired', 'running', 'settled' or 'superseded'. `what` is the entry for the history; a NULL
-- retention is for ever. `awaited` says that somebody may be waiting to hear of it.
--
-- What the application committed wins over a release and over doubt: an operator hears 'settled' then.
-- Otherwise a settlement takes the seat away, and nobody can commit any more; but for doubt, which leaves
-- it. While an application is on the seat, its operation is 'running' to an operator, and 'busy' to an
-- owner, who comes again when `await_seat` says so.
CREATE FUNCTION hapax.settle(
    clock_offset   bigint,
    lease_id       bytea,
    lease_attempt  bytea,
    by_operator    boolean,
    into_phase     text,
    retention      bigint,
    settled_status integer,
    settled_cause  integer,
    settled_kept   bytea,
    what           bytea,
    OUT outcome    text,
    OUT fence      bigint,
    OUT awaited    boolean
)
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    at     bigint;
    means  text;
    seat   text := 'none';
    stands record;
BEGIN
    at := hapax.clock(clock_offset);
    -- The usual end in one statement: by the owner, of an attempt that has no seat. If that has to wait for
    -- the row and somebody changed it meanwhile, the server asks all conditions again of the changed row;
    -- if nobody did, the end is dated before a wait in which nothing happened. Whether a lapsed outcome is
    -- still kept depends on the clock, and is left to the long way.
    UPDATE hapax.record AS r SET
        cause = settled_cause,
        expires_at = CASE WHEN into_phase <> 'in_doubt' THEN at + retention END,
        history = hapax.remember(r.history, at, r.attempts, what),
        kept = settled_kept,
        moment = at,
        phase = into_phase::hapax.phase,
        progress = CASE WHEN into_phase = 'in_doubt' THEN r.progress END,
        rerun_of = NULL,
        status = settled_status
    WHERE r.id = lease_id AND r.attempt = lease_attempt AND r.phase = 'in_progress'
        AND r.reclaim_after IS NULL AND (r.unknown_retention IS NULL OR at < r.moment)
        AND NOT by_operator
    RETURNING r.waited INTO awaited;
    IF FOUND THEN
        outcome := 'done';
        RETURN;
    END IF;

    SELECT r.attempt, r.expires_at, r.fence, r.moment, r.phase, r.reclaim_after, r.unknown_retention,
        r.waited
    INTO stands
    FROM hapax.record AS r WHERE r.id = lease_id FOR UPDATE;
    IF NOT FOUND THEN
        outcome := 'expired';
        RETURN;
    END IF;
    at := hapax.clock(clock_offset);
    awaited := stands.waited;
    fence := stands.fence;
    means := hapax.meaning(
        stands.phase, stands.moment, stands.expires_at, stands.unknown_retention, at);
    outcome := CASE
        WHEN means = 'expired' THEN 'expired'
        WHEN stands.attempt <> lease_attempt THEN 'superseded'
        WHEN means = 'running' AND by_operator THEN 'running'
        WHEN stands.phase = 'in_progress' THEN 'done'
        WHEN stands.phase::text = into_phase THEN 'stands'
        WHEN stands.phase = 'in_doubt' THEN 'done'
        ELSE 'settled'
    END;
    -- Only what may be taken over has a seat: nobody else is to pay for looking.
    IF outcome = 'done' AND stands.reclaim_after IS NOT NULL THEN
        seat := hapax.take_seat(lease_id);
        IF seat = 'busy' AND (by_operator OR into_phase <> 'in_doubt') THEN
            outcome := CASE WHEN by_operator THEN 'running' ELSE 'busy' END;
        END IF;
    END IF;
    IF outcome = 'done' AND seat = 'committed' AND into_phase <> 'completed' THEN
        PERFORM hapax.finish(lease_id, at);
        outcome := CASE WHEN by_operator THEN 'settled' ELSE 'done' END;
    ELSIF outcome = 'done' THEN
        UPDATE hapax.record AS r SET
            cause = settled_cause,
            expires_at = CASE WHEN into_phase <> 'in_doubt' THEN at + retention END,
            history = hapax.remember(r.history, at, r.attempts, what),
            kept = settled_kept,
            moment = at,
            phase = into_phase::hapax.phase,
            progress = CASE WHEN into_phase = 'in_doubt' THEN r.progress END,
            rerun_of = NULL,
            status = settled_status
        WHERE r.id = lease_id;
        IF seat <> 'none' AND into_phase <> 'in_doubt' THEN
            DELETE FROM hapax.seat AS s WHERE s.id = lease_id;
        END IF;
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

INSERT INTO hapax.migration (version) VALUES (2);
