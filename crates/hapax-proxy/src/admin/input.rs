//! What callers send, within limits.

use std::fmt;

use axum::body::to_bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request};
use http::{HeaderMap, HeaderValue, header};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The address that a request came from, for the audit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) std::net::SocketAddr);

/// The JSON body of a request, at most `bytes_max` long. Without its media type it is refused: a form
/// on another page can send any text, but not that type (RFC 6454 leaves it to the server).
pub(super) async fn json<T: DeserializeOwned>(
    request: Request,
    bytes_max: usize,
) -> Result<T, Problem> {
    if !is_json(request.headers()) {
        return Err(Problem::not_json());
    }
    let declared = request.headers().get(header::CONTENT_LENGTH).map(HeaderValue::to_str);
    let declared = declared.and_then(|length| length.ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > bytes_max) {
        return Err(Problem::body_too_large(bytes_max));
    }
    let body = to_bytes(request.into_body(), bytes_max)
        .await
        .map_err(|_over_or_cut| Problem::body_too_large(bytes_max))?;
    serde_json::from_slice(&body).map_err(|error| {
        Problem::bad_request(format!("The body is not what it should be: {error}."))
    })
}

/// The parameters of a query; unknown ones and bad values are told.
pub(super) fn query<T: fmt::Debug>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    match query {
        Ok(Query(query)) => Ok(query),
        Err(rejection) => Err(Problem::bad_request(format!("{}.", rejection.body_text()))),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = media.map(|media| media.split(';').next().unwrap_or("").trim());
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
}
