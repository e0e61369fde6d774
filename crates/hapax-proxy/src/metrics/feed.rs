//! Events as they happen, for people who watch. Nobody watching costs one load per event.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use hapax::{Event, RecordId, Timestamp};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Events that wait for a slow reader; older ones are lost to it.
pub const FEED_EVENTS_MAX: usize = 1024;

/// Tells events to all readers.
#[derive(Debug)]
pub(super) struct Feed {
    readers: Arc<AtomicUsize>,
    sender: broadcast::Sender<FeedEvent>,
}

/// One event, without times of single operations.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FeedEvent {
    /// When, by the wall clock of this process.
    pub at: Timestamp,
    /// `answered`, `lease_lost`, `rerun`, `resolved`, `settle_failed` or `unknown`.
    pub kind: &'static str,
    /// The record, where there is one.
    pub record: Option<RecordId>,
    /// The route, where the event names one.
    pub route: Option<Arc<str>>,
    /// The status that freed the key, of a `rerun`.
    pub status: Option<u16>,
    /// The outcome, the cause or the means.
    pub word: Option<&'static str>,
}

/// One reader's place in the stream of events.
#[derive(Debug)]
pub struct FeedReader {
    readers: Arc<AtomicUsize>,
    receiver: broadcast::Receiver<FeedEvent>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { readers: Arc::default(), sender: broadcast::Sender::new(FEED_EVENTS_MAX) }
    }
}

impl Feed {
    pub(super) fn follow(&self) -> FeedReader {
        self.readers.fetch_add(1, Ordering::Relaxed);
        FeedReader { readers: Arc::clone(&self.readers), receiver: self.sender.subscribe() }
    }

    pub(super) fn tell(&self, event: &Event<'_>) {
        if self.readers.load(Ordering::Relaxed) == 0 {
            return;
        }
        if let Some(event) = FeedEvent::of(event) {
            let _nobody = self.sender.send(event);
        }
    }
}

impl FeedReader {
    /// The next event; or, as an error, how many this reader was too slow for. `None` when there will
    /// be no more. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<FeedEvent, u64>> {
        match self.receiver.recv().await {
            Ok(event) => Some(Ok(event)),
            Err(RecvError::Lagged(lost)) => Some(Err(lost)),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for FeedReader {
    fn drop(&mut self) {
        self.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl FeedEvent {
    fn of(event: &Event<'_>) -> Option<Self> {
        let (kind, record, word) = match event {
            Event::Answered { answer, id, .. } => ("answered", *id, Some(answer.as_str())),
            Event::LeaseLost { id } => ("lease_lost", Some(*id), None),
            Event::Rerun { .. } => ("rerun", None, None),
            Event::Resolved { by, id } => ("resolved", Some(*id), Some(*by)),
            Event::SettleFailed { id, .. } => ("settle_failed", Some(*id), None),
            Event::Unknown { cause, id } => ("unknown", Some(*id), Some(cause.as_str())),
            // Times are read as histograms; what is younger than this file is not told.
            _ => return None,
        };
        let (route, status) = match event {
            Event::Answered { route, .. } => (Some(Arc::clone(route)), None),
            Event::Rerun { route, status } => (Some(Arc::clone(route)), Some(*status)),
            _ => (None, None),
        };
        Some(Self { at: now(), kind, record, route, status, word })
    }
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::EPOCH.plus(since_epoch)
}
