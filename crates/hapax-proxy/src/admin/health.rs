//! Whether it is alive, whether it is ready, and its numbers (OBS-04).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use hapax::{AttemptId, Fence, Lease, LeaseError, RecordId, Timestamp};
use http::{HeaderMap, HeaderValue, header};

use super::problem::Problem;
use super::{Shared, lookup};
use crate::metrics::TextFormat;

/// How long the store may take to be found ready; orchestrators wait less long than requests do.
const READY_TIME_MAX: Duration = Duration::from_secs(2);

/// The process answers, whatever the store does.
pub(super) async fn livez() -> &'static str {
    "alive\n"
}

/// The data port accepts, and the store takes steps.
pub(super) async fn readyz(State(shared): State<Arc<Shared>>) -> Result<&'static str, Problem> {
    if !shared.ready.load(Ordering::Acquire) {
        return Err(Problem::draining());
    }
    // A step that changes nothing takes the way of all steps: a full disk or a read-only replica
    // answers reads for as long as it likes.
    let nobody = nobody();
    let asked = shared.guard.store().renew(&nobody, READY_TIME_MAX, None);
    match tokio::time::timeout(READY_TIME_MAX.min(shared.store_timeout), asked).await {
        Ok(Ok(_) | Err(LeaseError::Lost(_))) => Ok("ready\n"),
        Ok(Err(LeaseError::Store(error))) => Err(lookup::failed(&error)),
        Err(_elapsed) => Err(Problem::store_unavailable("The store did not answer in time.")),
    }
}

/// A lease on a record that never is: ids are hashes.
fn nobody() -> Lease {
    Lease {
        attempt: AttemptId::from_bytes([0; 16]),
        claimed_at: Timestamp::EPOCH,
        fence: Fence::default(),
        id: RecordId::from_bytes([0; 32]),
        number: 0,
        progress: None,
        rerun_of: None,
        until: Timestamp::EPOCH,
    }
}

/// All numbers, in the text that the scraper prefers.
pub(super) async fn metrics(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = TextFormat::negotiate(accept);
    shared.metrics.flying(shared.guard.in_flight());
    let mut response = shared.metrics.render(format).into_response();
    let media = HeaderValue::from_static(format.content_type());
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    response
}
