//! Fills a shared store with copies of a record that a gateway made there: by the store's own means,
//! as a million requests would take minutes.

use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::backend::{Postgres, Redis, pack};

/// Records that are loaded first, to find the pace; they outlive every measurement.
const SAMPLE: u64 = 20_000;
const SAMPLE_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// The records expire evenly over this time.
pub(super) const SPREAD: Duration = Duration::from_secs(10);

/// Redis makes so many records in one go, and has so many goes in its queue.
const SCRIPT_RECORDS: u64 = 1_000;
const SCRIPTS_QUEUED: u64 = 4;

/// KEYS: none, which is for servers on their own. ARGV: the beginning of the keys, the number of the
/// first and how many, when the first expires and how far they are apart (both in microseconds), then
/// the fields that are the same in all.
const COPY: &str = "\
local fields = {}
for i = 6, #ARGV do fields[i - 5] = ARGV[i] end
local at = #fields + 1
fields[at] = 'expires_at'
for i = 0, ARGV[3] - 1 do
    local number = ARGV[2] + i
    local key = ARGV[1] .. redis.sha1hex(number) .. string.format('%024d', number) .. '}'
    local expires_at = ARGV[4] + i * ARGV[5]
    fields[at + 1] = string.format('%.0f', expires_at)
    redis.call('HSET', key, unpack(fields))
    redis.call('PEXPIREAT', key, string.format('%.0f', math.ceil(expires_at / 1000) + 1000))
end
return 'done'";

/// Records to be made, and when they expire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    first: u64,
    count: u64,
    expires_at: SystemTime,
}

impl Batch {
    /// The first few, which tell the pace.
    pub(super) fn sample(records: u64) -> Self {
        let expires_at = SystemTime::now() + SAMPLE_LIFE;
        Self { first: 0, count: SAMPLE.min(records), expires_at }
    }

    /// All others.
    pub(super) fn rest(records: u64, expires_at: SystemTime) -> Self {
        let first = SAMPLE.min(records);
        Self { first, count: records - first, expires_at }
    }

    pub(super) fn count(self) -> u64 {
        self.count
    }

    /// Microseconds since 1970, and between two records.
    fn micros(self) -> (u128, u128) {
        let since = self.expires_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        (since.as_micros(), SPREAD.as_micros() / u128::from(self.count.max(1)))
    }
}

/// Copies the only record of a schema by one statement; returns how long that took.
pub(super) fn postgres(server: &Postgres, schema: &str, batch: Batch) -> io::Result<Duration> {
    let columns = server.ask(&format!(
        "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute \
         WHERE attrelid = '{schema}.record'::regclass AND attnum > 0 AND NOT attisdropped \
         AND attname NOT IN ('id', 'expires_at')"
    ))?;
    let (expires_at, step) = batch.micros();
    let (first, last) = (batch.first + 1, batch.first + batch.count);
    let start = Instant::now();
    server.ask(&format!(
        "INSERT INTO {schema}.record (id, expires_at, {columns}) \
         SELECT sha256(int8send(n)), {expires_at} + (n - {first}) * {step}, {columns} \
         FROM (SELECT * FROM {schema}.record LIMIT 1) AS r, generate_series({first}, {last}) AS n"
    ))?;
    Ok(start.elapsed())
}

/// What a server that had the time would have done: the statistics are there, and the pages are
/// written.
pub(super) fn settle_postgres(server: &Postgres, schema: &str) -> io::Result<()> {
    server.ask(&format!("VACUUM (ANALYZE) {schema}.record"))?;
    server.ask("CHECKPOINT").map(|_nothing| ())
}

/// Makes records with these fields by a script; returns how long that took.
pub(super) fn redis(
    server: &Redis,
    prefix: &str,
    record: &[Vec<u8>],
    batch: Batch,
) -> io::Result<Duration> {
    let fields: Vec<&[u8]> = record
        .chunks_exact(2)
        .filter(|pair| pair[0] != b"expires_at")
        .flatten()
        .map(Vec::as_slice)
        .collect();
    let start = Instant::now();
    let (mut wire, mut queued) = (server.wire()?, 0);
    let (expires_at, step) = batch.micros();
    for first in (0..batch.count).step_by(SCRIPT_RECORDS as usize) {
        let count = SCRIPT_RECORDS.min(batch.count - first);
        let expires_at = expires_at + u128::from(first) * step;
        let words = [
            "EVAL".to_owned(),
            COPY.to_owned(),
            "0".to_owned(),
            format!("{prefix}:{{"),
            (batch.first + first).to_string(),
            count.to_string(),
            expires_at.to_string(),
            step.to_string(),
        ];
        let mut bytes = Vec::new();
        let words: Vec<&[u8]> =
            words.iter().map(String::as_bytes).chain(fields.iter().copied()).collect();
        pack(&mut bytes, &words);
        wire.send(&bytes)?;
        queued += 1;
        if queued == SCRIPTS_QUEUED {
            wire.read()?;
            queued -= 1;
        }
    }
    for _ in 0..queued {
        wire.read()?;
    }
    Ok(start.elapsed())
}
