//! A bare client that sends Redis the two commands of a first run, as the gateway sends them.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::backend::{Redis, Reply, Wire, monitored, pack};
use crate::candidate::{Candidate, StoreKind};
use crate::fleet::Fleet;
use crate::measure::{self, Figures, Setting};
use crate::request::mix;

/// Connections of the bare client, and how many pairs are under way on each: together as many as
/// the gateway has requests then, and several batches at once, so that the server never waits.
const CONNECTIONS: u64 = 8;
const DEPTH: u64 = 8;

/// A record id as it stands in a key.
const ID_LEN: usize = 64;

/// Where in a command its only key is: after name, script and the number of keys.
const KEY_AT: usize = 3;

const END: &str = "this is the end of what is monitored";

/// The two commands.
#[derive(Clone, Debug)]
pub(super) struct Commands {
    claim: Vec<Vec<u8>>,
    settle: Vec<Vec<u8>>,
}

/// Has the server show what a gateway sends for one first run.
pub(super) fn learn(kind: StoreKind, fleet: &mut Fleet, server: &Redis) -> io::Result<Commands> {
    let mut monitor = server.wire()?;
    fleet.start_shared(kind, &server.url(), "bench_raw")?;
    // The server knows the scripts from what was counted before, so they come by their digests.
    monitor.text(&["MONITOR"])?;
    let first = Candidate::First(kind);
    fleet.fill(first, first.path(), 1)?;
    fleet.end(kind);
    server.wire()?.text(&["ECHO", END])?;
    let mut steps = Vec::new();
    loop {
        let Reply::Word(line) = monitor.read()? else { continue };
        if line.contains(END) {
            break;
        }
        let Some(words) = monitored(&line) else { continue };
        let is_script = words.first().is_some_and(|name| name.eq_ignore_ascii_case(b"evalsha"));
        if is_script && words.get(KEY_AT).is_some_and(|key| id_at(key).is_some()) {
            steps.push(words);
        }
    }
    let [.., claim, settle] = steps.as_slice() else {
        return Err(io::Error::other("the gateway sent Redis no pair of steps"));
    };
    if claim[KEY_AT] != settle[KEY_AT] || claim[1] == settle[1] {
        return Err(io::Error::other("the last two steps are no claim and its settlement"));
    }
    Ok(Commands { claim: claim.clone(), settle: settle.clone() })
}

/// The fields of the only record of a prefix: names and values, alternately.
pub(super) fn only_record(server: &Redis, prefix: &str) -> io::Result<Vec<Vec<u8>>> {
    let missing = || io::Error::other("the record that was made is not there");
    let mut wire = server.wire()?;
    let Reply::Array(keys) = wire.ask(&["KEYS", &format!("{prefix}:*")])? else {
        return Err(missing());
    };
    let key = keys.into_iter().map(bytes).find(|key| id_at(key).is_some()).ok_or_else(missing)?;
    match wire.ask(&[b"HGETALL".as_slice(), &key])? {
        Reply::Array(fields) => Ok(fields.into_iter().map(bytes).collect()),
        Reply::Bytes(_) | Reply::Nothing | Reply::Number(_) | Reply::Word(_) => Err(missing()),
    }
}

fn bytes(reply: Reply) -> Vec<u8> {
    if let Reply::Bytes(bytes) = reply { bytes } else { Vec::new() }
}

impl Commands {
    /// Pairs per second, and the server's processor time for each.
    pub(super) fn measure(&self, server: &Redis, setting: Setting) -> io::Result<Figures> {
        let until = Instant::now() + setting.measured;
        let (before, start) = (measure::sum(&[server.pid()])?, Instant::now());
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let (commands, wire) = (self.clone(), server.wire()?);
                // Apart from those of any other measurement.
                let seed = mix(start.elapsed().as_nanos() as u64 ^ u64::from(std::process::id()));
                let seed = mix(seed ^ epoch_nanos() ^ number);
                Ok(thread::spawn(move || commands.send(wire, seed, until)))
            })
            .collect::<io::Result<_>>()?;
        let mut pairs = 0;
        for thread in threads {
            pairs += thread.join().map_err(|_| io::Error::other("a bare client panicked"))??;
        }
        let (took, after) = (start.elapsed(), measure::sum(&[server.pid()])?);
        let each = after.saturating_sub(before).as_secs_f64() * 1e6 / pairs.max(1) as f64;
        Ok(Figures {
            requests_per_second: pairs as f64 / took.as_secs_f64(),
            p50: Duration::ZERO,
            p99: Duration::ZERO,
            longest: Duration::ZERO,
            processor_us: None,
            store_us: Some(each),
            upstream_calls: 0.0,
            errors: 0,
            first_error: None,
        })
    }

    /// Claims some, settles them, and so on until the time is over; returns how many were settled.
    fn send(mut self, mut wire: Wire, seed: u64, until: Instant) -> io::Result<u64> {
        let (mut pairs, mut bytes) = (0, Vec::new());
        while Instant::now() < until {
            for (step, words) in [(0, &mut self.claim), (1, &mut self.settle)] {
                bytes.clear();
                for index in pairs..pairs + DEPTH {
                    put_id(&mut words[KEY_AT], mix(seed.wrapping_add(index)));
                    pack(&mut bytes, words);
                }
                wire.send(&bytes)?;
                for _ in 0..DEPTH {
                    let expected: &[u8] = if step == 0 { b"granted" } else { b"done" };
                    let reply = wire.read()?;
                    if !answers(&reply, expected) {
                        return Err(io::Error::other(format!("a bare client got {reply:?}")));
                    }
                }
            }
            pairs += DEPTH;
        }
        Ok(pairs)
    }
}

fn answers(reply: &Reply, with: &[u8]) -> bool {
    match reply {
        Reply::Array(parts) => parts.first().is_some_and(|first| answers(first, with)),
        Reply::Bytes(bytes) => bytes == with,
        Reply::Word(word) => word.as_bytes() == with,
        Reply::Nothing | Reply::Number(_) => false,
    }
}

fn epoch_nanos() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    since.as_nanos() as u64
}

/// Where in a key the id begins.
fn id_at(key: &[u8]) -> Option<usize> {
    key.windows(ID_LEN).rposition(|id| id.iter().all(u8::is_ascii_hexdigit))
}

/// Puts another id into a key, a number that is none of the others'.
fn put_id(key: &mut [u8], number: u64) {
    if let Some(at) = id_at(key) {
        let digits = format!("{number:016x}{:016x}", mix(number)).repeat(2);
        key[at..at + ID_LEN].copy_from_slice(digits.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_id_in_a_key_changes() {
        let mut key = format!("hapax:{{{}}}", "0".repeat(ID_LEN)).into_bytes();
        put_id(&mut key, 0xab);
        let text = String::from_utf8(key).unwrap();
        assert!(text.starts_with("hapax:{00000000000000ab"), "{text}");
        assert!(text.ends_with('}') && text.len() == "hapax:{}".len() + ID_LEN);
    }
}
