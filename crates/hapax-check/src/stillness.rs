//! Notices that this process stood still: its machine was paused, or too busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

const STEP: Duration = Duration::from_millis(20);

/// A step that takes so much longer than it should is a disturbance.
const DISTURBED: Duration = Duration::from_millis(100);

/// Measures until it is dropped.
#[derive(Debug)]
pub(crate) struct Stillness {
    longest_us: Arc<AtomicU64>,
    measuring: JoinHandle<()>,
}

impl Stillness {
    pub(crate) fn measure() -> Self {
        let longest_us = Arc::new(AtomicU64::new(0));
        let longest = Arc::clone(&longest_us);
        let measuring = tokio::spawn(async move {
            loop {
                let began = Instant::now();
                tokio::time::sleep(STEP).await;
                let late = began.elapsed().saturating_sub(STEP).as_micros();
                longest.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        Self { longest_us, measuring }
    }

    /// Whether this process stood still long enough to spoil a judgement of time.
    pub(crate) fn disturbed(&self) -> bool {
        Duration::from_micros(self.longest_us.load(Ordering::Relaxed)) >= DISTURBED
    }
}

impl Drop for Stillness {
    fn drop(&mut self) {
        self.measuring.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_stands_still_is_noticed() {
        let stillness = Stillness::measure();
        tokio::time::sleep(STEP).await;
        // Blocks the only thread, as a pause of the machine does.
        std::thread::sleep(STEP + DISTURBED + STEP);
        while !stillness.disturbed() {
            tokio::time::sleep(STEP).await;
        }
    }
}
