//! The little of Redis's protocol that the bench speaks itself.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take; filling a server takes the longest.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Array(Vec<Self>),
    Bytes(Vec<u8>),
    Nothing,
    Number(i64),
    Word(String),
}

/// One connection, used by one caller in turn.
#[derive(Debug)]
pub(crate) struct Wire {
    reader: BufReader<TcpStream>,
}

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        Ok(Self { reader: BufReader::with_capacity(64 * 1024, stream) })
    }

    /// Sends bytes that hold whole commands.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Sends a command and reads its answer.
    pub(crate) fn ask<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<Reply> {
        let mut bytes = Vec::new();
        pack(&mut bytes, words);
        self.send(&bytes)?;
        self.read()
    }

    /// The same, for an answer that is text.
    pub(crate) fn text(&mut self, words: &[&str]) -> io::Result<String> {
        match self.ask(words)? {
            Reply::Word(text) => Ok(text),
            Reply::Bytes(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Reply::Array(_) | Reply::Nothing | Reply::Number(_) => {
                Err(io::Error::other(format!("Redis answered {} with no text", words[0])))
            }
        }
    }

    /// Reads an answer; one that is an error is an error.
    pub(crate) fn read(&mut self) -> io::Result<Reply> {
        let line = self.line()?;
        let (kind, rest) = line.split_at_checked(1).unwrap_or(("", ""));
        let number = || rest.parse::<i64>().map_err(io::Error::other);
        match kind {
            "+" => Ok(Reply::Word(rest.to_owned())),
            "-" => Err(io::Error::other(format!("Redis: {rest}"))),
            ":" => number().map(Reply::Number),
            "$" => match usize::try_from(number()?) {
                Err(_) => Ok(Reply::Nothing),
                Ok(length) => {
                    let mut bytes = vec![0; length + 2];
                    self.reader.read_exact(&mut bytes)?;
                    bytes.truncate(length);
                    Ok(Reply::Bytes(bytes))
                }
            },
            "*" => match usize::try_from(number()?) {
                Err(_) => Ok(Reply::Nothing),
                Ok(length) => {
                    (0..length).map(|_| self.read()).collect::<io::Result<_>>().map(Reply::Array)
                }
            },
            _ => Err(io::Error::other(format!("Redis: what is `{line}`?"))),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::Error::other("Redis has closed the connection"));
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// Appends a command as it is sent.
pub(crate) fn pack<W: AsRef<[u8]>>(into: &mut Vec<u8>, words: &[W]) {
    into.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        let word = word.as_ref();
        into.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        into.extend_from_slice(word);
        into.extend_from_slice(b"\r\n");
    }
}

/// The words of a line of `MONITOR`, without its time and its client; `None` for what a script does.
pub(crate) fn monitored(line: &str) -> Option<Vec<Vec<u8>>> {
    let (head, rest) = line.split_once("] ")?;
    if head.ends_with(" lua") {
        return None;
    }
    let (mut words, mut word, mut inside) = (Vec::new(), Vec::new(), false);
    let mut bytes = rest.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' if inside => {
                words.push(std::mem::take(&mut word));
                inside = false;
            }
            b'"' => inside = true,
            b'\\' if inside => word.push(match bytes.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'a' => 7,
                b'b' => 8,
                b'x' => {
                    let (high, low) = (char::from(bytes.next()?), char::from(bytes.next()?));
                    (high.to_digit(16)? * 16 + low.to_digit(16)?) as u8
                }
                other => other,
            }),
            _ if inside => word.push(byte),
            _ => {}
        }
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_monitored_line_gives_the_bytes_that_were_sent() {
        let line = r#"1.5 [0 127.0.0.1:60] "SET" "a\"b" "\x00\xff\n""#;
        let words = monitored(line).unwrap();
        assert_eq!(words, [b"SET".to_vec(), b"a\"b".to_vec(), vec![0, 255, b'\n']]);
        assert_eq!(monitored(r#"1.5 [0 lua] "GET" "a""#), None);
    }

    #[test]
    fn a_command_is_packed_with_its_lengths() {
        let mut bytes = Vec::new();
        pack(&mut bytes, &["GET", "key"]);
        assert_eq!(bytes, b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n");
    }
}
