//! Bytes of a record, for stores that keep one value per key.
//!
//! One version byte, then fixed-width little-endian integers and length-prefixed strings. Old
//! versions are read for ever; golden files beside the tests hold one of each. Decoding borrows
//! bodies and headers from the buffer, so that a replay copies nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};

use crate::fingerprint::Fingerprint;
use crate::lease::{AttemptId, Fence};
use crate::record::{Cause, Entry, History, OnLapse, Phase, Record, Settler, What};
use crate::response::{Field, Kept, RecordedResponse};
use crate::scope::RecordId;
use crate::time::Timestamp;

/// The version that [`encode`] writes.
pub const CODEC_VERSION: u8 = 1;

/// Why bytes are no record. The store is damaged, or newer than this release.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CodecError {
    /// A part has a value that means nothing.
    #[error("the record's {0} is not legal")]
    Illegal(&'static str),
    /// Bytes are left over.
    #[error("the record is longer than it says")]
    Long,
    /// Bytes are missing.
    #[error("the record is cut short")]
    Short,
    /// Another release wrote it.
    #[error("the record has version {0}, which this release cannot read")]
    Version(u8),
}

/// The bytes of a record, its id left out: that is the store's key.
#[must_use]
pub fn encode(record: &Record) -> Vec<u8> {
    let body = match &record.phase {
        Phase::Completed { kept: Kept::Response(response), .. } => response.size() + 256,
        Phase::Completed { .. }
        | Phase::InDoubt { .. }
        | Phase::InProgress { .. }
        | Phase::Released { .. } => 64,
    };
    let mut out = Vec::with_capacity(256 + record.route.len() + body);
    out.put_u8(CODEC_VERSION);
    out.put_u8(record.fingerprint.version());
    out.put_slice(record.fingerprint.digest());
    out.put_slice(record.attempt.as_bytes());
    out.put_u32_le(record.attempts);
    out.put_u64_le(record.fence.value());
    out.put_u64_le(record.created_at.as_micros());
    out.put_u64_le(record.claimed_at.as_micros());
    put_option(&mut out, record.expires_at.map(Timestamp::as_micros));
    put_option(&mut out, record.unknown_retention.map(micros));
    put_on_lapse(&mut out, record.on_lapse);
    put_bytes(&mut out, record.route.as_bytes());
    put_history(&mut out, &record.history);
    put_phase(&mut out, &record.phase);
    out
}

/// The record that `bytes` hold under `id`.
///
/// # Errors
/// [`CodecError`]; never panics, whatever the bytes.
pub fn decode(id: RecordId, bytes: Bytes) -> Result<Record, CodecError> {
    let mut input = Reader(bytes);
    let version = input.u8()?;
    if version != CODEC_VERSION {
        return Err(CodecError::Version(version));
    }
    let fingerprint = Fingerprint::from_parts(input.u8()?, input.array()?);
    let attempt = AttemptId::from_bytes(input.array()?);
    let attempts = input.u32()?;
    let fence = Fence::new(input.u64()?);
    let created_at = input.timestamp()?;
    let claimed_at = input.timestamp()?;
    let expires_at = input.option()?.map(Timestamp::from_micros);
    let unknown_retention = input.option()?.map(Duration::from_micros);
    let on_lapse = input.on_lapse()?;
    let route = input.bytes()?;
    let route = std::str::from_utf8(&route).map_err(|_error| CodecError::Illegal("route"))?;
    let route = Arc::from(route);
    let history = input.history()?;
    let phase = input.phase()?;
    if !input.0.is_empty() {
        return Err(CodecError::Long);
    }
    Ok(Record {
        attempt,
        attempts,
        claimed_at,
        created_at,
        expires_at,
        fence,
        fingerprint,
        history,
        id,
        on_lapse,
        phase,
        route,
        unknown_retention,
    })
}

/// The bytes of an answer alone, for stores that keep it in a column of its own.
#[must_use]
pub fn encode_kept(kept: &Kept) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u8(CODEC_VERSION);
    put_kept(&mut out, kept);
    out
}

/// The answer that [`encode_kept`] wrote.
///
/// # Errors
/// [`CodecError`]; never panics, whatever the bytes.
pub fn decode_kept(bytes: Bytes) -> Result<Kept, CodecError> {
    let mut input = Reader(bytes);
    let version = input.u8()?;
    if version != CODEC_VERSION {
        return Err(CodecError::Version(version));
    }
    let kept = input.kept()?;
    if input.0.is_empty() { Ok(kept) } else { Err(CodecError::Long) }
}

