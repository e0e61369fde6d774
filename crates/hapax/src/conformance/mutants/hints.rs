//! Who waits, and the way on which they are told.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_core::stream::BoxStream;
use futures_util::StreamExt as _;
use futures_util::future::ready;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

use super::store::Node;
use crate::scope::RecordId;

/// Hints that a reader may be behind by before it misses some.
const READ_MAX: usize = 1_024;

/// What all nodes of one store share of it.
#[derive(Debug)]
pub(super) struct Hints {
    awaited: Mutex<BTreeSet<RecordId>>,
    told: broadcast::Sender<(Node, RecordId)>,
}

impl Hints {
    /// Somebody waits for the end of this record's operation.
    pub(super) fn wait(&self, id: RecordId) {
        self.awaited().insert(id);
    }

    /// Nobody waits any more; whether somebody did.
    pub(super) fn take(&self, id: &RecordId) -> bool {
        self.awaited().remove(id)
    }

    /// Tells of an operation that ended on this node.
    pub(super) fn tell(&self, id: RecordId, on: Node) {
        // Nobody may be reading at the moment.
        let _nobody = self.told.send((on, id));
    }

    /// What is told from now on; of one node's operations alone, if one is given.
    pub(super) fn hear(&self, of: Option<Node>) -> BoxStream<'static, RecordId> {
        let told = BroadcastStream::new(self.told.subscribe());
        told.filter_map(move |hint| {
            let heard = hint.ok().filter(|(on, _)| of.is_none_or(|node| node == *on));
            ready(heard.map(|(_, id)| id))
        })
        .boxed()
    }

    fn awaited(&self) -> MutexGuard<'_, BTreeSet<RecordId>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Hints {
    fn default() -> Self {
        Self { awaited: Mutex::default(), told: broadcast::Sender::new(READ_MAX) }
    }
}
