//! Unprotected traffic: request and answer stream through, nothing is kept (ruling 6, HTP-07, HTP-08).

use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use super::hygiene::{self, ForwardConfig};
use super::tunnel;
use crate::listen::ConnInfo;
use crate::upstream::{RequestBody, SendError, Upstream, UpstreamBody};

/// Why there is no answer to pass on. Rendering it is the caller's matter.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The upstream could not be asked, or did not answer. 502.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The head of the answer did not come within the limit. 504.
    #[error("get an answer within {milliseconds} ms")]
    Timeout {
        /// The limit that ran out.
        milliseconds: u128,
    },
}

/// Passes a request on and its answer back, body by body as they come, trailers included; after an upgrade
/// the two connections are joined. `timeout` bounds connecting and the wait for the head of the answer,
/// which includes the time that the client takes for its body; the answer's body may then take
/// as long as it likes.
///
/// # Errors
///
/// [`ForwardError`] if there is no head of an answer to pass on.
///
/// # Cancel safety
///
/// Dropping the future gives up the request; the upstream sees its connection closed or its stream reset.
pub async fn pass_through(
    upstream: &Upstream,
    request: Request<Incoming>,
    connection: &ConnInfo,
    config: &ForwardConfig,
    timeout: Duration,
) -> Result<Response<UpstreamBody>, ForwardError> {
    let (mut parts, body) = request.into_parts();
    let upgrade = hygiene::upgrade_of(&parts);
    let is_tunnel = hygiene::is_tunnel(&parts);
    hygiene::prepare_request(&mut parts, connection, config, upstream.authority().as_str());
    let client = if upgrade.is_some() || is_tunnel {
        parts.extensions.remove::<hyper::upgrade::OnUpgrade>()
    } else {
        None
    };
    if let (Some(protocol), true) = (upgrade, client.is_some()) {
        hygiene::keep_upgrade(&mut parts.headers, protocol);
    }
    // Extensions are the server's notes on this connection; none concerns the next.
    parts.extensions.clear();
    let request = Request::from_parts(parts, RequestBody::from(body));
    let sending = upstream.send(request, || true);
    let mut response = match tokio::time::timeout(timeout, sending).await {
        Ok(sent) => sent?,
        Err(_elapsed) => {
            return Err(ForwardError::Timeout { milliseconds: timeout.as_millis() });
        }
    };
    let protocol = response.headers().get(http::header::UPGRADE).cloned();
    hygiene::strip_response(response.headers_mut());
    hygiene::strip_own(response.headers_mut());
    let is_switched = response.status() == StatusCode::SWITCHING_PROTOCOLS
        || (is_tunnel && response.status().is_success());
    if is_switched {
        if let Some(client) = client {
            tunnel::join(client, hyper::upgrade::on(&mut response));
        }
        if let Some(protocol) = protocol {
            hygiene::keep_upgrade(response.headers_mut(), protocol);
        }
    }
    if response.status() == StatusCode::NO_CONTENT {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    Ok(response)
}
