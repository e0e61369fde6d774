//! A connection whose traffic is written down.

use std::time::Duration;

use tokio::time::Instant;

use super::{ANSWER_LIMIT, Log};
use crate::case::Stop;
use crate::wire::{Answer, Connection, Endpoint, Head, Request, WireError};

/// A client connection to the target.
pub(crate) struct Wire {
    connection: Connection,
    log: Log,
}

impl Wire {
    pub(crate) async fn open(endpoint: &Endpoint, log: Log) -> Result<Self, WireError> {
        match Connection::open(endpoint).await {
            Ok(connection) => Ok(Self { connection, log }),
            Err(error) => {
                log.came(error.to_string());
                Err(error)
            }
        }
    }

    pub(crate) async fn send(&mut self, request: &Request) -> bool {
        self.log.sent(request.describe());
        self.connection.send(request).await
    }

    /// Sends bytes as they are, described by a few words.
    pub(crate) async fn write(&mut self, what: &str, bytes: &[u8]) -> bool {
        self.log.sent(format!("{what} ({} raw bytes)", bytes.len()));
        self.connection.write(bytes).await
    }

    pub(crate) async fn read(&mut self, method: &str) -> Result<Answer, WireError> {
        self.read_within(method, ANSWER_LIMIT).await
    }

    pub(crate) async fn read_within(
        &mut self,
        method: &str,
        within: Duration,
    ) -> Result<Answer, WireError> {
        let came = self.connection.read(method, within).await;
        match &came {
            Ok(answer) => self.log.came(answer.describe()),
            Err(error) => self.log.came(error.to_string()),
        }
        came
    }

    /// Reads an answer that must come.
    pub(crate) async fn answer(&mut self, method: &str) -> Result<Answer, Stop> {
        self.read(method).await.map_err(|error| Stop::Fail(error.to_string()))
    }

    /// Reads the next head alone, which may be an interim answer's.
    pub(crate) async fn head(&mut self) -> Result<Head, Stop> {
        let head = self
            .connection
            .read_head(Instant::now() + ANSWER_LIMIT, ANSWER_LIMIT)
            .await
            .map_err(|error| Stop::Fail(error.to_string()))?;
        self.log.came(head.start.clone());
        Ok(head)
    }

    /// Reads until these words came; what came instead is the error.
    pub(crate) async fn read_until(&mut self, words: &str, within: Duration) -> Result<(), String> {
        let deadline = Instant::now() + within;
        let mut came = Vec::new();
        loop {
            let piece =
                self.connection.read_some(1, deadline.saturating_duration_since(Instant::now()));
            let piece = piece.await;
            came.extend_from_slice(&piece);
            let text = String::from_utf8_lossy(&came);
            if text.contains(words) {
                return Ok(());
            }
            if piece.is_empty() {
                return Err(text.into_owned());
            }
        }
    }

    /// Waits for so many bytes and hands over what there is.
    pub(crate) async fn read_some(&mut self, count: usize, within: Duration) -> Vec<u8> {
        self.connection.read_some(count, within).await
    }
}
