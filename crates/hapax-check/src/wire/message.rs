//! A request to send and the answer that came back.

use bytes::Bytes;

use super::{chunked, head};

/// How the content of a request is framed.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// No content and no framing field.
    Absent,
    /// Chunked, one chunk per part, with trailer fields.
    Chunks(Vec<Bytes>, Vec<(String, Vec<u8>)>),
    /// With a Content-Length.
    Length(Bytes),
}

/// A request, written exactly as its parts say.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub method: String,
    pub target: String,
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Body,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            fields: Vec::new(),
            body: Body::Absent,
        }
    }

    /// Adds a field line.
    pub(crate) fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Removes every line of a field.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self
    }

    /// Replaces every line of a field by one.
    pub(crate) fn set(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.without(name).with(name, value)
    }

    /// Sets the key in quotes.
    pub(crate) fn key(self, key: &str) -> Self {
        let quoted = format!("\"{key}\"");
        self.set("Idempotency-Key", quoted)
    }

    /// Sets the key's field value as it stands.
    pub(crate) fn raw_key(self, value: impl AsRef<[u8]>) -> Self {
        self.set("Idempotency-Key", value)
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Body::Length(body.into());
        self
    }

    pub(crate) fn framed(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    /// The content without its framing.
    pub(crate) fn content(&self) -> Bytes {
        match &self.body {
            Body::Absent => Bytes::new(),
            Body::Chunks(parts, _) => parts.concat().into(),
            Body::Length(bytes) => bytes.clone(),
        }
    }

    /// The head, with the framing field that the body needs.
    pub(crate) fn head_bytes(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.fields {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        match &self.body {
            Body::Absent => {}
            Body::Chunks(..) => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Body::Length(bytes) => {
                out.extend_from_slice(format!("Content-Length: {}\r\n", bytes.len()).as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
        out
    }

    /// The whole message.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.head_bytes();
        match &self.body {
            Body::Absent => {}
            Body::Chunks(parts, trailers) => {
                for part in parts.iter().filter(|part| !part.is_empty()) {
                    out.extend(chunked::write(part));
                }
                out.extend(chunked::write_last(trailers));
            }
            Body::Length(bytes) => out.extend_from_slice(bytes),
        }
        out
    }

    /// One line for a report: what was sent, without credentials.
    pub(crate) fn describe(&self) -> String {
        let key: Vec<String> = head::all(&self.fields, "idempotency-key")
            .iter()
            .map(|value| format!("Idempotency-Key: {}", value.escape_ascii()))
            .collect();
        let key = if key.is_empty() { "no key".to_owned() } else { key.join(" + ") };
        let content = self.content();
        format!("{} {} ({key}; {} bytes of body)", self.method, self.target, content.len())
    }
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The content reached its declared end.
    Complete,
    /// The content was cut or its framing broken.
    Cut,
    /// Framed by the end of the connection: nobody can tell whether it is whole.
    UntilClose,
}

/// An answer as it came.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub interim: Vec<u16>,
    pub status: u16,
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Bytes,
    pub trailers: Vec<(String, Vec<u8>)>,
    pub ending: Ending,
}

impl Answer {
    /// The first value of a field, as text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.all(name).first().map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// Every value of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&[u8]> {
        head::all(&self.fields, name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    /// The body as JSON, if it is that.
    pub(crate) fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The problem code: the member `code`, else the last segment of `type`.
    pub(crate) fn code(&self) -> Option<String> {
        let json = self.json()?;
        let text = |name| json.get(name).and_then(|value| value.as_str()).map(str::to_owned);
        text("code")
            .or_else(|| text("type").and_then(|kind| kind.rsplit('/').next().map(str::to_owned)))
    }

    /// Whether the answer is a conflict that time will end, as opposed to an unknown outcome:
    /// told by its code, or by its words where it has none.
    pub(crate) fn still_busy(&self) -> bool {
        let words = match self.code() {
            Some(code) => code,
            None => String::from_utf8_lossy(&self.body).to_lowercase(),
        };
        let doubt = ["unknown", "doubt", "indeterminate"];
        self.status == 409 && !doubt.iter().any(|word| words.contains(word))
    }

    /// Whether the answer says by either usual marker that it is a replay.
    pub(crate) fn marked(&self) -> bool {
        ["idempotent-replayed", "idempotency-replayed", "idempotent-replay", "idempotency-replay"]
            .iter()
            .any(|name| self.text(name).is_some_and(|value| !value.eq_ignore_ascii_case("false")))
    }

    /// One line for a report.
    pub(crate) fn describe(&self) -> String {
        let shown: String =
            String::from_utf8_lossy(&self.body[..self.body.len().min(160)]).into_owned();
        let cut = if self.body.len() > 160 { "..." } else { "" };
        let ending = match self.ending {
            Ending::Complete => "",
            Ending::Cut => ", CUT",
            Ending::UntilClose => ", until close",
        };
        let replayed = if self.marked() { ", marked as replay" } else { "" };
        format!(
            "{}{replayed}{ending}, {} bytes: {}{cut}",
            self.status,
            self.body.len(),
            shown.escape_debug()
        )
    }
}
