//! A customer's app: one request at a time, each on a connection of its own.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::DemoError;

/// No answer of the demo takes longer, a gateway that is being restarted included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What the app sends.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) body: Value,
    pub(super) key: Option<String>,
    pub(super) path: &'static str,
}

/// What the app is told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) body: Value,
    pub(super) replayed: bool,
    pub(super) status: u16,
}

impl Told {
    /// The number of what was bought, if it says one.
    pub(super) fn id(&self) -> Option<&str> {
        self.body.get("id").and_then(Value::as_str)
    }

    /// The code of a problem, if it is one.
    pub(super) fn code(&self) -> Option<&str> {
        self.body.get("code").and_then(Value::as_str)
    }
}

/// Sends it and waits for the answer.
pub(super) async fn send(to: SocketAddr, call: &Call) -> Result<Told, DemoError> {
    post(to, call.path, call.key.as_deref(), &call.body).await
}

/// Records in doubt, as the admin listener lists them: their ids.
pub(super) async fn in_doubt(admin: SocketAddr) -> Result<Vec<String>, DemoError> {
    let page = exchange(admin, Method::GET, "/api/records?state=in_doubt", None, None).await?;
    let records = page.body.get("records").and_then(Value::as_array).cloned().unwrap_or_default();
    Ok(records.iter().filter_map(|record| Some(record.get("id")?.as_str()?.to_owned())).collect())
}

/// Settles a record as executed, with the answer that retries get.
pub(super) async fn settle(
    admin: SocketAddr,
    id: &str,
    status: u16,
    answer: &Value,
) -> Result<Told, DemoError> {
    let settlement = json!({
        "outcome": "executed",
        "status": status,
        "headers": [["content-type", "application/json"]],
        "body_base64": STANDARD.encode(answer.to_string()),
        "reason": "found in the books",
    });
    post(admin, &format!("/api/records/{id}/settle"), None, &settlement).await
}

async fn post(
    to: SocketAddr,
    path: &str,
    key: Option<&str>,
    body: &Value,
) -> Result<Told, DemoError> {
    exchange(to, Method::POST, path, key, Some(body)).await
}

async fn exchange(
    to: SocketAddr,
    method: Method,
    path: &str,
    key: Option<&str>,
    body: Option<&Value>,
) -> Result<Told, DemoError> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, to.to_string())
        .header(header::AUTHORIZATION, "Bearer ada");
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    let body = Full::new(Bytes::from(body.map(Value::to_string).unwrap_or_default()));
    let request = request.body(body).map_err(|error| DemoError::Scene(error.to_string()))?;
    match timeout(ANSWER_TIMEOUT, answer(to, request)).await {
        Ok(told) => told,
        Err(_elapsed) => {
            Err(DemoError::Scene(format!("{to} did not answer within {ANSWER_TIMEOUT:?}")))
        }
    }
}

async fn answer(to: SocketAddr, request: Request<Full<Bytes>>) -> Result<Told, DemoError> {
    let lost = |error: &dyn std::fmt::Display| DemoError::Scene(format!("ask {to}: {error}"));
    let stream = TcpStream::connect(to).await.map_err(|error| lost(&error))?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| lost(&error))?;
    let told = async {
        let response = sender.send_request(request).await.map_err(|error| lost(&error))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| lost(&error))?.to_bytes();
        Ok(Told {
            body: serde_json::from_slice(&body).unwrap_or_default(),
            replayed: parts.headers.contains_key("idempotent-replayed"),
            status: parts.status.as_u16(),
        })
    };
    tokio::pin!(connection);
    tokio::pin!(told);
    tokio::select! {
        biased;
        told = &mut told => return told,
        // An answer that was read before the connection ended is still to be had.
        _ = &mut connection => {}
    }
    told.await
}
