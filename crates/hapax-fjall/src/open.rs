//! Opening: from a path to a running store, or one sentence why not.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;

use fjall::{Database, Keyspace, PersistMode};
use hapax::{Phase, Record, RecordId, Secret, StoreError, Timestamp, codec};

use crate::buckets::{Bucket, Buckets, decode};
use crate::clock::StoreClock;
use crate::error::OpenError;
use crate::folder::{Folder, Label, sync_folder};
use crate::hint::Recent;
use crate::janitor;
use crate::journal::{self, JournalError};
use crate::ledger::Ledger;
use crate::open_records::OpenRecords;
use crate::options::FileOptions;
use crate::schema::{
    META, OPEN, TURN, TurnMark, bucket_end, bucket_name, count_end, small_options,
};
use crate::store::FileStore;
use crate::writer::{Shared, Writer};

/// Journals on disk at most, in bytes: what has to be read again after a crash.
const JOURNALS_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Threads that write tables. With more than one, the library lets one of them spin while the other
/// works; one keeps up with what the journal takes in.
const TABLE_THREADS: usize = 1;

pub(crate) fn open(path: &Path, options: FileOptions) -> Result<FileStore, OpenError> {
    let folder = Folder::take(path)?;
    let (label, secret) = label(path, &folder, &options)?;
    let data = folder.data();
    // The library asserts that its own files make sense; a damaged folder must not end the process.
    let database = catch_unwind(AssertUnwindSafe(|| {
        if label.is_ready {
            existing(path, &data, &options)
        } else {
            created(path, &data, &options)
        }
    }));
    let database = database.unwrap_or_else(|_panic| {
        Err(OpenError::damaged(path, "the library stopped while reading it"))
    })?;
    if !label.is_ready {
        folder.set_label(&Label { is_ready: true, ..label })?;
    }
    start(path, folder, database, secret, options)
}

/// What the folder is, or from now on will be; and the secret.
fn label(
    path: &Path,
    folder: &Folder,
    options: &FileOptions,
) -> Result<(Label, Secret), OpenError> {
    let known = folder.label()?;
    let made = match (&options.secret, &known) {
        (Some(_), _) => None,
        (None, Some(label)) => {
            Some(label.secret.ok_or_else(|| OpenError::Refused { path: path.to_owned() })?)
        }
        (None, None) => Some(random(path)?),
    };
    let made_here = made.as_ref().map_or(&[][..], <[u8; 32]>::as_slice);
    let secret = Secret::new(options.secret.as_deref().unwrap_or(made_here));
    let digest = secret.digest(b"file store", &[options.scope_rules.as_bytes()]);
    let label = match known {
        Some(label) if label.digest != digest => {
            return Err(OpenError::Refused { path: path.to_owned() });
        }
        Some(label) => label,
        None => {
            let label = Label { digest, is_ready: false, secret: made };
            folder.set_label(&label)?;
            label
        }
    };
    Ok((label, secret))
}

fn random(path: &Path) -> Result<[u8; 32], OpenError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| OpenError::Unusable { path: path.to_owned(), source: Box::new(error) })?;
    Ok(bytes)
}

/// A new database. Nothing of an interrupted first start is worth keeping.
fn created(path: &Path, data: &Path, options: &FileOptions) -> Result<Database, OpenError> {
    if data.exists() {
        std::fs::remove_dir_all(data).map_err(|error| OpenError::io(path, error))?;
    }
    let make = || {
        let database = library(data, options)?;
        database.keyspace(META, small_options)?;
        database.keyspace(OPEN, small_options)?;
        database.persist(PersistMode::SyncAll)?;
        sync_folder(&data.join("keyspaces"))?;
        sync_folder(data)?;
        sync_folder(path)?;
        Ok(database)
    };
    make().map_err(|error| OpenError::library(path, error))
}

/// The database that was made before. The library would make a new one where its own files are
/// missing; that must never be.
fn existing(path: &Path, data: &Path, options: &FileOptions) -> Result<Database, OpenError> {
    let failed = |error| OpenError::library(path, error);
    for name in ["version", "keyspaces", "lock"] {
        if !data.join(name).exists() {
            return Err(OpenError::damaged(path, format!("data/{name} is missing")));
        }
    }
    journal::check(data).map_err(|error| match error {
        JournalError::Damaged(what) => OpenError::damaged(path, what),
        JournalError::Io(error) => OpenError::io(path, error),
    })?;
    let database = library(data, options).map_err(failed)?;
    for name in [META, OPEN] {
        if !database.keyspace_exists(name) {
            return Err(OpenError::damaged(path, format!("its keyspace {name} is missing")));
        }
    }
    Ok(database)
}

fn library(data: &Path, options: &FileOptions) -> fjall::Result<Database> {
    Database::builder(data)
        .cache_size(options.read_memory_bytes)
        .manual_journal_persist(true)
        .max_journaling_size(JOURNALS_BYTES_MAX)
        .worker_threads(TABLE_THREADS)
        .open()
}

