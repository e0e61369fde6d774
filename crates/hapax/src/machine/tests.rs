//! The machine's proofs: the table of every step, an exploration of every order, and chance.

mod explore;
mod random;
mod table;

use super::*;

/// An attempt by number.
fn attempt(n: u8) -> AttemptId {
    AttemptId::from_bytes([n; 16])
}

/// One of two requests.
fn fingerprint(n: u8) -> Fingerprint {
    Fingerprint::from_parts(1, [n; 32])
}

fn id() -> RecordId {
    RecordId::from_bytes([7; 32])
}

/// A lease of this attempt as it would arrive from anywhere: only attempt and record count.
fn lease(n: u8) -> Lease {
    Lease {
        attempt: attempt(n),
        claimed_at: Timestamp::EPOCH,
        fence: Fence::new(0),
        id: id(),
        number: 1,
        progress: None,
        rerun_of: None,
        until: Timestamp::EPOCH,
    }
}

/// An answer that tells which it is.
fn answer(status: u16) -> Kept {
    Kept::NotRetained { location: None, status }
}
