//! One connection to the upstream: reads requests strictly, answers them as scripted.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Shared;
use super::reply::{After, Framing, Reply};
use super::station::{Arrival, Station};
use crate::wire::chunked::{self, Chunk};
use crate::wire::head::{self, Head};

const HEAD_BYTES_MAX: usize = 1 << 20;

/// Serves requests until the peer or the script ends the connection.
pub(crate) async fn serve(stream: TcpStream, shared: Arc<Shared>, number: u64) {
    let _ = stream.set_nodelay(true);
    let mut peer = Peer { stream, buffer: Vec::new() };
    while let Some(head) = peer.read_head().await {
        let target = head.word(1).to_owned();
        let key = head.text("idempotency-key").unwrap_or_default();
        let Some(station) = shared.station(&target, &key) else {
            // Not a case's request: answered so that probes of the layer see a live upstream.
            if peer.read_body(&head, None).await.is_none() {
                return;
            }
            let reply = Reply::new(404).body("no such station");
            if !peer.answer(&reply, &head).await {
                return;
            }
            continue;
        };
        let reply = match station.answers_early() {
            true => station.arrive(arrival(head.clone(), Vec::new(), Vec::new(), number)),
            false => match peer.read_body(&head, Some(&station)).await {
                Some((body, trailers)) => {
                    station.arrive(arrival(head.clone(), body, trailers, number))
                }
                None => return station.arrive_cut(head),
            },
        };
        if !peer.answer(&reply, &head).await {
            return;
        }
    }
}

fn arrival(
    head: Head,
    body: Vec<u8>,
    trailers: Vec<(String, Vec<u8>)>,
    connection: u64,
) -> Arrival {
    Arrival { head, body: Bytes::from(body), trailers, connection }
}

struct Peer {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Peer {
    async fn read_head(&mut self) -> Option<Head> {
        loop {
            if let Some(end) = head::end(&self.buffer) {
                let raw: Vec<u8> = self.buffer.drain(..end).collect();
                return Some(Head::parse(&raw));
            }
            if self.buffer.len() > HEAD_BYTES_MAX || !self.fill().await {
                return None;
            }
        }
    }

    async fn fill(&mut self) -> bool {
        self.buffer.reserve(16 * 1024);
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => false,
            Ok(_) => true,
        }
    }

    /// The content and its trailers, or nothing when the request was cut.
    async fn read_body(
        &mut self,
        head: &Head,
        station: Option<&Station>,
    ) -> Option<(Vec<u8>, Vec<(String, Vec<u8>)>)> {
        if head.lists("expect", "100-continue") {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.ok()?;
        }
        let saw = |bytes: usize| {
            if let Some(station) = station {
                station.saw_body(bytes);
            }
        };
        let mut body = Vec::new();
        if head.chunked() {
            loop {
                match chunked::next(&self.buffer) {
                    Chunk::Data(data, used) => {
                        saw(data.len());
                        body.extend(data);
                        self.buffer.drain(..used);
                    }
                    Chunk::Last(trailers, used) => {
                        self.buffer.drain(..used);
                        return Some((body, trailers));
                    }
                    Chunk::Broken => return None,
                    Chunk::More if !self.fill().await => return None,
                    Chunk::More => {}
                }
            }
        }
        let length = head.content_length().unwrap_or(0) as usize;
        loop {
            let take = (length - body.len()).min(self.buffer.len());
            saw(take);
            body.extend(self.buffer.drain(..take));
            if body.len() == length {
                return Some((body, Vec::new()));
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// Writes a reply; false when the connection is over.
    async fn answer(&mut self, reply: &Reply, request: &Head) -> bool {
        for status in &reply.interim {
            let line = format!("HTTP/1.1 {status} Interim\r\nLink: </early>; rel=preload\r\n\r\n");
            if self.stream.write_all(line.as_bytes()).await.is_err() {
                return false;
            }
        }
        tokio::time::sleep(reply.delay).await;
        if let Some(gate) = &reply.gate {
            gate.wait().await;
        }
        let (head, first, second) = bytes(reply, request);
        let mut written = self.stream.write_all(&head).await.is_ok();
        written &= self.stream.write_all(&first).await.is_ok();
        if let Some(gate) = &reply.body_gate {
            let _ = self.stream.flush().await;
            gate.wait().await;
        }
        written &= self.stream.write_all(&second).await.is_ok();
        written &= self.stream.flush().await.is_ok();
        match reply.after {
            After::Keep => written && !request.lists("connection", "close"),
            After::Close => {
                let _ = self.stream.shutdown().await;
                false
            }
            After::Echo => {
                self.echo().await;
                false
            }
            After::Reset => {
                // Closing with unread input or a zero linger time makes the peer see a reset.
                let _ = self.stream.set_zero_linger();
                false
            }
        }
    }

    async fn echo(&mut self) {
        loop {
            let pending = std::mem::take(&mut self.buffer);
            if self.stream.write_all(&pending).await.is_err() || !self.fill().await {
                return;
            }
        }
    }
}

/// Head and content of a reply, the content in two parts with the gate between them. Chunked
/// content is one chunk for each part, so that what comes before the gate is a whole chunk.
fn bytes(reply: &Reply, request: &Head) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    if let Framing::Raw(raw) = &reply.framing {
        return (Vec::new(), raw.to_vec(), Vec::new());
    }
    let zipped = reply.gzip.as_ref().filter(|_| request.lists("accept-encoding", "gzip"));
    let body = zipped.unwrap_or(&reply.body);
    let mut head = format!("HTTP/1.1 {} Scripted\r\n", reply.status).into_bytes();
    let mut field = |name: &str, value: &[u8]| {
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    };
    for (name, value) in &reply.fields {
        field(name, value);
    }
    if zipped.is_some() {
        field("Content-Encoding", b"gzip");
    }
    if matches!(reply.after, After::Close) && !matches!(reply.framing, Framing::Bare) {
        field("Connection", b"close");
    }
    let half = body.len() / 2;
    let (mut first, mut second) = (body[..half].to_vec(), body[half..].to_vec());
    match &reply.framing {
        Framing::Bare | Framing::Raw(_) => (first, second) = (Vec::new(), Vec::new()),
        Framing::Length => field("Content-Length", body.len().to_string().as_bytes()),
        Framing::LengthLie(more) => {
            field("Content-Length", (body.len() + more).to_string().as_bytes());
        }
        Framing::Chunked(trailers) => {
            field("Transfer-Encoding", b"chunked");
            (first, second) = (chunk(&first), chunk(&second));
            let fields: Vec<(String, Vec<u8>)> = trailers
                .iter()
                .map(|(name, value)| (name.clone(), value.clone().into_bytes()))
                .collect();
            second.extend(chunked::write_last(&fields));
        }
        Framing::ChunkedCut => {
            field("Transfer-Encoding", b"chunked");
            (first, second) = (chunk(&first), chunk(&second));
        }
    }
    head.extend_from_slice(b"\r\n");
    (head, first, second)
}

/// One chunk; no chunk at all for no bytes, which would be the last one.
fn chunk(data: &[u8]) -> Vec<u8> {
    if data.is_empty() { Vec::new() } else { chunked::write(data) }
}
