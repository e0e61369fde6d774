//! Raw HTTP/2 frames, for requests that no library would send.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::endpoint::Endpoint;
use super::h1::WireError;

/// How a raw request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The stream or the connection was closed with an error.
    Reset,
    /// A HEADERS frame came: an answer, whatever its status.
    Answered,
    /// Nothing came in time.
    Silent,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// Sends one request with exactly these fields, pseudo-fields first, and says how it ended.
pub(crate) async fn request(
    endpoint: &Endpoint,
    fields: &[(&[u8], &[u8])],
    body: &[u8],
    within: Duration,
) -> Result<Refusal, WireError> {
    let mut io = endpoint.connect().await.map_err(|error| WireError::Connect(error.to_string()))?;
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    out.extend(frame(SETTINGS, 0, 0, &[]));
    let mut block = Vec::new();
    for (name, value) in fields {
        // A literal field without indexing and without Huffman coding.
        block.push(0);
        string(&mut block, name);
        string(&mut block, value);
    }
    out.extend(frame(HEADERS, 0x4, 1, &block));
    out.extend(frame(DATA, 0x1, 1, body));
    if io.write_all(&out).await.is_err() {
        return Ok(Refusal::Reset);
    }
    let deadline = Instant::now() + within;
    let mut buffer = Vec::new();
    loop {
        while let Some((kind, flags, length)) = peek(&buffer) {
            match kind {
                HEADERS => return Ok(Refusal::Answered),
                RST_STREAM | GOAWAY => return Ok(Refusal::Reset),
                SETTINGS if flags & 1 == 0 => {
                    let _ = io.write_all(&frame(SETTINGS, 1, 0, &[])).await;
                }
                _ => {}
            }
            buffer.drain(..9 + length);
        }
        buffer.reserve(4096);
        match timeout_at(deadline, io.read_buf(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return Ok(Refusal::Reset),
            Ok(Ok(_)) => {}
            Err(_) => return Ok(Refusal::Silent),
        }
    }
}

fn peek(buffer: &[u8]) -> Option<(u8, u8, usize)> {
    let [a, b, c, kind, flags, ..] = buffer else { return None };
    let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
    (buffer.len() >= 9 + length).then_some((*kind, *flags, length))
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut out = vec![length[1], length[2], length[3], kind, flags];
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    // Lengths below 127 fit the prefix; longer ones take the continuation form.
    if text.len() < 127 {
        out.push(text.len() as u8);
    } else {
        out.push(127);
        let mut rest = text.len() - 127;
        while rest >= 128 {
            out.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        out.push(rest as u8);
    }
    out.extend_from_slice(text);
}
