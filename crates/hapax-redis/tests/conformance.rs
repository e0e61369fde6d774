//! The store contract, by the suite that every store passes, on a real server.

#[path = "support/harness.rs"]
mod harness;
mod support;

hapax::store_conformance!(harness::Redis::new("HAPAX_TEST_REDIS_URL"));
