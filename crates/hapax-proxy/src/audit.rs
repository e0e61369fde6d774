//! What operators decided: every settlement and purge that was asked for, and what came of it.
//!
//! A decision is written down before it is carried out and again when its result is known, so that
//! one that a crash cut short is still told. The latest entries are kept in memory; with a file they
//! outlive the process, as lines of JSON, in at most two files. The settlement itself is also in the
//! record's own history. Entries hold ids, never keys, credentials or bodies (SEC-04).

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Decisions kept in memory; older ones make room.
pub const AUDIT_ENTRIES_MAX: usize = 1000;
/// Bytes of the file, after which it becomes `NAME.1` and a new one begins.
pub const AUDIT_FILE_BYTES_MAX: u64 = 8 << 20;
/// Bytes at the end of the file that are read when it is opened.
const TAIL_BYTES_MAX: u64 = 1 << 20;

/// The decisions of operators. Cheap to clone; clones share everything.
#[derive(Clone, Debug, Default)]
pub struct AuditLog {
    entries: Arc<Mutex<VecDeque<Entry>>>,
    file: Option<Arc<Mutex<LogFile>>>,
}

/// What somebody asked for.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Decision {
    /// `settle` or `purge`.
    pub action: String,
    /// From which address.
    pub by: String,
    /// Whether a purge was forced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Of a settlement: `executed` or `not-executed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Why, in the operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The id that was named.
    pub record: String,
    /// The status that retries are to get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// A decision and what came of it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Entry {
    /// When it was asked for, in microseconds since the epoch by this process's clock; unique.
    pub at_micros: u64,
    /// What was asked for.
    #[serde(flatten)]
    pub decision: Decision,
    /// `asked` while the result is not known, `done`, `repeated`, or the code of the problem.
    pub result: String,
}

#[derive(Debug)]
struct LogFile {
    bytes: u64,
    file: File,
    path: PathBuf,
}

