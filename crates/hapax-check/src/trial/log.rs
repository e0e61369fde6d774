//! What a case sent and what came, kept for the report of a failure.

use std::sync::{Arc, Mutex};

use crate::upstream::lock;

/// Lines kept at most; a case that sends more shows its last ones.
const LINES_MAX: usize = 24;

/// The exchanges of one case, in order; clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn sent(&self, text: impl Into<String>) {
        self.add(format!("sent: {}", text.into()));
    }

    pub(crate) fn came(&self, text: impl Into<String>) {
        self.add(format!("came: {}", text.into()));
    }

    pub(crate) fn note(&self, text: impl Into<String>) {
        self.add(format!("then: {}", text.into()));
    }

    fn add(&self, line: String) {
        let mut lines = lock(&self.0);
        lines.push(line);
        if lines.len() > LINES_MAX {
            lines.remove(0);
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        lock(&self.0).clone()
    }
}
