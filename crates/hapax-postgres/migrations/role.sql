-- The least rights with which a gateway can serve: for its role, here `hapax_gateway`, made by the
-- operator. Not a migration: nothing applies it unasked. A gateway that has only these needs
-- `migrate = false`, or a schema that is up to date already.

GRANT USAGE ON SCHEMA hapax TO hapax_gateway;
GRANT SELECT ON hapax.migration TO hapax_gateway;
GRANT SELECT, INSERT ON hapax.identity TO hapax_gateway;
GRANT SELECT, INSERT, UPDATE, DELETE ON hapax.record TO hapax_gateway;
GRANT SELECT, INSERT, UPDATE, DELETE ON hapax.seat TO hapax_gateway;
