//! What the admin listener says when it does not do what was asked (RFC 9457).

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

/// What is wrong: its stable code, its status and a sentence.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) code: &'static str,
    detail: String,
    /// The record as it stands, where that answers the next question.
    record: Option<Value>,
    status: StatusCode,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), record: None, status }
    }

    pub(super) fn audit_unavailable() -> Self {
        let detail = "The decision could not be written down, so it was not carried out.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "audit-unavailable", detail)
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-request", detail)
    }

    pub(super) fn body_forbidden() -> Self {
        let detail = "Answers are shown only where admin.token is set, and to who shows it.";
        Self::new(StatusCode::FORBIDDEN, "body-forbidden", detail)
    }

    pub(super) fn body_too_large(limit: usize) -> Self {
        let detail = format!("The body is over the limit of {limit} bytes.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail)
    }

    pub(super) fn busy(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
    }

    pub(super) fn draining() -> Self {
        let detail = "The data port does not accept requests.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not-accepting", detail)
    }

    pub(super) fn foreign_host() -> Self {
        let detail = "The Host is neither loopback nor one of admin.hosts.";
        Self::new(StatusCode::FORBIDDEN, "foreign-host", detail)
    }

    pub(super) fn foreign_origin() -> Self {
        let detail = "The request comes from a page of another origin. Nothing was changed.";
        Self::new(StatusCode::FORBIDDEN, "foreign-origin", detail)
    }

    pub(super) fn in_doubt() -> Self {
        let detail = "The outcome is unknown, and without its record a retry would run again. \
                      Settle it, or purge it with force=true.";
        Self::new(StatusCode::CONFLICT, "in-doubt", detail)
    }

    pub(super) fn in_progress() -> Self {
        let detail = "The operation is running. Nothing was changed.";
        Self::new(StatusCode::CONFLICT, "in-progress", detail)
    }

    pub(super) fn invalid_answer(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-answer", detail)
    }

    pub(super) fn no_record() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is no such record.")
    }

    pub(super) fn not_json() -> Self {
        let detail = "Send Content-Type: application/json.";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail)
    }

    pub(super) fn settled(detail: &str) -> Self {
        Self::new(StatusCode::CONFLICT, "settled", detail)
    }

    pub(super) fn store_unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", detail)
    }

    pub(super) fn superseded() -> Self {
        let detail =
            "Another attempt holds the record since. Nothing was changed; look at it again.";
        Self::new(StatusCode::CONFLICT, "superseded", detail)
    }

    pub(super) fn timed_out() -> Self {
        let detail =
            "No answer in time. What was asked for may have been done; it is safe to repeat.";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", detail)
    }

    pub(super) fn token_needed() -> Self {
        let detail = "Beyond loopback the listener answers only with a token: set admin.token.";
        Self::new(StatusCode::FORBIDDEN, "token-required", detail)
    }

    pub(super) fn unauthorized() -> Self {
        let detail = "Send the token of admin.token as Authorization: Bearer TOKEN.";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    /// This problem with the record as it stands.
    pub(super) fn with_record(mut self, record: Value) -> Self {
        self.record = Some(record);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut members = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
        });
        if let (Value::Object(members), Some(record)) = (&mut members, self.record) {
            members.insert("record".to_owned(), record);
        }
        let mut response = (self.status, members.to_string()).into_response();
        let headers = response.headers_mut();
        let media = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, media);
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

pub(super) async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not-found", "There is nothing at this path.")
}

pub(super) async fn method_not_allowed() -> Problem {
    let detail = "This path does not take this method.";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}
