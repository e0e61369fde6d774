//! The request that is sent, as bytes made once, and the little of a response that is looked at.

/// What every request carries: 103 bytes, like a small order.
const BODY: &str = concat!(
    r#"{"amount":4200,"currency":"EUR","customer":"cus_7f3a91c2","#,
    r#""reference":"order 2024-0008150","capture":1}"#
);
const _: () = assert!(BODY.len() == 103);

const KEY_LEN: usize = 36;

/// Not the address: keys of another host are other keys, and a gateway that is started again
/// listens elsewhere.
const HOST: &str = "orders.example";

/// The bytes of one request; only the key in them changes.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    key_at: usize,
}

impl Request {
    /// A POST to `path`.
    pub(crate) fn new(path: &str) -> Self {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer bench\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nIdempotency-Key: ",
            BODY.len()
        );
        let key_at = head.len();
        let bytes = format!("{head}{}\r\n\r\n{BODY}", "0".repeat(KEY_LEN)).into_bytes();
        Self { bytes, key_at }
    }

    /// The bytes to send, with key number `index` of the set `seed`.
    pub(crate) fn with_key(&mut self, seed: u64, index: u64) -> &[u8] {
        write_key(&mut self.bytes[self.key_at..self.key_at + KEY_LEN], seed, index);
        &self.bytes
    }
}

/// Writes a key in the shape of a UUID. Different numbers of one set give different keys, and the
/// order of the numbers says nothing about the order of the keys.
fn write_key(into: &mut [u8], seed: u64, index: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // `mix` is a bijection, so its result alone keeps keys of one set apart.
    let first = mix(index.wrapping_add(mix(seed)));
    let bits = u128::from(first) << 64 | u128::from(mix(first ^ seed));
    let mut digit = 0;
    for (at, byte) in into.iter_mut().enumerate() {
        *byte = if matches!(at, 8 | 13 | 18 | 23) {
            b'-'
        } else {
            digit += 1;
            DIGITS[(bits >> (128 - 4 * digit) & 15) as usize]
        };
    }
}

/// Mixes bits so that neighbours land far apart; a bijection.
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// What was read from the head of a response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Head and body together, in bytes.
    pub(crate) whole_len: usize,
    pub(crate) replayed: bool,
}

/// Reads the head when it is there in full. `Err` names what this reader does not understand.
pub(crate) fn read_head(bytes: &[u8]) -> Result<Option<Head>, &'static str> {
    let Some(head_len) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let mut lines = bytes[..head_len].split(|byte| *byte == b'\n');
    let status = lines
        .next()
        .and_then(|line| std::str::from_utf8(line.get(9..12)?).ok()?.parse().ok())
        .ok_or("a response without a status")?;
    let (mut body_len, mut replayed) = (None, false);
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            body_len = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
        } else if name.eq_ignore_ascii_case(b"idempotent-replayed") {
            replayed = value == b"true";
        }
    }
    let body_len: usize = body_len.ok_or("a response without a content-length")?;
    Ok(Some(Head { status, whole_len: head_len + 4 + body_len, replayed }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn key(seed: u64, index: u64) -> String {
        let mut bytes = [0; KEY_LEN];
        write_key(&mut bytes, seed, index);
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn keys_of_a_set_are_different_and_repeatable() {
        let keys: BTreeSet<String> = (0..10_000).map(|index| key(7, index)).collect();
        assert_eq!(keys.len(), 10_000);
        assert_eq!(key(7, 3), key(7, 3));
        assert_ne!(key(7, 3), key(8, 3));
        assert_eq!(key(7, 3).matches('-').count(), 4);
    }

    #[test]
    fn a_request_differs_only_in_its_key() {
        let mut request = Request::new("/keyed/orders");
        let (one, two) = (request.with_key(1, 1).to_vec(), request.with_key(1, 2).to_vec());
        assert_ne!(one, two);
        assert_eq!(one.len(), two.len());
        assert!(String::from_utf8(one).unwrap().ends_with(BODY));
    }

    #[test]
    fn a_head_is_read_when_it_is_whole() {
        let text =
            b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\nIdempotent-Replayed: true\r\n\r\nhello";
        assert_eq!(read_head(&text[..40]), Ok(None));
        let head = Head { status: 201, whole_len: text.len(), replayed: true };
        assert_eq!(read_head(text), Ok(Some(head)));
        assert!(read_head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
