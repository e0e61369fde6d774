//! Wake-ups from other nodes: hints that a record was settled, which save polling.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
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
    listeners: Arc<Listeners>,
}

#[derive(Default)]
struct Listeners(Mutex<HashMap<RecordId, Ear>>);

/// Shared by all listeners for one record; gone with the last of them.
struct Ear {
    heard: Arc<Notify>,
    listeners: usize,
}

/// One waiter.
pub(super) struct Listener {
    heard: Arc<Notify>,
    id: RecordId,
    listeners: Arc<Listeners>,
    poll: Duration,
}

impl Inner {
    /// Starts to listen for `id`; the first call starts to read the store's hints.
    pub(super) fn listen(&self, id: RecordId) -> Listener {
        let hinted = *self.wakeups.hinted.get_or_init(|| self.spawn_reader());
        let heard = self.wakeups.listeners.add(id);
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
                listeners.wake(&id);
            }
        });
        true
    }
}

impl Listeners {
    fn add(&self, id: RecordId) -> Arc<Notify> {
        let mut ears = self.ears();
        let ear = ears.entry(id).or_insert_with(|| Ear { heard: Arc::default(), listeners: 0 });
        ear.listeners += 1;
        Arc::clone(&ear.heard)
    }

    fn wake(&self, id: &RecordId) {
        if let Some(ear) = self.ears().get(id) {
            ear.heard.notify_waiters();
        }
    }

    fn remove(&self, id: &RecordId) {
        let mut ears = self.ears();
        if let Some(ear) = ears.get_mut(id) {
            ear.listeners -= 1;
            if ear.listeners == 0 {
                ears.remove(id);
            }
        }
    }

    fn ears(&self) -> MutexGuard<'_, HashMap<RecordId, Ear>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Wakeups {
    /// Whether nobody is listening.
    pub(super) fn is_empty(&self) -> bool {
        self.listeners.ears().is_empty()
    }
}

impl Listener {
    /// Ends at the next hint, or when it is time to look anyway. Hints count from this call on, not
    /// from the first poll: call it before looking, or one may pass unheard.
    pub(super) fn changed(&self) -> impl Future<Output = ()> + '_ {
        let heard = self.heard.notified();
        async {
            let _timed_out = tokio::time::timeout(self.poll, heard).await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.listeners.remove(&self.id);
    }
}
