-- The steps of the machine, each one function: one statement, one round trip, one transaction.
--
-- They say in SQL what `crates/hapax/src/machine.rs` says, and the conformance suite compares the two.
-- All rely on READ COMMITTED, where each statement within a function sees what was committed when that
-- statement began. The pattern is the same everywhere: take the row's lock, then read the clock, then
-- decide on what the lock shows. Nothing is decided on a version of the row that somebody may be
-- replacing. Only the usual settlement, which depends on no clock, goes a shorter way, and says why. Each
-- call locks one row, so that no two calls can wait for each other in a circle; and as
-- every call is a transaction of its own, a lock lasts as long as one commit. Records of operations that
-- an application commits have a second row, their seat: `0004_commit.sql` says in which order the two
-- are locked, and has the functions that do it.
--
-- What a step costs the server is for the most part not the row: each statement is begun and ended, and
-- each expression made ready, once per call. Hence few statements, and short expressions where all pass.
--
-- Steps that find one row by its id have one plan for all ids: left to itself the server plans each
-- call anew, for the sake of the partition, which costs more than the step.
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
        -- All other rights that a claim needs were needed on the way here.
        IF NOT has_table_privilege('hapax.record', 'INSERT') THEN
            RAISE EXCEPTION 'permission denied for table record: no INSERT'
                USING ERRCODE = 'insufficient_privilege';
        END IF;
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

INSERT INTO hapax.migration (version) VALUES (2);
