//! An HTTP/1.1 client connection that sends any bytes and reads answers strictly.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::chunked::{self, Chunk};
use super::endpoint::{Endpoint, Io};
use super::head::{self, Head};
use super::message::{Answer, Ending, Request};

/// Bytes of an answer that are read at most.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What went wrong on a connection before an answer's head was there.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum WireError {
    #[error("the connection was closed without an answer")]
    Closed,
    #[error("no connection: {0}")]
    Connect(String),
    #[error("what came is no HTTP answer: {0}")]
    Garbage(String),
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
    #[error("the connection was reset: {0}")]
    Reset(String),
}

/// One client connection; dropping it closes the socket.
pub(crate) struct Connection {
    io: Box<dyn Io>,
    buffer: Vec<u8>,
}

enum Fill {
    Data,
    End,
    Late,
    Reset(String),
}

impl Connection {
    pub(crate) async fn open(endpoint: &Endpoint) -> Result<Self, WireError> {
        let opening = tokio::time::timeout(Duration::from_secs(25), endpoint.connect());
        match opening.await {
            Ok(Ok(io)) => Ok(Self { io, buffer: Vec::new() }),
            Ok(Err(error)) => Err(WireError::Connect(error.to_string())),
            Err(_) => Err(WireError::Connect("timed out".to_owned())),
        }
    }

    /// Sends bytes as they are. A peer that has answered and closed early is not an error here:
    /// its answer is still to be read.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> bool {
        let sending = async {
            self.io.write_all(bytes).await?;
            self.io.flush().await
        };
        matches!(tokio::time::timeout(Duration::from_secs(20), sending).await, Ok(Ok(())))
    }

    pub(crate) async fn send(&mut self, request: &Request) -> bool {
        self.write(&request.to_bytes()).await
    }

    /// Reads one answer, interim ones included.
    pub(crate) async fn read(
        &mut self,
        method: &str,
        within: Duration,
    ) -> Result<Answer, WireError> {
        let deadline = Instant::now() + within;
        let mut interim = Vec::new();
        loop {
            let head = self.read_head(deadline, within).await?;
            let Ok(status) = head.word(1).parse::<u16>() else {
                return Err(WireError::Garbage(head.start));
            };
            if (100..200).contains(&status) && status != 101 {
                interim.push(status);
                continue;
            }
            let (body, trailers, ending) = self.read_body(&head, status, method, deadline).await;
            return Ok(Answer {
                interim,
                status,
                fields: head.fields,
                body: Bytes::from(body),
                trailers,
                ending,
            });
        }
    }

    /// Reads one head, which may be an interim answer's.
    pub(crate) async fn read_head(
        &mut self,
        deadline: Instant,
        within: Duration,
    ) -> Result<Head, WireError> {
        loop {
            if let Some(end) = head::end(&self.buffer) {
                let raw: Vec<u8> = self.buffer.drain(..end).collect();
                let head = Head::parse(&raw);
                return match head.start.starts_with("HTTP/1.") {
                    true => Ok(head),
                    false => Err(WireError::Garbage(head.start)),
                };
            }
            match self.fill(deadline).await {
                Fill::Data => {}
                Fill::End if self.buffer.is_empty() => return Err(WireError::Closed),
                Fill::End => return Err(WireError::Garbage("a head without an end".to_owned())),
                Fill::Late => return Err(WireError::Late(within)),
                Fill::Reset(error) => return Err(WireError::Reset(error)),
            }
        }
    }

    /// Waits until at least `count` bytes are there and hands them over, or fewer at the end.
    pub(crate) async fn read_some(&mut self, count: usize, within: Duration) -> Vec<u8> {
        let deadline = Instant::now() + within;
        while self.buffer.len() < count {
            match self.fill(deadline).await {
                Fill::Data => {}
                Fill::End | Fill::Late | Fill::Reset(_) => break,
            }
        }
        let count = count.min(self.buffer.len());
        self.buffer.drain(..count).collect()
    }

    async fn read_body(
        &mut self,
        head: &Head,
        status: u16,
        method: &str,
        deadline: Instant,
    ) -> (Vec<u8>, Vec<(String, Vec<u8>)>, Ending) {
        if method == "HEAD" || status == 204 || status == 304 || status == 101 {
            return (Vec::new(), Vec::new(), Ending::Complete);
        }
        if head.chunked() {
            return self.read_chunks(deadline).await;
        }
        match head.content_length() {
            Some(length) => self.read_length(length as usize, deadline).await,
            None if head.all("content-length").is_empty() => self.read_close(deadline).await,
            None => (Vec::new(), Vec::new(), Ending::Cut),
        }
    }

    async fn read_length(
        &mut self,
        length: usize,
        deadline: Instant,
    ) -> (Vec<u8>, Vec<(String, Vec<u8>)>, Ending) {
        while self.buffer.len() < length.min(ANSWER_BYTES_MAX) {
            match self.fill(deadline).await {
                Fill::Data => {}
                Fill::End | Fill::Late | Fill::Reset(_) => {
                    return (std::mem::take(&mut self.buffer), Vec::new(), Ending::Cut);
                }
            }
        }
        let body = self.buffer.drain(..length.min(self.buffer.len())).collect();
        (body, Vec::new(), Ending::Complete)
    }

    async fn read_chunks(
        &mut self,
        deadline: Instant,
    ) -> (Vec<u8>, Vec<(String, Vec<u8>)>, Ending) {
        let mut body = Vec::new();
        loop {
            match chunked::next(&self.buffer) {
                Chunk::Data(data, used) => {
                    body.extend(data);
                    self.buffer.drain(..used);
                }
                Chunk::Last(trailers, used) => {
                    self.buffer.drain(..used);
                    return (body, trailers, Ending::Complete);
                }
                Chunk::Broken => return (body, Vec::new(), Ending::Cut),
                Chunk::More => match self.fill(deadline).await {
                    Fill::Data if body.len() <= ANSWER_BYTES_MAX => {}
                    Fill::Data | Fill::End | Fill::Late | Fill::Reset(_) => {
                        return (body, Vec::new(), Ending::Cut);
                    }
                },
            }
        }
    }

    async fn read_close(&mut self, deadline: Instant) -> (Vec<u8>, Vec<(String, Vec<u8>)>, Ending) {
        loop {
            let ending = match self.fill(deadline).await {
                Fill::Data if self.buffer.len() <= ANSWER_BYTES_MAX => continue,
                Fill::End => Ending::UntilClose,
                Fill::Data | Fill::Late | Fill::Reset(_) => Ending::Cut,
            };
            return (std::mem::take(&mut self.buffer), Vec::new(), ending);
        }
    }

    async fn fill(&mut self, deadline: Instant) -> Fill {
        self.buffer.reserve(16 * 1024);
        match timeout_at(deadline, self.io.read_buf(&mut self.buffer)).await {
            Ok(Ok(0)) => Fill::End,
            Ok(Ok(_)) => Fill::Data,
            Ok(Err(error)) => Fill::Reset(error.to_string()),
            Err(_) => Fill::Late,
        }
    }
}