/// The bytes of a history alone.
#[must_use]
pub fn encode_history(history: &History) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u8(CODEC_VERSION);
    put_history(&mut out, history);
    out
}

/// The history that [`encode_history`] wrote.
///
/// # Errors
/// [`CodecError`]; never panics, whatever the bytes.
pub fn decode_history(bytes: Bytes) -> Result<History, CodecError> {
    let mut input = Reader(bytes);
    let version = input.u8()?;
    if version != CODEC_VERSION {
        return Err(CodecError::Version(version));
    }
    input.history()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn put_option(out: &mut Vec<u8>, value: Option<u64>) {
    out.put_u8(u8::from(value.is_some()));
    if let Some(value) = value {
        out.put_u64_le(value);
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    // Nothing that is kept comes near four gigabytes: every part has a limit far below.
    out.put_u32_le(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
}

fn put_status(out: &mut Vec<u8>, status: Option<u16>) {
    out.put_u16_le(status.unwrap_or(0));
}

fn put_on_lapse(out: &mut Vec<u8>, on_lapse: OnLapse) {
    match on_lapse {
        OnLapse::Doubt => out.put_u8(0),
        OnLapse::Reclaim { after, attempts_max } => {
            out.put_u8(1);
            out.put_u64_le(micros(after));
            out.put_u32_le(attempts_max);
        }
    }
}

fn put_history(out: &mut Vec<u8>, history: &History) {
    out.put_u8(u8::try_from(history.entries().len()).unwrap_or(u8::MAX));
    for entry in history.entries() {
        out.put_u64_le(entry.at.as_micros());
        out.put_u32_le(entry.attempt);
        match entry.what {
            What::Claimed => out.put_u8(0),
            What::Completed { by, status } => {
                out.put_u8(1);
                out.put_u8(settler_code(by));
                out.put_u16_le(status);
            }
            What::Doubted { cause } => {
                out.put_u8(2);
                out.put_u8(cause_code(cause));
            }
            What::Released { by, status } => {
                out.put_u8(3);
                out.put_u8(settler_code(by));
                put_status(out, status);
            }
        }
    }
}

fn put_phase(out: &mut Vec<u8>, phase: &Phase) {
    match phase {
        Phase::Completed { at, kept } => {
            out.put_u8(0);
            out.put_u64_le(at.as_micros());
            put_kept(out, kept);
        }
        Phase::InDoubt { cause, progress, since } => {
            out.put_u8(1);
            out.put_u8(cause_code(*cause));
            out.put_u64_le(since.as_micros());
            put_progress(out, progress.as_ref());
        }
        Phase::InProgress { progress, rerun_of, until } => {
            out.put_u8(2);
            out.put_u64_le(until.as_micros());
            put_status(out, *rerun_of);
            put_progress(out, progress.as_ref());
        }
        Phase::Released { at, status } => {
            out.put_u8(3);
            out.put_u64_le(at.as_micros());
            put_status(out, *status);
        }
    }
}

fn put_progress(out: &mut Vec<u8>, progress: Option<&Bytes>) {
    out.put_u8(u8::from(progress.is_some()));
    if let Some(progress) = progress {
        put_bytes(out, progress);
    }
}

fn put_kept(out: &mut Vec<u8>, kept: &Kept) {
    match kept {
        Kept::NotRetained { location, status } => {
            out.put_u8(0);
            out.put_u16_le(*status);
            put_progress(out, location.as_ref());
        }
        Kept::Response(response) => {
            out.put_u8(1);
            out.put_u16_le(response.status);
            put_fields(out, &response.headers);
            put_fields(out, &response.trailers);
            put_bytes(out, &response.body);
        }
    }
}

fn put_fields(out: &mut Vec<u8>, fields: &[Field]) {
    out.put_u16_le(u16::try_from(fields.len()).unwrap_or(u16::MAX));
    for field in fields.iter().take(usize::from(u16::MAX)) {
        put_bytes(out, &field.name);
        put_bytes(out, &field.value);
    }
}

const fn settler_code(settler: Settler) -> u8 {
    match settler {
        Settler::Operator => 0,
        Settler::Owner => 1,
    }
}

const fn cause_code(cause: Cause) -> u8 {
    match cause {
        Cause::Cut => 0,
        Cause::Drained => 1,
        Cause::Lost => 2,
        Cause::Panicked => 3,
        Cause::Reported => 4,
        Cause::TimedOut => 5,
    }
}

struct Reader(Bytes);

impl Reader {
    fn need(&self, count: usize) -> Result<(), CodecError> {
        if self.0.len() < count { Err(CodecError::Short) } else { Ok(()) }
    }

    fn u8(&mut self) -> Result<u8, CodecError> {
        self.need(1)?;
        Ok(self.0.get_u8())
    }

    fn u16(&mut self) -> Result<u16, CodecError> {
        self.need(2)?;
        Ok(self.0.get_u16_le())
    }

    fn u32(&mut self) -> Result<u32, CodecError> {
        self.need(4)?;
        Ok(self.0.get_u32_le())
    }

    fn u64(&mut self) -> Result<u64, CodecError> {
        self.need(8)?;
        Ok(self.0.get_u64_le())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        self.need(N)?;
        let mut bytes = [0; N];
        self.0.copy_to_slice(&mut bytes);
        Ok(bytes)
    }

    fn bytes(&mut self) -> Result<Bytes, CodecError> {
        let length = self.u32()? as usize;
        self.need(length)?;
        Ok(self.0.split_to(length))
    }

    fn timestamp(&mut self) -> Result<Timestamp, CodecError> {
        self.u64().map(Timestamp::from_micros)
    }

    fn flag(&mut self) -> Result<bool, CodecError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(CodecError::Illegal("flag")),
        }
    }

    fn option(&mut self) -> Result<Option<u64>, CodecError> {
        if self.flag()? { self.u64().map(Some) } else { Ok(None) }
    }

    fn optional_bytes(&mut self) -> Result<Option<Bytes>, CodecError> {
        if self.flag()? { self.bytes().map(Some) } else { Ok(None) }
    }

    fn status(&mut self) -> Result<Option<u16>, CodecError> {
        Ok(Some(self.u16()?).filter(|status| *status != 0))
    }

    fn settler(&mut self) -> Result<Settler, CodecError> {
        match self.u8()? {
            0 => Ok(Settler::Operator),
            1 => Ok(Settler::Owner),
            _ => Err(CodecError::Illegal("settler")),
        }
    }

    fn cause(&mut self) -> Result<Cause, CodecError> {
        let code = usize::from(self.u8()?);
        Cause::ALL.get(code).copied().ok_or(CodecError::Illegal("cause"))
    }

    fn on_lapse(&mut self) -> Result<OnLapse, CodecError> {
        match self.u8()? {
            0 => Ok(OnLapse::Doubt),
            1 => {
                let after = Duration::from_micros(self.u64()?);
                Ok(OnLapse::Reclaim { after, attempts_max: self.u32()? })
            }
            _ => Err(CodecError::Illegal("lapse rule")),
        }
    }

    fn history(&mut self) -> Result<History, CodecError> {
        let count = self.u8()?;
        let mut entries = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let at = self.timestamp()?;
            let attempt = self.u32()?;
            let what = match self.u8()? {
                0 => What::Claimed,
                1 => What::Completed { by: self.settler()?, status: self.u16()? },
                2 => What::Doubted { cause: self.cause()? },
                3 => What::Released { by: self.settler()?, status: self.status()? },
                _ => return Err(CodecError::Illegal("history")),
            };
            entries.push(Entry { at, attempt, what });
        }
        Ok(History::from_entries(entries))
    }

    fn phase(&mut self) -> Result<Phase, CodecError> {
        match self.u8()? {
            0 => Ok(Phase::Completed { at: self.timestamp()?, kept: self.kept()? }),
            1 => {
                let cause = self.cause()?;
                let since = self.timestamp()?;
                Ok(Phase::InDoubt { cause, progress: self.optional_bytes()?, since })
            }
            2 => {
                let until = self.timestamp()?;
                let rerun_of = self.status()?;
                Ok(Phase::InProgress { progress: self.optional_bytes()?, rerun_of, until })
            }
            3 => Ok(Phase::Released { at: self.timestamp()?, status: self.status()? }),
            _ => Err(CodecError::Illegal("phase")),
        }
    }

    fn kept(&mut self) -> Result<Kept, CodecError> {
        match self.u8()? {
            0 => {
                let status = self.u16()?;
                Ok(Kept::NotRetained { location: self.optional_bytes()?, status })
            }
            1 => {
                let status = self.u16()?;
                let headers = self.fields()?;
                let trailers = self.fields()?;
                let body = self.bytes()?;
                Ok(Kept::Response(RecordedResponse { body, headers, status, trailers }))
            }
            _ => Err(CodecError::Illegal("answer")),
        }
    }

    fn fields(&mut self) -> Result<Vec<Field>, CodecError> {
        let count = self.u16()?;
        // A damaged count must not make room for what is not there.
        let mut fields = Vec::with_capacity(usize::from(count.min(64)));
        for _ in 0..count {
            let name = self.bytes()?;
            fields.push(Field { name, value: self.bytes()? });
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests;
