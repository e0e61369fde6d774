//! Who owns a record: the attempt, its fence, and the lease that carries both.

use std::fmt;

use bytes::Bytes;

use crate::hex;
use crate::key::Key;
use crate::scope::RecordId;
use crate::time::Timestamp;

/// Names one attempt to run one operation: "is it still me?".
///
/// Random and unique; every guarded operation compares it by equality, never by order.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AttemptId([u8; 16]);

impl AttemptId {
    /// A new attempt: a version 7 UUID (RFC 9562), so that ids made later sort later.
    #[cfg(feature = "guard")]
    #[must_use]
    pub fn random() -> Self {
        Self(*uuid::Uuid::now_v7().as_bytes())
    }

    /// The attempt with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The sixteen bytes a store keeps.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AttemptId({self})")
    }
}

/// Orders the owners of one record: "who is newer?". Handed to downstream systems.
///
/// Increasing from owner to owner while the record lives, and over its whole life as long as the
/// store's clock does not step back; not gap-free. Fits in 53 bits.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Fence(u64);

impl Fence {
    /// The fence with this value.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The number to compare.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The fence of an owner that follows `previous` at store time `now`: a counter that needs no
    /// counter, because the store's clock is one.
    #[must_use]
    pub fn after(previous: Option<Self>, now: Timestamp) -> Self {
        let floor = previous.map_or(0, |fence| fence.0.saturating_add(1));
        Self(floor.max(now.as_micros()))
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The right to run one operation, for a term, until settled or superseded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lease {
    /// The attempt that holds it.
    pub attempt: AttemptId,
    /// When the attempt's claim was granted, by the store's clock.
    pub claimed_at: Timestamp,
    /// Newer than that of every earlier owner.
    pub fence: Fence,
    /// The record it is on.
    pub id: RecordId,
    /// Which attempt this is: 1 for the first.
    pub number: u32,
    /// Finished steps that an earlier attempt left, if any (M17).
    pub progress: Option<Bytes>,
    /// The status of the answer that freed the key before this claim, if that is why it runs again.
    pub rerun_of: Option<u16>,
    /// When it lapses unless renewed, by the store's clock.
    pub until: Timestamp,
}

impl Lease {
    /// The opaque text that travels upstream as `Hapax-Claim`: record, attempt and fence.
    #[must_use]
    pub fn to_claim(&self) -> String {
        format!("1.{}.{}.{}", self.id, self.attempt, self.fence)
    }

    /// The key for a call that the operation makes in turn: the same for every attempt, another for
    /// every `step`, and telling nothing of the caller's own key (M14).
    #[must_use]
    pub fn child_key(&self, step: &str) -> Key {
        Key::derived(self.id.as_bytes(), step)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn fence_grows_when_the_clock_steps_back() {
        let now = Timestamp::from_micros(1_000);
        let first = Fence::after(None, now);
        let second = Fence::after(Some(first), now.minus(Duration::from_micros(500)));
        assert_eq!(first.value(), 1_000);
        assert_eq!(second.value(), 1_001);
    }
}
