//! Wake-ups from other nodes: hints that a record was settled, which save polling.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::Notify;

use super::Inner;
use crate::scope::RecordId;

/// How often a waiter looks where a store gives hints: only the net below them.
const POLL_WITH_HINTS: Duration = Duration::from_secs(1);
/// How often a waiter looks where it does not.
const POLL_WITHOUT_HINTS: Duration = Duration::from_millis(100);

/// Who waits for which record.
#[derive(Default)]
pub(super) struct Wakeups {
    hinted: OnceLock<bool>,
    listeners: Arc<Mutex<HashMap<RecordId, Weak<Notify>>>>,
}

/// One waiter's ear; register before looking at the record, or a hint may pass unheard.
pub(super) struct Listener {
    heard: Arc<Notify>,
    id: RecordId,
    listeners: Arc<Mutex<HashMap<RecordId, Weak<Notify>>>>,
    poll: Duration,
}

impl Inner {
    /// Starts to listen for `id`; the first call starts to read the store's hints.
    pub(super) fn listen(&self, id: RecordId) -> Listener {
        let hinted = *self.wakeups.hinted.get_or_init(|| self.spawn_reader());
        let mut listeners = self.wakeups.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = listeners.get(&id).and_then(Weak::upgrade).unwrap_or_else(|| {
            let heard = Arc::new(Notify::new());
            listeners.insert(id, Arc::downgrade(&heard));
            heard
        });
        let poll = if hinted { POLL_WITH_HINTS } else { POLL_WITHOUT_HINTS };
        Listener { heard, id, listeners: Arc::clone(&self.wakeups.listeners), poll }
    }

    fn spawn_reader(&self) -> bool {
        let Some(mut hints) = self.store.wakeups() else {
            return false;
        };
        let listeners = Arc::downgrade(&self.wakeups.listeners);
        tokio::spawn(async move {
            while let Some(id) = hints.next().await {
                // No guard is left to hear.
                let Some(listeners) = listeners.upgrade() else { return };
                let heard =
                    listeners.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
                if let Some(heard) = heard.and_then(|heard| heard.upgrade()) {
                    heard.notify_waiters();
                }
            }
        });
        true
    }
}

#[cfg(test)]
impl Wakeups {
    /// Whether nobody is listening.
    pub(super) fn is_empty(&self) -> bool {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl Listener {
    /// Waits for a hint, at most until it is time to look anyway.
    pub(super) async fn changed(&self) {
        let _timed_out = tokio::time::timeout(self.poll, self.heard.notified()).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::strong_count(&self.heard) == 1 {
            listeners.remove(&self.id);
        }
    }
}
