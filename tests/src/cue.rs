//! What one part of a test waits for another part to say.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::STUCK;

/// Counts what has happened; clones count together. For an upstream that is to answer only when the
/// test has seen what it came for, however slow the machine is.
#[derive(Clone, Debug, Default)]
pub struct Cue(Arc<(Mutex<usize>, Condvar)>);

impl Cue {
    /// It has happened, or happened once more.
    pub fn give(&self) {
        let (given, changed) = &*self.0;
        *given.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        changed.notify_all();
    }

    /// Blocks until it has been given `times` times, or more; no longer than [`STUCK`], so that the
    /// test fails by what it expects.
    pub fn wait_for(&self, times: usize) {
        let (given, changed) = &*self.0;
        let given = given.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_timeout_while(given, STUCK, |given| *given < times));
    }
}
