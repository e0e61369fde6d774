//! Problems as answers (RFC 9457).

use std::time::Duration;

use hapax::Problem;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::body::ResponseBody;

/// The answer that tells a problem (HTP-12). `detail` replaces the problem's own sentence where it
/// knows better, `status` its status.
#[must_use]
pub fn problem<R>(
    base: &str,
    problem: Problem,
    detail: Option<&str>,
    status: Option<StatusCode>,
) -> Response<ResponseBody<R>> {
    render(base, problem, detail, status, Map::new())
}

pub(crate) fn render<R>(
    base: &str,
    problem: Problem,
    detail: Option<&str>,
    status: Option<StatusCode>,
    more: Map<String, Value>,
) -> Response<ResponseBody<R>> {
    let own = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let status = status.unwrap_or(own);
    let mut members = json!({
        "type": format!("{base}/{}", problem.code()),
        "title": problem.title(),
        "status": status.as_u16(),
        "detail": detail.unwrap_or_else(|| problem.detail()),
        "code": problem.code(),
    });
    if let Value::Object(members) = &mut members {
        members.extend(more);
    }
    let mut response = Response::new(ResponseBody::whole(members.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Adds when to ask again.
pub(crate) fn retry_after<R>(response: &mut Response<R>, after: Duration) {
    response.headers_mut().insert(header::RETRY_AFTER, after.as_secs().max(1).into());
}
