//! One request at a time to the admin listener, each on a connection of its own.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error::KeysError;
use super::show::plain;

/// How long one request may take from connect to the last byte of its answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// What may stand in a path segment or a query value as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where the admin listener is, and what it wants to see.
#[derive(Debug)]
pub(super) struct AdminClient {
    authority: Authority,
    token: Option<HeaderValue>,
}

/// `text` as one segment of a path, or one value of a query.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

impl AdminClient {
    /// `admin` is `http://HOST:PORT`, or what the gateway itself takes: an address and a port.
    pub(super) fn new(admin: &str, token: Option<String>) -> Result<Self, KeysError> {
        let bad = || KeysError::BadAddress(admin.to_owned());
        let place = admin.strip_prefix("http://").unwrap_or(admin).trim_end_matches('/');
        let authority: Authority = place.parse().map_err(|_| bad())?;
        // Without a number after its last colon, a name with a colon is no host and port.
        let port_is_odd = place.contains(':') && authority.port_u16().is_none();
        if authority.host().is_empty() || place.contains('@') || port_is_odd {
            return Err(bad());
        }
        let token = token.map(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| KeysError::BadToken)?;
            value.set_sensitive(true);
            Ok(value)
        });
        Ok(Self { authority: reachable(authority), token: token.transpose()? })
    }

    /// Sends one request and returns the JSON of a 2xx answer (null when it is empty).
    pub(super) async fn call(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, KeysError> {
        let exchange = self.exchange(method, path, body);
        let (status, body) = match timeout(CALL_TIMEOUT, exchange).await {
            Ok(answer) => answer?,
            Err(_) => return Err(self.unavailable(format!("nothing within {CALL_TIMEOUT:?}"))),
        };
        let json = match serde_json::from_slice(&body) {
            Ok(json) => json,
            Err(_) if body.is_empty() || !status.is_success() => Value::Null,
            Err(_) => return Err(self.strange("its answer is not JSON")),
        };
        if status.is_success() { Ok(json) } else { Err(self.refusal(status, &json)) }
    }

    /// What to say when the answer is not what an admin listener says.
    pub(super) fn strange(&self, detail: &str) -> KeysError {
        KeysError::Strange { address: self.authority.to_string(), detail: detail.to_owned() }
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Bytes), KeysError> {
        let failed = |error: &dyn std::error::Error| self.unavailable(error.to_string());
        let port = self.authority.port_u16().unwrap_or(80);
        let host = self.authority.host().trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, port)).await.map_err(|e| failed(&e))?;
        let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
        let exchange = async {
            let response = sender.send_request(self.request(method, path, body)?).await;
            let response = response.map_err(|error| failed(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            match body {
                Ok(body) => Ok((status, body.to_bytes())),
                Err(error) => Err(failed(&*error)),
            }
        };
        // The connection moves the bytes; both run until the answer is there.
        tokio::pin!(connection);
        tokio::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => return answer,
            // An answer that was read before the connection ended is still to be had.
            _ = &mut connection => {}
        }
        exchange.await
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, KeysError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.authority.as_str())
            .header(ACCEPT, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.unavailable(error.to_string()))
    }

    fn refusal(&self, status: StatusCode, problem: &Value) -> KeysError {
        let said = |member: &str| problem.get(member).and_then(Value::as_str);
        let detail = said("detail").or_else(|| said("title")).or_else(|| said("error"));
        let detail = match detail {
            Some(detail) => format!("{} {}", status.as_u16(), plain(detail)),
            None => status.to_string(),
        };
        let address = self.authority.to_string();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::MISDIRECTED_REQUEST => {
                KeysError::Denied { address, detail }
            }
            _ if status.is_server_error() => KeysError::Unavailable { address, detail },
            _ => KeysError::Refused { detail },
        }
    }

    fn unavailable(&self, detail: String) -> KeysError {
        KeysError::Unavailable { address: self.authority.to_string(), detail }
    }
}

/// A gateway that listens on all addresses is reached, by a name that it answers to, on loopback.
fn reachable(authority: Authority) -> Authority {
    let loopback = match authority.host() {
        "0.0.0.0" => "127.0.0.1",
        "[::]" => "[::1]",
        _ => return authority,
    };
    let port = authority.port_u16().unwrap_or(80);
    format!("{loopback}:{port}").parse().unwrap_or(authority)
}
