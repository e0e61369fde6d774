//! What a caller read before it handed its claim over, so that the writer need not read it again.
//!
//! Looking for a settled record means asking each bucket. Callers do that on their own threads and
//! say as of which turn; the writer trusts it unless the record's place has changed since.

use std::collections::VecDeque;

use hapax::RecordId;

use crate::buckets::Found;
use crate::open_records::IdMap;

/// Turns whose changes are remembered; an operation rarely waits for more than two.
const TURNS_REMEMBERED: u64 = 64;

/// What the buckets held of a record.
#[derive(Debug)]
pub(crate) struct Hint {
    /// The settled record, if there was one.
    pub(crate) found: Option<Found>,
    /// The last turn that was certainly visible to the reader.
    pub(crate) turn: u64,
}

/// Which records moved into or out of a bucket lately.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    ids: IdMap<u64>,
    order: VecDeque<(u64, RecordId)>,
    /// Changes up to this turn are forgotten.
    through: u64,
}

impl Recent {
    /// Whether what was read as of `turn` may no longer be so.
    pub(crate) fn changed_since(&self, id: &RecordId, turn: u64) -> bool {
        turn < self.through || self.ids.get(id).is_some_and(|changed| *changed > turn)
    }

    /// Remembers that the record moved in `turn`.
    pub(crate) fn note(&mut self, id: RecordId, turn: u64) {
        self.ids.insert(id, turn);
        self.order.push_back((turn, id));
    }

    /// Forgets what is too old to matter at `turn`.
    pub(crate) fn forget(&mut self, turn: u64) {
        self.through = turn.saturating_sub(TURNS_REMEMBERED);
        while let Some((changed, id)) = self.order.front().copied() {
            if changed > self.through {
                break;
            }
            self.order.pop_front();
            if self.ids.get(&id) == Some(&changed) {
                self.ids.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_stale_after_a_later_move_or_when_too_old() {
        let id = RecordId::from_bytes([7; 32]);
        let mut recent = Recent::default();
        recent.note(id, 5);
        assert!(recent.changed_since(&id, 4));
        assert!(!recent.changed_since(&id, 5));
        recent.forget(5 + TURNS_REMEMBERED);
        assert!(recent.changed_since(&id, 4), "too old to tell");
        assert!(!recent.changed_since(&id, 5));
        assert!(recent.ids.is_empty() && recent.order.is_empty());
    }
}
