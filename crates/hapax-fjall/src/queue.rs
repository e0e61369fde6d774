//! Operations on their way to the writer: one vector under one mutex.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;

use hapax::StoreError;

use crate::mailbox::{Mailbox, Ticket};
use crate::operation::Operation;

/// Operations that may wait for the writer; one more is refused without effect.
const LETTERS_MAX: usize = 1 << 16;

/// An operation and where its answer goes.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) operation: Operation,
    pub(crate) ticket: Ticket,
}

/// What waits for the writer.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    writer: OnceLock<Thread>,
}

#[derive(Debug, Default)]
struct Inner {
    closed: bool,
    letters: Vec<Letter>,
    sleeping: bool,
}

/// What the writer finds.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Taken {
    /// Nothing, and nothing will come.
    Closed,
    /// Nothing; the next letter unparks the writer.
    Nothing,
    /// Something.
    Some,
}

impl Queue {
    /// Says whom to unpark. The first one said stays.
    pub(crate) fn set_writer(&self, writer: Thread) {
        let _ = self.writer.set(writer);
    }

    /// Hands an operation over, unparking the writer only if it sleeps.
    pub(crate) fn push(&self, letter: Letter) -> Result<(), StoreError> {
        let mut inner = self.inner();
        if inner.closed {
            return Err(StoreError::none("the store has been closed"));
        }
        if inner.letters.len() >= LETTERS_MAX {
            return Err(StoreError::none("too many operations wait for the disk"));
        }
        inner.letters.push(letter);
        let was_sleeping = std::mem::take(&mut inner.sleeping);
        drop(inner);
        if was_sleeping {
            self.unpark();
        }
        Ok(())
    }

    /// Moves at most `count` operations to the end of `into`, oldest first.
    pub(crate) fn take(&self, into: &mut Vec<Letter>, count: usize) -> Taken {
        let mut inner = self.inner();
        if inner.letters.is_empty() {
            if inner.closed {
                return Taken::Closed;
            }
            inner.sleeping = true;
            return Taken::Nothing;
        }
        if into.is_empty() && inner.letters.len() <= count {
            std::mem::swap(into, &mut inner.letters);
        } else {
            let count = count.min(inner.letters.len());
            into.extend(inner.letters.drain(..count));
        }
        Taken::Some
    }

    /// Refuses further operations and lets the writer end after those that wait.
    pub(crate) fn close(&self) {
        self.inner().closed = true;
        self.unpark();
    }

    fn unpark(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Every change under the mutex is whole at each point where it could panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
