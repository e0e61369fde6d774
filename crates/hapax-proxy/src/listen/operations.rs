//! What a drain waits for (ruling 18).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the running operations of one core. The listener counts each request until its answer is
/// written, or until the head of the answer if the answer is a stream of unknown length. Work that
/// outlives its request begins an operation of its own.
#[derive(Clone, Debug, Default)]
pub struct Operations {
    running: Arc<AtomicUsize>,
}

impl Operations {
    /// Begins an operation; it runs until the guard is dropped.
    #[must_use]
    pub fn begin(&self) -> Operation {
        self.running.fetch_add(1, Ordering::AcqRel);
        Operation { running: Arc::clone(&self.running) }
    }

    /// How many are running.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }
}

/// A running operation; a drain waits for it within its limit.
#[derive(Debug)]
pub struct Operation {
    running: Arc<AtomicUsize>,
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::AcqRel);
    }
}
