//! What the upstream answers, and how it lies, waits and breaks off.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

/// Something a reply waits for until the case opens it.
#[derive(Clone, Debug)]
pub(crate) struct Gate(watch::Sender<bool>);

/// A gate that nobody opens gives way after this time, so that nothing hangs for ever.
const GATE_LIMIT: Duration = Duration::from_secs(60);

impl Gate {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    pub(crate) async fn wait(&self) {
        let mut opened = self.0.subscribe();
        let _ = tokio::time::timeout(GATE_LIMIT, opened.wait_for(|open| *open)).await;
    }
}

/// What follows a reply on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Close,
    /// The connection turns into an echo, as after 101.
    Echo,
    Keep,
    Reset,
}

/// How the content of a reply is framed.
#[derive(Clone, Debug)]
pub(crate) enum Framing {
    /// No framing field and no content.
    Bare,
    /// Chunked with trailer fields.
    Chunked(Vec<(String, String)>),
    /// Chunked, broken off without a last chunk.
    ChunkedCut,
    Length,
    /// A Content-Length that promises so many bytes more than come.
    LengthLie(usize),
    /// These bytes instead of any HTTP.
    Raw(Bytes),
}

/// One scripted reply. `{n}` in its fields and its body stands for the number of the arrival, so
/// that two executions can be told apart.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub status: u16,
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Bytes,
    pub framing: Framing,
    pub interim: Vec<u16>,
    pub gate: Option<Gate>,
    /// Waited for after the head and the first half of the content.
    pub body_gate: Option<Gate>,
    pub delay: Duration,
    pub after: After,
    /// Answer as soon as the head is there, without reading the content.
    pub early: bool,
    /// A gzip form of the content, sent when the request accepts it.
    pub gzip: Option<Bytes>,
}

impl Default for Reply {
    fn default() -> Self {
        Self::new(201)
            .with("Content-Type", "application/json")
            .with("Location", "/made/{n}")
            .body("{\"made\":{n}}")
    }
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self {
            status,
            fields: Vec::new(),
            body: Bytes::new(),
            framing: Framing::Length,
            interim: Vec::new(),
            gate: None,
            body_gate: None,
            delay: Duration::ZERO,
            after: After::Keep,
            early: false,
            gzip: None,
        }
    }

    /// A reply with this status whose body names the execution.
    pub(crate) fn numbered(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// Closes the connection without a byte of an answer.
    pub(crate) fn hang_up() -> Self {
        Self::raw("")
    }

    /// Sends these bytes and closes.
    pub(crate) fn raw(bytes: impl Into<Bytes>) -> Self {
        Self { framing: Framing::Raw(bytes.into()), after: After::Close, ..Self::new(200) }
    }

    pub(crate) fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn framed(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    pub(crate) fn gated(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    pub(crate) fn body_gated(mut self, gate: &Gate) -> Self {
        self.body_gate = Some(gate.clone());
        self
    }

    pub(crate) fn delayed(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    pub(crate) fn then(mut self, after: After) -> Self {
        self.after = after;
        self
    }

    /// The reply with its placeholders filled in.
    pub(crate) fn filled(mut self, number: usize) -> Self {
        let number = number.to_string();
        for (_, value) in &mut self.fields {
            *value = fill(value, &number);
        }
        self.body = fill(&self.body, &number).into();
        self
    }
}

fn fill(template: &[u8], number: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.windows(3).position(|three| three == b"{n}") {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(number.as_bytes());
        rest = &rest[at + 3..];
    }
    out.extend_from_slice(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholder_is_filled_everywhere() {
        let reply = Reply::default().filled(7);
        assert_eq!(reply.body, "{\"made\":7}");
        assert!(reply.fields.iter().any(|(_, value)| value == b"/made/7"));
        assert_eq!(fill(b"a{n}{n}", "3"), b"a33");
    }
}
