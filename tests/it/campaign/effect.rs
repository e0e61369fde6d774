//! What a campaign's upstream does.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use hapax_tests::{Arrival, Chance, Next, respond};

/// Numbers the effects.
static EFFECTS: AtomicU64 = AtomicU64::new(0);

/// The effect: counted by key, slow or fast, small or large, framed this way or that. One in a
/// hundred is lost on the way back. None is a 5xx, which would free its key.
pub(crate) fn effect(seed: u64, arrival: &Arrival, stream: &mut TcpStream) -> Next {
    let of_key = arrival.key.bytes().fold(seed, |sum, byte| sum.rotate_left(8) ^ u64::from(byte));
    let mut chance = Chance::new(of_key);
    if chance.one_in(4) {
        thread::sleep(Duration::from_millis(chance.below(25)));
    }
    if chance.one_in(100) {
        return Next::Close;
    }
    let length = if chance.one_in(30) { chance.below(100_000) } else { chance.below(400) };
    let body = chance.bytes(usize::try_from(length).unwrap_or_default());
    // The effect's number, which no second run would repeat.
    let effect = EFFECTS.fetch_add(1, Ordering::SeqCst).to_string();
    let fields = [("Content-Type", "application/octet-stream"), ("X-Effect", effect.as_str())];
    if !chance.one_in(3) {
        return respond(stream, 201, &fields, &body);
    }
    let mut bytes =
        format!("HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nX-Effect: {effect}\r\n\r\n");
    if !body.is_empty() {
        bytes.push_str(&format!("{:x}\r\n", body.len()));
    }
    let end: &[u8] = if body.is_empty() { b"0\r\n\r\n" } else { b"\r\n0\r\n\r\n" };
    let sent = stream.write_all(&[bytes.as_bytes(), &body, end].concat());
    if sent.is_ok() { Next::Keep } else { Next::Close }
}
