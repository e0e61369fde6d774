//! Answers on their way back to the callers, one mailbox per calling thread.
//!
//! Waking a task from another thread costs a system call, and a turn of the writer answers dozens of
//! tasks of one thread. So the writer puts all answers for a thread into its mailbox and wakes one of
//! the waiting tasks. Whichever task of the thread is polled next sorts them all and wakes the others
//! from within, which is cheap. The woken task owes the others nothing but to be polled or dropped;
//! should it be neither for a while, the writer wakes everyone ([`Mailbox::nudge`]).
//!
//! A future may move to another thread meanwhile: it keeps the mailbox it registered with.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use hapax::StoreError;

use crate::operation::{Operation, Reply};
use crate::queue::{Letter, Queue};

thread_local! {
    static MAILBOX: Arc<Mailbox> = Arc::default();
}

/// Answers for one thread.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    inner: Mutex<Inner>,
}

/// Names one waiting call in a mailbox. Slots are used again, generations are not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ticket {
    generation: u32,
    slot: u32,
}

#[derive(Debug, Default)]
struct Inner {
    /// Answers that nobody of the thread has sorted yet.
    delivered: Vec<(Ticket, Box<Reply>)>,
    free: Vec<u32>,
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    Free,
    Ready(Box<Reply>),
    Waiting(Waker),
}

impl Mailbox {
    /// Puts answers in and wakes one of those who wait for them. Answers that nobody waits for any
    /// more are dropped.
    pub(crate) fn deliver(&self, replies: impl Iterator<Item = (Ticket, Box<Reply>)>) {
        let mut inner = self.inner();
        let mut first = None;
        for (ticket, reply) in replies {
            if let Some(waker) = inner.waiting(ticket) {
                if first.is_none() {
                    first = Some(waker.clone());
                }
                inner.delivered.push((ticket, reply));
            }
        }
        drop(inner);
        if let Some(waker) = first {
            waker.wake();
        }
    }

    /// Sorts what is still unsorted and wakes everyone concerned. Answers whether there was any.
    pub(crate) fn nudge(&self) -> bool {
        let mut inner = self.inner();
        let wakers = inner.sort(None);
        drop(inner);
        let any = !wakers.is_empty();
        wakers.into_iter().for_each(Waker::wake);
        any
    }

    /// Whether every answer has been sorted.
    pub(crate) fn is_sorted(&self) -> bool {
        self.inner().delivered.is_empty()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing between taking and giving back the mutex leaves the mailbox half-changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn register(&mut self, waker: Waker) -> Ticket {
        let state = State::Waiting(waker);
        if let Some(slot) = self.free.pop() {
            let entry = &mut self.slots[slot as usize];
            entry.state = state;
            return Ticket { generation: entry.generation, slot };
        }
        // Calls of one thread that wait at a time are bounded far below by memory and the queue.
        let slot = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push(Slot { generation: 0, state });
        Ticket { generation: 0, slot }
    }

    fn slot(&mut self, ticket: Ticket) -> Option<&mut Slot> {
        self.slots.get_mut(ticket.slot as usize).filter(|slot| slot.generation == ticket.generation)
    }

    fn waiting(&mut self, ticket: Ticket) -> Option<&Waker> {
        match &self.slot(ticket)?.state {
            State::Waiting(waker) => Some(waker),
            State::Free | State::Ready(_) => None,
        }
    }

    fn release(&mut self, ticket: Ticket) {
        if let Some(slot) = self.slot(ticket) {
            slot.state = State::Free;
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(ticket.slot);
        }
    }

    /// Puts every delivered answer into its slot; answers whom to wake, `except` left out.
    fn sort(&mut self, except: Option<Ticket>) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for (ticket, reply) in std::mem::take(&mut self.delivered) {
            let Some(slot) = self.slot(ticket) else {
                continue;
            };
            let before = std::mem::replace(&mut slot.state, State::Ready(reply));
            if let State::Waiting(waker) = before
                && except != Some(ticket)
            {
                wakers.push(waker);
            }
        }
        wakers
    }
}

/// One operation handed to the writer and its answer. Dropping it after the first poll leaves the
/// operation to happen; only its answer is lost.
#[derive(Debug)]
pub(crate) struct Exchange<'a> {
    operation: Option<Operation>,
    queue: &'a Queue,
    registered: Option<(Arc<Mailbox>, Ticket)>,
}

impl<'a> Exchange<'a> {
    pub(crate) const fn new(queue: &'a Queue, operation: Operation) -> Self {
        Self { operation: Some(operation), queue, registered: None }
    }
}

impl Future for Exchange<'_> {
    type Output = Result<Reply, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(operation) = self.operation.take() {
            let mailbox = MAILBOX.with(Arc::clone);
            let ticket = mailbox.inner().register(context.waker().clone());
            self.registered = Some((mailbox.clone(), ticket));
            if let Err(refused) = self.queue.push(Letter { mailbox, operation, ticket }) {
                return Poll::Ready(Err(refused));
            }
            return Poll::Pending;
        }
        let Some((mailbox, ticket)) = &self.registered else {
            return Poll::Ready(Err(StoreError::none("a finished call was polled again")));
        };
        let mut inner = mailbox.inner();
        let wakers = inner.sort(Some(*ticket));
        let reply = match inner.slot(*ticket).map(|slot| &mut slot.state) {
            Some(State::Waiting(waker)) => {
                waker.clone_from(context.waker());
                None
            }
            Some(state @ State::Ready(_)) => match std::mem::replace(state, State::Free) {
                State::Ready(reply) => Some(reply),
                State::Free | State::Waiting(_) => None,
            },
            Some(State::Free) | None => None,
        };
        if reply.is_some() {
            inner.release(*ticket);
        }
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
        match reply {
            Some(reply) => {
                self.registered = None;
                Poll::Ready(Ok(*reply))
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        // The woken one may be cancelled instead of polled: it passes the wake-up on.
        if let Some((mailbox, ticket)) = self.registered.take() {
            let mut inner = mailbox.inner();
            inner.release(ticket);
            let wakers = inner.sort(None);
            drop(inner);
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests;
