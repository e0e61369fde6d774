//! A journal that ends anywhere: what was answered before that point is there, nothing is half there.

use std::fs::{self, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hapax::{ListQuery, ManualClock, Settler, State, Store as _};
use hapax_fjall::{FileStore, OpenError};
use tempfile::TempDir;

use crate::support::{
    DAY, claim, complete, completed_body, copy_folder, granted, id, journals, options, written,
};

const KEYS: u64 = 12;

/// A folder as a crash leaves it, and where its journal stood after each of its steps: claim and
/// completion of key after key.
struct Crashed {
    clock: Arc<ManualClock>,
    dir: TempDir,
    ends: Vec<usize>,
    journal: PathBuf,
}

impl Crashed {
    async fn new() -> Self {
        let live = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::default());
        let store = FileStore::open(live.path(), options(&clock)).unwrap();
        let journal = journals(&live.path().join("data")).pop().unwrap();
        let mut ends = Vec::new();
        for n in 0..KEYS {
            let lease = granted(&store, &claim(n)).await;
            ends.push(written(&journal));
            store.settle(&lease, &complete("done", DAY), Settler::Owner).await.unwrap();
            ends.push(written(&journal));
        }
        let dir = copy_folder(live.path());
        let journal = dir.path().join(journal.strip_prefix(live.path()).unwrap());
        Self { clock, dir, ends, journal }
    }

    /// A copy in which `spoil` has been done to the journal.
    fn copy(&self, spoil: impl FnOnce(&Path)) -> TempDir {
        let copy = copy_folder(self.dir.path());
        spoil(&copy.path().join(self.journal.strip_prefix(self.dir.path()).unwrap()));
        copy
    }

    /// Opens a copy, which must hold the first `steps` steps and nothing of any other.
    async fn check(&self, copy: &TempDir, steps: usize, what: &str) {
        let store = FileStore::open(copy.path(), options(&self.clock))
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        for n in 0..KEYS {
            let body = completed_body(&store, n).await;
            let record = store.peek(&id(n)).await.unwrap();
            let state = record.and_then(|seen| State::of(&seen.record, seen.now));
            let expected = match steps as u64 {
                steps if steps >= 2 * n + 2 => Some(State::Completed),
                steps if steps == 2 * n + 1 => Some(State::InDoubt),
                _ => None,
            };
            assert_eq!(state, expected, "{what}: key {n} after {steps} steps");
            assert_eq!(body.is_some(), expected == Some(State::Completed), "{what}");
        }
        let page = store.list(&ListQuery { limit: 100, ..ListQuery::default() }).await.unwrap();
        assert_eq!(store.stats().await.unwrap().records, page.records.len() as u64, "{what}");
        // And it goes on from there.
        let lease = granted(&store, &claim(1_000)).await;
        store.settle(&lease, &complete("more", DAY), Settler::Owner).await.unwrap();
        drop(store);
        let store = FileStore::open(copy.path(), options(&self.clock)).unwrap();
        assert!(completed_body(&store, 1_000).await.is_some(), "{what}");
    }

    fn steps_before(&self, cut: usize) -> usize {
        self.ends.iter().filter(|end| **end <= cut).count()
    }
}

fn cut_file(journal: &Path, length: usize) {
    OpenOptions::new().write(true).open(journal).unwrap().set_len(length as u64).unwrap();
}

fn blank(journal: &Path, from: usize, to: usize) {
    let mut file = OpenOptions::new().write(true).open(journal).unwrap();
    file.seek(SeekFrom::Start(from as u64)).unwrap();
    file.write_all(&vec![0; to - from]).unwrap();
}

#[tokio::test]
async fn a_journal_cut_anywhere_holds_every_step_before_the_cut_and_none_after() {
    let crashed = Crashed::new().await;
    let end = *crashed.ends.last().unwrap();
    let positions = (0..end).step_by(end / 24).chain(end - 3..=end);
    for cut in positions {
        let copy = crashed.copy(|journal| cut_file(journal, cut));
        crashed.check(&copy, crashed.steps_before(cut), &format!("cut at {cut} of {end}")).await;
    }
}

#[tokio::test]
async fn a_last_batch_with_its_pages_missing_is_dropped_whole() {
    let crashed = Crashed::new().await;
    let (steps, end) = (crashed.ends.len(), *crashed.ends.last().unwrap());
    let last = crashed.ends[steps - 2];
    let middle = last.midpoint(end);
    for (from, to) in [(last, middle), (middle, end), (last + 20, last + 60), (last, end)] {
        let copy = crashed.copy(|journal| blank(journal, from, to));
        crashed.check(&copy, steps - 1, &format!("{from}..{to} missing of {last}..{end}")).await;
    }
}

#[tokio::test]
async fn an_earlier_batch_with_its_pages_missing_is_damage() {
    let crashed = Crashed::new().await;
    for step in [0, 3, 10, crashed.ends.len() - 2] {
        let (from, to) = (crashed.ends[step] - 80, crashed.ends[step] - 10);
        let copy = crashed.copy(|journal| blank(journal, from, to));
        let refused = FileStore::open(copy.path(), options(&crashed.clock));
        let refused = refused.expect_err("steps that were answered are gone");
        assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
        let names = |dir: &TempDir| {
            let data = journals(&dir.path().join("data"));
            data.iter().map(|journal| fs::read(journal).unwrap()).collect::<Vec<_>>()
        };
        let untouched = names(&copy);
        assert!(FileStore::open(copy.path(), options(&crashed.clock)).is_err());
        assert_eq!(names(&copy), untouched, "refusing changes nothing");
    }
}
