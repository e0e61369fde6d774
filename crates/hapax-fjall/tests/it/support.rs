//! What the tests share: claims, settlements and options.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hapax::{
    AttemptId, Claim, Claimed, Clock, Fingerprint, Kept, Lease, ManualClock, OnLapse, Phase,
    RecordId, RecordedResponse, Retention, Settlement, Status, Store, StoreError,
};
use hapax_fjall::FileOptions;
use tempfile::TempDir;

/// A day.
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// Options by a clock of the test's.
pub(crate) fn options(clock: &Arc<ManualClock>) -> FileOptions {
    FileOptions { clock: clock.clone() as Arc<dyn Clock>, ..FileOptions::default() }
}

/// The id of the record `n`, scattered as keyed hashes are.
pub(crate) fn id(n: u64) -> RecordId {
    let mut bytes = [0; 32];
    for (k, chunk) in bytes.chunks_mut(8).enumerate() {
        // SplitMix64.
        let mut z = (n * 4 + k as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    RecordId::from_bytes(bytes)
}

fn attempt() -> AttemptId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    bytes[8..].copy_from_slice(&u64::from(std::process::id()).to_le_bytes());
    AttemptId::from_bytes(bytes)
}

/// A claim on record `n` by a new attempt.
pub(crate) fn claim(n: u64) -> Claim {
    Claim {
        attempt: attempt(),
        fingerprint: Fingerprint::from_parts(1, [1; 32]),
        id: id(n),
        on_lapse: OnLapse::Doubt,
        route: "/payments".into(),
        term: Duration::from_secs(10),
        transactional: None,
        unknown_retention: None,
    }
}

/// The same claim by another attempt.
pub(crate) fn another_attempt(claim: &Claim) -> Claim {
    Claim { attempt: attempt(), ..claim.clone() }
}

/// The lease of a claim that must be granted.
pub(crate) async fn granted(store: &dyn Store, claim: &Claim) -> Lease {
    match store.claim(claim).await.unwrap() {
        Claimed::Granted(lease) => lease,
        Claimed::Held(observed) => panic!("held: {observed:?}"),
    }
}

/// Completion with a body, kept so long.
pub(crate) fn complete(body: &str, keep: Duration) -> Settlement {
    let kept = Kept::Response(RecordedResponse::value(body.as_bytes().to_vec()));
    Settlement::Complete { kept, retention: Retention::For(keep) }
}

/// Release, with a tombstone for so long.
pub(crate) fn release(keep: Duration) -> Settlement {
    Settlement::Release { retention: Retention::For(keep), status: Some(503) }
}

/// What a retry of record `n` gets replayed, if anything.
pub(crate) async fn completed_body(store: &dyn Store, n: u64) -> Option<Vec<u8>> {
    completed_body_checked(store, n).await.unwrap()
}

/// The same, errors included.
pub(crate) async fn completed_body_checked(
    store: &dyn Store,
    n: u64,
) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(observed) = store.peek(&id(n)).await? else {
        return Ok(None);
    };
    if observed.record.status(observed.now) != Status::Completed {
        return Ok(None);
    }
    match observed.record.phase {
        Phase::Completed { kept: Kept::Response(response), .. } => Ok(Some(response.body.to_vec())),
        _ => Ok(None),
    }
}

/// This test binary again, to run the test of that name alone in another process.
pub(crate) fn rerun(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]);
    command
}

/// A copy of a folder, as a backup or a disk after a crash would have it.
pub(crate) fn copy_folder(from: &Path) -> TempDir {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &to);
            } else if entry.path().extension().is_some_and(|extension| extension == "jnl") {
                copy_journal(&entry.path(), &to);
            } else {
                fs::copy(entry.path(), to).unwrap();
            }
        }
    }
    let to = tempfile::tempdir().unwrap();
    copy(from, to.path());
    to
}

/// Journals are made long and empty; only what is written is worth copying.
fn copy_journal(from: &Path, to: &Path) {
    let length = fs::metadata(from).unwrap().len();
    let bytes = fs::read(from).unwrap();
    fs::write(to, &bytes[..written(from)]).unwrap();
    fs::OpenOptions::new().write(true).open(to).unwrap().set_len(length).unwrap();
}

/// Bytes of a journal up to the last that is not zero.
pub(crate) fn written(journal: &Path) -> usize {
    const PAGE: [u8; 4096] = [0; 4096];
    let bytes = fs::read(journal).unwrap();
    let last = bytes.chunks(PAGE.len()).rposition(|chunk| *chunk != PAGE[..chunk.len()]);
    let from = last.unwrap_or(0) * PAGE.len();
    let within =
        bytes[from..bytes.len().min(from + PAGE.len())].iter().rposition(|byte| *byte != 0);
    within.map_or(0, |last| from + last + 1)
}

/// The journals in a store's data folder, oldest first.
pub(crate) fn journals(data: &Path) -> Vec<PathBuf> {
    let mut journals: Vec<_> = fs::read_dir(data)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jnl"))
        .collect();
    journals.sort();
    journals
}