/// Reads what the writer must know and starts the threads.
fn start(
    path: &Path,
    folder: Folder,
    database: Database,
    secret: Secret,
    options: FileOptions,
) -> Result<FileStore, OpenError> {
    let failed = |error| OpenError::library(path, error);
    let meta = database.keyspace(META, small_options).map_err(failed)?;
    let open_keyspace = database.keyspace(OPEN, small_options).map_err(failed)?;
    let mark = read_mark(path, &meta)?;
    let counts = read_counts(path, &meta)?;
    let buckets = Arc::new(read_buckets(path, &database, &counts)?);
    let records = read_open(path, &open_keyspace)?;
    let highest = mark.into_iter().map(|mark| mark.now).chain(records.iter().map(highest)).max();
    let clock = Arc::new(StoreClock::start(options.clock, highest));
    let turn = mark.map_or(0, |mark| mark.turn);
    let mut ledger = Ledger {
        buckets: buckets.clone(),
        clock: clock.clone(),
        counts,
        database: database.clone(),
        durability: options.durability,
        looked_to: None,
        meta,
        open: OpenRecords::default(),
        open_keyspace: open_keyspace.clone(),
        recent: Recent::default(),
        records_max: options.records_max,
        swept_unreported: 0,
        synced: mark.map_or(0, |mark| mark.synced),
        turn,
    };
    lapse(&mut ledger, records).map_err(failed)?;
    let shared = Arc::new(Shared::default());
    shared.turn.store(turn, Ordering::Release);
    let (to_janitor, from_writer) = mpsc::channel();
    let writer = Writer::new(ledger, shared.clone(), to_janitor);
    let spawn_failed = |error| OpenError::io(path, error);
    let janitor = {
        let database = database.clone();
        let run = move || janitor::run(&database, &from_writer);
        thread::Builder::new().name("hapax-janitor".into()).spawn(run).map_err(spawn_failed)?
    };
    let writer = thread::Builder::new()
        .name("hapax-writer".into())
        .spawn(move || writer.run())
        .map_err(spawn_failed)?;
    Ok(FileStore {
        buckets,
        clock,
        database,
        durability: options.durability,
        folder,
        open_keyspace,
        path: path.to_owned(),
        secret,
        shared,
        threads: vec![writer, janitor],
    })
}

fn read_mark(path: &Path, meta: &Keyspace) -> Result<Option<TurnMark>, OpenError> {
    let Some(bytes) = meta.get(TURN).map_err(|error| OpenError::library(path, error))? else {
        return Ok(None);
    };
    let mark = TurnMark::decode(&bytes);
    mark.map(Some).ok_or_else(|| OpenError::damaged(path, "its last turn is not legal"))
}

fn read_counts(path: &Path, meta: &Keyspace) -> Result<BTreeMap<Timestamp, u64>, OpenError> {
    let mut counts = BTreeMap::new();
    for entry in meta.iter() {
        let (key, value) = entry.into_inner().map_err(|error| OpenError::library(path, error))?;
        if let Some(end) = count_end(&key) {
            let count = value.first_chunk().copied().map(u64::from_le_bytes);
            let count = count.ok_or_else(|| OpenError::damaged(path, "a count is not legal"))?;
            counts.insert(end, count);
        }
    }
    Ok(counts)
}

/// The live buckets: those that are counted. Others were being made or dropped when the process
/// ended, and hold nothing that anyone was told of.
fn read_buckets(
    path: &Path,
    database: &Database,
    counts: &BTreeMap<Timestamp, u64>,
) -> Result<Buckets, OpenError> {
    let failed = |error| OpenError::library(path, error);
    let buckets = Buckets::default();
    for name in database.list_keyspace_names() {
        let Some(end) = bucket_end(&name) else {
            continue;
        };
        let keyspace = database.keyspace(&name, small_options).map_err(failed)?;
        if counts.contains_key(&end) {
            buckets.insert(Bucket { end, filter: None, keyspace });
        } else {
            database.delete_keyspace(keyspace).map_err(failed)?;
        }
    }
    for end in counts.keys() {
        if !buckets.live().iter().any(|bucket| bucket.end == *end) {
            let reason = format!("its keyspace {} is missing", bucket_name(*end));
            return Err(OpenError::damaged(path, reason));
        }
    }
    Ok(buckets)
}

fn read_open(path: &Path, open: &Keyspace) -> Result<Vec<Record>, OpenError> {
    let mut records = Vec::new();
    for entry in open.iter() {
        let (key, value) = entry.into_inner().map_err(|error| OpenError::library(path, error))?;
        let Ok(id) = <[u8; 32]>::try_from(key.as_ref()) else {
            return Err(OpenError::damaged(path, "a key has the wrong length"));
        };
        let record = decode(RecordId::from_bytes(id), value);
        records.push(*record.map_err(|error: StoreError| OpenError::damaged(path, error))?);
    }
    Ok(records)
}

/// The latest time in an open record that has already been. A lease's end is not among them.
fn highest(record: &Record) -> Timestamp {
    match &record.phase {
        Phase::InDoubt { since, .. } => *since,
        Phase::Completed { at, .. } | Phase::Released { at, .. } => *at,
        Phase::InProgress { .. } => record.claimed_at,
    }
}

/// Claims of an earlier process lapse now (ruling 9): whoever held them is gone with it. The only
/// change of a record that is no step of the machine: the lease's end moves to the present.
fn lapse(ledger: &mut Ledger, records: Vec<Record>) -> fjall::Result<()> {
    let now = ledger.clock.now();
    let mut batch = ledger.database.batch().durability(Some(PersistMode::SyncData));
    for mut record in records {
        if let Phase::InProgress { until, .. } = &mut record.phase
            && *until > now
        {
            *until = now;
            let value = codec::encode(&record);
            batch.insert(&ledger.open_keyspace, record.id.as_bytes(), value);
        }
        ledger.open.put(Box::new(record));
    }
    if !batch.is_empty() {
        let mark = TurnMark { now, synced: ledger.synced, turn: ledger.turn };
        batch.insert(&ledger.meta, TURN, mark.encode());
    }
    batch.commit()
}
