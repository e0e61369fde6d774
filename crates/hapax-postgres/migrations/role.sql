-- The least rights with which a gateway can serve: for its role, here `hapax_gateway`, made by the
-- operator. Not a migration: nothing applies it unasked. A gateway that has only these needs
-- `migrate = false`, or a schema that is up to date already.

GRANT USAGE ON SCHEMA hapax TO hapax_gateway;
GRANT SELECT ON hapax.migration TO hapax_gateway;
GRANT SELECT, INSERT ON hapax.identity TO hapax_gateway;
GRANT SELECT, INSERT, UPDATE, DELETE ON hapax.record TO hapax_gateway;
GRANT SELECT, INSERT, UPDATE, DELETE ON hapax.seat TO hapax_gateway;

-- The functions that it calls, and those that they call. Anybody may call a function unless the database
-- says otherwise (ALTER DEFAULT PRIVILEGES ... REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC).
GRANT EXECUTE ON FUNCTION
    hapax.alive, hapax.await_seat, hapax.claim, hapax.clock, hapax.decide, hapax.entry, hapax.finish,
    hapax.first_history, hapax.give_seat, hapax.identify, hapax.is_seat_busy, hapax.list, hapax.little,
    hapax.meaning, hapax.peek, hapax.purge, hapax.remember, hapax.renew, hapax.resolve, hapax.settle,
    hapax.stats, hapax.sweep, hapax.take_seat, hapax.wake
TO hapax_gateway;
