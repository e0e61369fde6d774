//! What the tests of the shared stores share: claims and settlements in a word, a relay between a store
//! and its server, and what every store promises whose server may be cut off.
//!
//! What needs no network is promised by every store, and a case of `hapax::conformance`.

mod port;
mod promises;
mod relay;
mod scene;

pub use port::Port;
pub use promises::{
    a_server_that_is_not_there_did_nothing, a_server_that_says_nothing_is_unknown_in_time,
    an_operation_is_one_round_trip, heard, what_nobody_waits_for_is_not_told,
};
pub use relay::Relay;
pub use scene::{
    RECLAIM, RETENTION, TERM, claim, complete, effect, grant, hold, id_of, release, settle,
    settle_effect,
};
