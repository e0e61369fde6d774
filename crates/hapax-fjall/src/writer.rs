//! The writer: one thread, one batch and one sync per turn, answers after the sync.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

use fjall::PersistMode;
use hapax::Timestamp;

use crate::buckets::Bucket;
use crate::error::WriteFailed;
use crate::ledger::Ledger;
use crate::mailbox::{Mailbox, Ticket};
use crate::open_records::IdMap;
use crate::operation::Reply;
use crate::queue::{Letter, Queue, Taken};
use crate::schema::{TURN, TurnMark};
use crate::turn::{Touched, Turn};

/// Operations of one turn at most, so that no caller waits for a batch without end.
const OPERATIONS_PER_TURN_MAX: usize = 4_096;

/// How long an answer may lie unsorted before the writer wakes everyone it concerns.
const UNSORTED_MAX: Duration = Duration::from_millis(4);

/// What the writer shares with the callers.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Set by the first failure to write, never unset.
    pub(crate) failed: OnceLock<WriteFailed>,
    operations: AtomicU64,
    pub(crate) queue: Queue,
    syncs: AtomicU64,
    /// The last turn that everyone can read.
    pub(crate) turn: AtomicU64,
    turns: AtomicU64,
}

/// How much the writer has done since the store was opened; for metrics and tests.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Work {
    /// Operations answered by the writer; replays that needed no writer are not among them.
    pub operations: u64,
    /// Syncs of the journal.
    pub syncs: u64,
    /// Turns that wrote anything.
    pub turns: u64,
}

impl Shared {
    pub(crate) fn work(&self) -> Work {
        Work {
            operations: self.operations.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
            turns: self.turns.load(Ordering::Relaxed),
        }
    }
}

/// The thread's own.
pub(crate) struct Writer {
    janitor: mpsc::Sender<Arc<Bucket>>,
    ledger: Ledger,
    letters: Vec<Letter>,
    shared: Arc<Shared>,
    /// Mailboxes with answers that nobody had sorted when they were put in, and since when.
    unsorted: Vec<(Instant, Arc<Mailbox>)>,
}

/// Answers that go into one mailbox.
struct Bundle {
    mailbox: Arc<Mailbox>,
    replies: Vec<(Ticket, Box<Reply>)>,
}

impl Writer {
    pub(crate) fn new(
        ledger: Ledger,
        shared: Arc<Shared>,
        janitor: mpsc::Sender<Arc<Bucket>>,
    ) -> Self {
        Self { janitor, ledger, letters: Vec::new(), shared, unsorted: Vec::new() }
    }

    /// Takes turns until the queue is closed and empty; leaves the journal synced.
    pub(crate) fn run(mut self) {
        self.shared.queue.set_writer(std::thread::current());
        loop {
            match self.shared.queue.take(&mut self.letters, OPERATIONS_PER_TURN_MAX) {
                Taken::Closed => break,
                Taken::Nothing if self.unsorted.is_empty() => std::thread::park(),
                Taken::Nothing => std::thread::park_timeout(UNSORTED_MAX),
                Taken::Some => self.take_turn(),
            }
            self.nudge();
        }
        self.unsorted.drain(..).for_each(|(_, mailbox)| {
            mailbox.nudge();
        });
        self.end();
    }

    fn take_turn(&mut self) {
        let letters = std::mem::take(&mut self.letters);
        self.shared.operations.fetch_add(letters.len() as u64, Ordering::Relaxed);
        if let Some(failed) = self.shared.failed.get().cloned() {
            let refuse = |letter: Letter| {
                let reply = letter.operation.failed(failed.none());
                (letter.mailbox, letter.ticket, reply)
            };
            let refused = letters.into_iter().map(refuse).collect();
            self.answer(refused);
            return;
        }
        let mut turn = Turn::new(&mut self.ledger);
        let mut answers = Vec::with_capacity(letters.len());
        for Letter { mailbox, operation, ticket } in letters {
            answers.push((mailbox, ticket, turn.apply(operation)));
        }
        let Turn { dropped, now, sync, touched, .. } = turn;
        match self.commit(touched, &dropped, now, sync) {
            Ok(()) => self.hand_over(&dropped),
            Err(error) => {
                let failed = WriteFailed::new(error);
                tracing::error!(error = %failed, "the store stops taking steps");
                let _ = self.shared.failed.set(failed.clone());
                for (_, _, reply) in &mut answers {
                    let error =
                        if failed.wrote_nothing() { failed.none() } else { failed.unknown() };
                    let said = std::mem::replace(reply, Reply::Stats(Ok(Default::default())));
                    *reply = said.failed(error);
                }
            }
        }
        self.answer(answers);
    }

