-- All rights that an application needs to commit under the gateway's claims: for its role, here
-- `shop`. Not a migration: an operator applies it, for each such role. It is no right to any table; who
-- owns the schema should be a role that can do nothing else.

GRANT USAGE ON SCHEMA hapax TO shop;
GRANT EXECUTE ON FUNCTION hapax.commit(text, integer, jsonb, bytea) TO shop;
GRANT EXECUTE ON FUNCTION hapax.commit(text, integer, jsonb, text) TO shop;