impl AuditLog {
    /// A log that ends with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// A log that goes on from the file at `path`, which is made if it is not there, for this user
    /// alone. Blocks while it reads the end of the file.
    ///
    /// # Errors
    /// Whatever the operating system says of the file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = open(path)?;
        let bytes = file.metadata()?.len();
        let entries = read_tail(&mut file, bytes)?;
        let log = LogFile { bytes, file, path: path.to_owned() };
        Ok(Self { entries: Arc::new(Mutex::new(entries)), file: Some(Arc::new(Mutex::new(log))) })
    }

    /// The latest decisions, newest first.
    #[must_use]
    pub fn latest(&self, limit: usize) -> Vec<Entry> {
        self.entries().iter().rev().take(limit).cloned().collect()
    }

    /// Whether decisions outlive the process.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        self.file.is_some()
    }

    /// Writes down what is about to be done, and answers the number to finish it by.
    ///
    /// # Errors
    /// The file cannot be written: the decision must not be carried out.
    pub async fn ask(&self, decision: Decision) -> io::Result<u64> {
        let entry = {
            let mut entries = self.entries();
            let after = entries.back().map_or(0, |entry| entry.at_micros.saturating_add(1));
            let entry = Entry { at_micros: now().max(after), decision, result: "asked".to_owned() };
            entries.push_back(entry.clone());
            if entries.len() > AUDIT_ENTRIES_MAX {
                entries.pop_front();
            }
            entry
        };
        tracing::info!(
            action = entry.decision.action,
            record = entry.decision.record,
            by = entry.decision.by,
            "an operator decides"
        );
        match self.write(&entry).await {
            Ok(()) => Ok(entry.at_micros),
            Err(error) => {
                self.note(entry.at_micros, "audit-unavailable");
                Err(error)
            }
        }
    }

    /// Writes down what came of it. A file that cannot be written now is logged as an error.
    pub async fn finish(&self, number: u64, result: &str) {
        let Some(entry) = self.note(number, result) else { return };
        tracing::info!(record = entry.decision.record, result, "an operator's decision is over");
        if let Err(error) = self.write(&entry).await {
            tracing::error!(%error, record = entry.decision.record, "failed to write the audit file");
        }
    }

    fn note(&self, number: u64, result: &str) -> Option<Entry> {
        let mut entries = self.entries();
        let entry = entries.iter_mut().rev().find(|entry| entry.at_micros == number)?;
        result.clone_into(&mut entry.result);
        Some(entry.clone())
    }

    async fn write(&self, entry: &Entry) -> io::Result<()> {
        let Some(file) = self.file.clone() else { return Ok(()) };
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let written = tokio::task::spawn_blocking(move || {
            file.lock().unwrap_or_else(PoisonError::into_inner).append(&line)
        });
        written.await.map_err(io::Error::other)?
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogFile {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.bytes + line.len() as u64 > AUDIT_FILE_BYTES_MAX {
            let mut full = self.path.clone().into_os_string();
            full.push(".1");
            std::fs::rename(&self.path, full)?;
            self.file = open(&self.path)?;
            self.bytes = 0;
        }
        self.file.write_all(line)?;
        self.bytes += line.len() as u64;
        self.file.sync_data()
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// The entries at the end of a file; a later line of one decision replaces the earlier. A line that
/// is torn, or cut by the beginning of the tail, is passed over.
fn read_tail(file: &mut File, bytes: u64) -> io::Result<VecDeque<Entry>> {
    let from = bytes.saturating_sub(TAIL_BYTES_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    (&mut *file).take(TAIL_BYTES_MAX).read_to_end(&mut tail)?;
    if tail.last().is_some_and(|last| *last != b'\n') {
        // What is written next must not continue a torn line.
        file.write_all(b"\n")?;
    }
    let lines = tail.split(|byte| *byte == b'\n');
    let entries = lines.filter_map(|line| serde_json::from_slice::<Entry>(line).ok());
    let by_number: BTreeMap<u64, Entry> = entries.map(|entry| (entry.at_micros, entry)).collect();
    let excess = by_number.len().saturating_sub(AUDIT_ENTRIES_MAX);
    Ok(by_number.into_values().skip(excess).collect())
}

fn now() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(record: usize) -> Decision {
        Decision {
            action: "settle".to_owned(),
            by: "127.0.0.1:1".to_owned(),
            record: record.to_string(),
            ..Decision::default()
        }
    }

    #[tokio::test]
    async fn adm_03_decisions_outlive_the_process_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let log = AuditLog::open(&path).unwrap();
        let first = log.ask(decision(1)).await.unwrap();
        log.finish(first, "done").await;
        log.ask(decision(2)).await.unwrap();
        drop(log);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"at_micros\":1,\"torn").unwrap();
        let log = AuditLog::open(&path).unwrap();
        let third = log.ask(decision(3)).await.unwrap();
        log.finish(third, "superseded").await;
        let log = AuditLog::open(&path).unwrap();
        let latest = log.latest(10);
        let told: Vec<_> =
            latest.iter().map(|entry| (&*entry.decision.record, &*entry.result)).collect();
        assert_eq!(told, [("3", "superseded"), ("2", "asked"), ("1", "done")]);
        assert!(log.is_durable());
    }

    #[tokio::test]
    async fn old_entries_make_room_and_numbers_stay_unique() {
        let log = AuditLog::in_memory();
        for record in 0..=AUDIT_ENTRIES_MAX {
            log.ask(decision(record)).await.unwrap();
        }
        let latest = log.latest(usize::MAX);
        assert_eq!(latest.len(), AUDIT_ENTRIES_MAX);
        assert!(latest.windows(2).all(|pair| pair[0].at_micros > pair[1].at_micros));
        assert_eq!(latest.last().unwrap().decision.record, "1");
    }

    #[tokio::test]
    async fn a_full_file_makes_room_for_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let log = AuditLog::open(&path).unwrap();
        if let Some(file) = &log.file {
            file.lock().unwrap().bytes = AUDIT_FILE_BYTES_MAX;
        }
        log.ask(decision(1)).await.unwrap();
        assert!(folder.path().join("audit.jsonl.1").exists());
        assert_eq!(AuditLog::open(&path).unwrap().latest(10).len(), 1);
    }

    #[tokio::test]
    async fn a_decision_that_cannot_be_written_down_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let log = AuditLog::open(&path).unwrap();
        if let Some(file) = &log.file {
            // Opened to read: nothing can be appended.
            file.lock().unwrap().file = File::open(&path).unwrap();
        }
        assert!(log.ask(decision(1)).await.is_err());
        assert_eq!(log.latest(1)[0].result, "audit-unavailable");
    }
}