    /// Writes what the turn changed, and only then lets the ledger and the readers know.
    fn commit(
        &mut self,
        touched: IdMap<Touched>,
        dropped: &[Timestamp],
        now: Timestamp,
        sync: bool,
    ) -> fjall::Result<()> {
        let turn = self.ledger.turn + 1;
        let mode = if sync { PersistMode::SyncData } else { PersistMode::Buffer };
        // The library syncs before it lets readers see the batch: what can be read is durable.
        let mut batch = self.ledger.database.batch().durability(Some(mode));
        let mut moved = Vec::new();
        for (id, touched) in &touched {
            if touched.changed {
                self.ledger.add_to(&mut batch, id, touched, dropped, now, &mut moved)?;
            }
        }
        if !batch.is_empty() || !dropped.is_empty() {
            self.ledger.add_counts(&mut batch, &moved, dropped);
            let mark = TurnMark { now, synced: self.ledger.synced, turn };
            batch.insert(&self.ledger.meta, TURN, mark.encode());
            batch.commit()?;
            self.ledger.turn = turn;
            if sync {
                self.ledger.synced = turn;
                self.shared.syncs.fetch_add(1, Ordering::Relaxed);
            }
            self.shared.turns.fetch_add(1, Ordering::Relaxed);
            for (id, end) in moved {
                self.ledger.buckets.note(end, &id);
                self.ledger.recent.note(id, turn);
            }
            self.ledger.recent.forget(turn);
        }
        for record in touched.into_values().filter_map(|touched| touched.record) {
            self.ledger.open.put(record);
        }
        // Whoever reads this number reads everything the turn has written.
        self.shared.turn.store(self.ledger.turn, Ordering::Release);
        Ok(())
    }

    /// Takes dropped buckets out of sight and has their files removed.
    fn hand_over(&mut self, dropped: &[Timestamp]) {
        for end in dropped {
            self.ledger.counts.remove(end);
            if let Some(bucket) = self.ledger.buckets.remove(*end) {
                // Without a janitor, as at the end, the next opening removes the files.
                let _ = self.janitor.send(bucket);
            }
        }
    }

    fn answer(&mut self, answers: Vec<(Arc<Mailbox>, Ticket, Reply)>) {
        let mut sorted: Vec<Bundle> = Vec::new();
        for (mailbox, ticket, reply) in answers {
            let reply = (ticket, Box::new(reply));
            match sorted.iter_mut().find(|bundle| Arc::ptr_eq(&bundle.mailbox, &mailbox)) {
                Some(bundle) => bundle.replies.push(reply),
                None => sorted.push(Bundle { mailbox, replies: vec![reply] }),
            }
        }
        let at = Instant::now();
        for Bundle { mailbox, replies } in sorted {
            mailbox.deliver(replies.into_iter());
            if !self.unsorted.iter().any(|(_, known)| Arc::ptr_eq(known, &mailbox)) {
                self.unsorted.push((at, mailbox));
            }
        }
    }

    fn nudge(&mut self) {
        self.unsorted.retain(|(since, mailbox)| {
            if mailbox.is_sorted() {
                return false;
            }
            let is_late = since.elapsed() >= UNSORTED_MAX;
            if is_late {
                mailbox.nudge();
            }
            !is_late
        });
    }

    /// Leaves the latest time on disk, and everything synced.
    fn end(self) {
        if self.shared.failed.get().is_some() {
            return;
        }
        let mark = TurnMark {
            now: self.ledger.clock.now(),
            synced: self.ledger.synced,
            turn: self.ledger.turn,
        };
        let mut batch = self.ledger.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.ledger.meta, TURN, mark.encode());
        if let Err(error) = batch.commit() {
            let failed = WriteFailed::new(error);
            tracing::error!(error = %failed, "the store could not be closed cleanly");
            let _ = self.shared.failed.set(failed);
        }
    }
}
