//! Probing: asking a reconciliation address what became of an unknown outcome (DBT-05).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hapax::guard::{Probe, Probed};
use hapax::{Field, RecordedResponse};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;

use crate::upstream::{RequestBody, Upstream, UpstreamConfig, UpstreamConfigError};

/// Bytes of a probe's answer that are read.
const ANSWER_BYTES_MAX: usize = 2 << 20;
/// How long a probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where one route's unknown outcomes are looked up.
#[derive(Clone, Debug)]
pub struct ProbeTarget {
    address: Arc<Uri>,
    /// The fields of the request that say whose key it is, and which.
    forwarded: Arc<[HeaderName]>,
    upstream: Upstream,
}

#[derive(Debug)]
pub(super) struct Asking {
    headers: HeaderMap,
    target: ProbeTarget,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
enum Answer {
    Executed {
        #[serde(default = "ok")]
        status: u16,
        #[serde(default)]
        headers: Vec<(String, String)>,
        #[serde(default)]
        body_base64: String,
    },
    NotExecuted,
    Unknown,
}

const fn ok() -> u16 {
    200
}

impl ProbeTarget {
    /// Probes `address`, passing on the fields named.
    ///
    /// # Errors
    /// [`UpstreamConfigError`] where the address cannot be connected to as configured.
    pub fn new(address: Uri, forwarded: Vec<HeaderName>) -> Result<Self, UpstreamConfigError> {
        let mut origin = address.clone().into_parts();
        origin.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
        let origin = Uri::from_parts(origin).unwrap_or_else(|_same_parts| address.clone());
        let upstream = Upstream::new(UpstreamConfig::new(origin))?;
        Ok(Self { address: Arc::new(address), forwarded: forwarded.into(), upstream })
    }

    pub(super) fn for_request(&self, headers: &HeaderMap) -> Asking {
        let mut copied = HeaderMap::new();
        for name in &*self.forwarded {
            for value in headers.get_all(name) {
                copied.append(name, value.clone());
            }
        }
        Asking { headers: copied, target: self.clone() }
    }
}

#[async_trait]
impl Probe for Asking {
    async fn ask(&self) -> Probed {
        match tokio::time::timeout(PROBE_TIMEOUT, self.fetch()).await {
            Ok(Some(probed)) => probed,
            Ok(None) | Err(_) => Probed::Unknown,
        }
    }
}

impl Asking {
    async fn fetch(&self) -> Option<Probed> {
        let mut request = Request::get(&*super::path_and_query(&self.target.address));
        if let Some(headers) = request.headers_mut() {
            headers.clone_from(&self.headers);
            headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        }
        let request = request.body(RequestBody::Empty).ok()?;
        let response = match self.target.upstream.send(request, || true).await {
            Ok(response) => response,
            Err(error) => {
                tracing::warn!(%error, "failed to probe");
                return None;
            }
        };
        // "Not found" is no answer: a read may be stale, and a wrong one runs the effect twice.
        if response.status() != http::StatusCode::OK {
            tracing::warn!(status = %response.status(), "the probe did not answer 200");
            return None;
        }
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.ok()?;
        match serde_json::from_slice(&body.to_bytes()) {
            Ok(answer) => probed(answer),
            Err(error) => {
                tracing::warn!(%error, "the probe's answer is not as documented");
                None
            }
        }
    }
}

fn probed(answer: Answer) -> Option<Probed> {
    match answer {
        Answer::Unknown => Some(Probed::Unknown),
        Answer::NotExecuted => Some(Probed::NotExecuted),
        Answer::Executed { status, headers, body_base64 } => {
            if !(200..=599).contains(&status) {
                return None;
            }
            let mut fields = Vec::with_capacity(headers.len());
            for (name, value) in headers {
                // Checked here, so that what is kept can be replayed.
                let name = HeaderName::try_from(name).ok()?;
                let value = HeaderValue::try_from(value).ok()?;
                fields.push(Field::new(
                    name.as_str().to_owned(),
                    Bytes::copy_from_slice(value.as_bytes()),
                ));
            }
            let body = STANDARD.decode(body_base64).ok()?;
            Some(Probed::Executed(RecordedResponse {
                body: body.into(),
                headers: fields,
                status,
                trailers: Vec::new(),
            }))
        }
    }
}
