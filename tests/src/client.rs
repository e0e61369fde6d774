//! A client that sends exactly what it is told and believes only complete answers.

use std::io::{self, BufReader, ErrorKind, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::wire::{self, Fields, Framing};
use crate::{HOST, STUCK};

/// A request over HTTP/1.1.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its content.
    pub body: Vec<u8>,
    /// Its header lines, but for Content-Length.
    pub fields: Vec<(String, String)>,
    /// Its method.
    pub method: String,
    /// Its target.
    pub target: String,
}

impl Request {
    /// A request of `method` to `target`, with the Host and the credentials that all tests share.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        Self { body: Vec::new(), fields: Vec::new(), method: method.into(), target: target.into() }
            .field("Host", HOST)
            .field("Authorization", "Bearer alice-secret-token")
    }

    /// A POST of a small JSON payment under `key`.
    #[must_use]
    pub fn payment(key: &str) -> Self {
        Self::new("POST", "/v1/payments")
            .field("Content-Type", "application/json")
            .field("Idempotency-Key", key)
            .body(br#"{"amount":1999}"#)
    }

    /// With one more header line.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without the header lines of this name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self
    }

    /// With this content.
    #[must_use]
    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    /// Its bytes, with a Content-Length unless the fields frame the body otherwise.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.fields {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        let framed = self.fields.iter().any(|(name, _)| {
            ["content-length", "transfer-encoding"].contains(&name.to_ascii_lowercase().as_str())
        });
        if !framed && (!self.body.is_empty() || self.method != "GET") {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", self.body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Sends it on a connection of its own.
    ///
    /// # Errors
    /// When no complete answer comes: a cut one is none.
    pub fn send(&self, to: SocketAddr) -> io::Result<Answer> {
        Connection::open(to)?.call(self)
    }

    /// As [`send`](Self::send), for a gateway that is known to answer.
    ///
    /// # Panics
    /// When no complete answer comes.
    #[must_use]
    pub fn answer(&self, to: SocketAddr) -> Answer {
        self.send(to).expect("the gateway answers")
    }
}

/// A connection that is kept for the next request.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, STUCK)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(STUCK))?;
        stream.set_write_timeout(Some(STUCK))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// The socket, to write half a request or to hang up.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// What has arrived and arrives, unparsed.
    pub fn reader(&mut self) -> &mut BufReader<TcpStream> {
        &mut self.reader
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// When the peer has gone.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Sends one request and reads its whole answer.
    ///
    /// # Errors
    /// When no complete answer comes.
    pub fn call(&mut self, request: &Request) -> io::Result<Answer> {
        self.write(&request.bytes())?;
        self.read_answer(&request.method)
    }

    /// Reads one answer to its declared end.
    ///
    /// # Errors
    /// When it is cut.
    pub fn read_answer(&mut self, method: &str) -> io::Result<Answer> {
        let (status, fields) = self.read_answer_head()?;
        let framing = Framing::of_response(&fields, status, method)?;
        let (body, trailers) = wire::read_body(&mut self.reader, framing)?;
        Ok(Answer { body, fields, status, trailers })
    }

    /// Reads the head of an answer that is not informational, or of a switch of protocols.
    ///
    /// # Errors
    /// When it is cut.
    pub fn read_answer_head(&mut self) -> io::Result<(u16, Fields)> {
        loop {
            let (start, fields) = wire::read_head(&mut self.reader)?
                .ok_or_else(|| io::Error::new(ErrorKind::UnexpectedEof, "no answer"))?;
            let status = start.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
            let status = status.and_then(|status| status.parse().ok());
            let status: u16 = status.ok_or_else(|| wire::broken("a strange start line"))?;
            if status >= 200 || status == 101 {
                return Ok((status, fields));
            }
        }
    }
}

/// A complete answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Its content.
    pub body: Vec<u8>,
    /// Its header lines.
    pub fields: Fields,
    /// Its status.
    pub status: u16,
    /// What came behind the content.
    pub trailers: Fields,
}

impl Answer {
    /// Whether it is marked as a replay.
    #[must_use]
    pub fn replayed(&self) -> bool {
        self.fields.first("idempotent-replayed") == Some("true")
    }

    /// The content as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The stable code of a problem, if it is one.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.fields.first("content-type").filter(|kind| *kind == "application/problem+json")?;
        let text = self.text();
        let (_, rest) = text.split_once("\"code\":\"")?;
        Some(rest.split('"').next()?.to_owned())
    }
}
