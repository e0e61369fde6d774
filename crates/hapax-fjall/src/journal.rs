//! Looks through the library's journals before the library does.
//!
//! At recovery the library takes the first entry that makes no sense for the end of the journal and
//! cuts it there. After a crash that is right: the last batch may be torn. On a damaged disk it would
//! forget, in silence, what was synced and answered. Two things tell the cases apart: whether a whole
//! batch follows the broken one, and what that batch says had been synced before it.
//!
//! A torn end that the library would refuse to read (a page in the middle of the last batch missing)
//! is cut here.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use crate::schema::{TURN, TurnMark};

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
/// What ends every batch, and the library's format version in it.
const TRAILER: &[u8] = b"FJL\x03";

/// Why the journals may not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error("{0}")]
    Damaged(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Checks all journals in `data`, oldest first, and cuts a torn end off the last.
///
/// Reads each of them into memory, one at a time: some hundred megabytes at most.
pub(crate) fn check(data: &Path) -> Result<(), JournalError> {
    let journals = list(data)?;
    let mut last_mark = None;
    for (n, path) in journals.iter().enumerate() {
        let is_last = n + 1 == journals.len();
        let bytes = fs::read(path)?;
        let valid = read_batches(&bytes, &mut last_mark)
            .map_err(|what| JournalError::Damaged(format!("{}: {what}", name(path))))?;
        let rest = &bytes[valid..];
        if is_empty(rest) {
            continue;
        }
        // All but the last were synced whole before the next was begun.
        if !is_last || was_synced(rest, last_mark) {
            let what = format!("{}: unreadable at byte {valid}, before its end", name(path));
            return Err(JournalError::Damaged(what));
        }
        tracing::warn!(
            journal = name(path),
            at = valid,
            "cutting off what was being written when the process or the machine stopped"
        );
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(valid as u64)?;
        file.sync_all()?;
    }
    Ok(())
}

fn list(data: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            let Some(number) = number else {
                return Err(JournalError::Damaged(format!("{} is no journal", name(&path))));
            };
            journals.push((number, path));
        }
    }
    if journals.is_empty() {
        return Err(JournalError::Damaged("its journal is missing".to_owned()));
    }
    journals.sort();
    Ok(journals.into_iter().map(|(_, path)| path).collect())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether nothing is written there: journals are made long and empty.
fn is_empty(bytes: &[u8]) -> bool {
    const PAGE: [u8; 4096] = [0; 4096];
    bytes.chunks(PAGE.len()).all(|chunk| *chunk == PAGE[..chunk.len()])
}

/// Reads whole batches from the front and answers where they end. Turns must follow one another,
/// from journal to journal too.
fn read_batches(bytes: &[u8], last: &mut Option<TurnMark>) -> Result<usize, String> {
    let mut at = 0;
    while let Some(batch) = Batch::parse(&bytes[at..]) {
        at += batch.length;
        if let Some(mark) = batch.mark {
            if let Some(last) = last
                && !(last.turn..=last.turn + 1).contains(&mark.turn)
            {
                return Err(format!("turn {} follows turn {}", mark.turn, last.turn));
            }
            *last = Some(mark);
        }
    }
    Ok(at)
}

/// Whether a whole batch somewhere in `rest` says that the turn after `last` had been synced when it
/// was written. Then what is broken was whole once, and has been damaged since.
fn was_synced(rest: &[u8], last: Option<TurnMark>) -> bool {
    let last = last.map_or(0, |mark| mark.turn);
    if !rest.windows(TRAILER.len()).any(|window| window == TRAILER) {
        return false;
    }
    (0..rest.len())
        .filter(|at| rest[*at] == START)
        .filter_map(|at| Batch::parse(&rest[at..])?.mark)
        .any(|mark| mark.synced > last)
}

/// One whole batch at the front of some bytes.
struct Batch {
    length: usize,
    mark: Option<TurnMark>,
}

impl Batch {
    /// `None` if what is there is not a whole batch with a right checksum.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { at: 0, bytes };
        if reader.u8()? != START {
            return None;
        }
        let count = reader.u32()?;
        let _sequence = reader.u64()?;
        let items = reader.at;
        let mut mark = None;
        for _ in 0..count {
            let (key, value) = reader.item()?;
            if key == TURN {
                mark = TurnMark::decode(value);
            }
        }
        let checksum = xxh3_64(&bytes[items..reader.at]);
        if reader.u8()? != END || reader.u64()? != checksum {
            return None;
        }
        (reader.take(TRAILER.len())? == TRAILER).then_some(Self { length: reader.at, mark })
    }
}

struct Reader<'a> {
    at: usize,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.first_chunk().copied()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Key and value of one item. Nothing is compressed, and keyspaces are never cleared.
    fn item(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        if self.u8()? != ITEM {
            return None;
        }
        let _value_type = self.u8()?;
        let compression = self.u8()?;
        let _keyspace = self.u64()?;
        let key = usize::from(self.array().map(u16::from_le_bytes)?);
        let value = self.u32()?;
        let on_disk = self.u32()?;
        if compression != 0 || value != on_disk {
            return None;
        }
        Some((self.take(key)?, self.take(usize::try_from(on_disk).ok()?)?))
    }
}
