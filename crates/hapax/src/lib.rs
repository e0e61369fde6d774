//! Each key takes effect once, and every retry gets the first answer.
//!
//! # The mental model
//!
//! A client names its intent with a [`Key`]. Whose key it is, is its [`Scope`]; what the request was,
//! is its [`Fingerprint`]. A [`Store`] keeps one [`Record`] per key, and every change of a record is
//! one step of the pure [`machine`]: an attempt *claims* the record and is granted a [`Lease`] with a
//! growing [`Fence`], *renews* it while it lives, and *settles* it with an answer, as unknown, or by
//! releasing the key. `Guard` is the one flow that does this around any async function; the Tower
//! layer and the gateway use it too.
//!
//! | stored phase | a retry gets |
//! |---|---|
//! | in progress | the owner's answer, if it waits; else "still running" |
//! | completed | the kept answer |
//! | released | to run |
//! | in doubt | "outcome unknown", until somebody settles it or the route's policy runs it again |
//!
//! The full transition table is in `docs/model.md`.

pub mod codec;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod decide;
pub mod event;
mod fingerprint;
#[cfg(feature = "guard")]
pub mod guard;
mod hex;
mod key;
mod lease;
pub mod machine;
mod policy;
mod problem;
mod record;
mod response;
mod scope;
pub mod store;
mod time;

pub use event::{Event, Observer};
pub use fingerprint::{FINGERPRINT_VERSION, Fingerprint, FingerprintSpec, Parts};
#[cfg(feature = "guard")]
pub use guard::{Attempt, Guard, Intent, Verdict};
pub use key::{KEY_BYTES_MAX, Key, KeyError, Syntax};
pub use lease::{AttemptId, Fence, Lease};
pub use machine::{Claim, Claimed, LeaseLost, Observed, Retention, Settlement};
pub use policy::{
    Concurrent, Directive, Disposition, Failures, OnUnknown, Outcome, Policy, Preset, StoreOutage,
};
pub use problem::Problem;
pub use record::{
    Cause, Entry, HISTORY_ENTRIES_MAX, History, OnLapse, Phase, Record, Settler, Status, What,
};
pub use response::{Field, Kept, RecordedResponse};
pub use scope::{Principal, RecordId, SCOPE_BYTES, Scope, Secret};
pub use store::{
    Effect, Guarantees, LeaseError, ListQuery, MemoryStore, Page, Purged, State, Stats, Store,
    StoreError,
};
pub use time::{Clock, ClockOffset, ManualClock, SystemClock, Timestamp};
