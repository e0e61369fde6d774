//! The form a request takes on each HTTP version.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};

use super::body::Framing;

/// Origin-form and a `Host` line, as HTTP/1.1 wants it.
pub(super) fn for_h1<B>(request: &mut Request<B>, authority: &Authority) {
    *request.version_mut() = Version::HTTP_11;
    let named = request.uri().authority().cloned();
    if !request.headers().contains_key(HOST) {
        let host = named.as_ref().unwrap_or(authority);
        if let Ok(host) = HeaderValue::from_str(host.as_str()) {
            request.headers_mut().insert(HOST, host);
        }
    }
    if named.is_some() && request.method() != Method::CONNECT {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    }
}

/// `:scheme`, `:authority` and `:path`, as HTTP/2 wants them; the authority is what `Host` says.
pub(super) fn for_h2<B>(
    request: &mut Request<B>,
    scheme: &Scheme,
    authority: &Authority,
) -> Result<(), &'static str> {
    *request.version_mut() = Version::HTTP_2;
    if request.method() == Method::CONNECT {
        return Ok(());
    }
    let host = match request.headers_mut().remove(HOST) {
        Some(host) => Authority::try_from(host.as_bytes()).map_err(|_bad| "its Host is invalid")?,
        None => request.uri().authority().unwrap_or(authority).clone(),
    };
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme.clone());
    parts.authority = Some(host);
    let path = request.uri().path_and_query().cloned();
    parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_bad| "its target is invalid")?;
    Ok(())
}

/// How the body of an HTTP/1.1 answer ends, or what is wrong with what its head says about that. The
/// client library accepts both fields at once, and unknown codings up to the close; as the answer will be
/// framed anew, both would change what the client gets (RFC 9112, 6.3).
pub(super) fn framing_h1<B>(
    method_head: bool,
    response: &Response<B>,
) -> Result<Framing, &'static str> {
    let headers = response.headers();
    let empty = method_head
        || response.status().is_informational()
        || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if headers.contains_key(TRANSFER_ENCODING) {
        if headers.contains_key(CONTENT_LENGTH) {
            return Err("both Content-Length and Transfer-Encoding");
        }
        if !is_chunked(headers) {
            return Err("a Transfer-Encoding other than chunked");
        }
        return Ok(if empty { Framing::Length(0) } else { Framing::Chunked });
    }
    if empty {
        return Ok(Framing::Length(0));
    }
    match headers.get(CONTENT_LENGTH) {
        // A list of equal lengths is legal; the client library has checked that they are equal.
        Some(length) => {
            let text = length.to_str().unwrap_or_default();
            let first = text.split(',').next().unwrap_or_default().trim();
            first.parse().map(Framing::Length).map_err(|_bad| "an invalid Content-Length")
        }
        None => Ok(Framing::Close),
    }
}

fn is_chunked(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    match (lines.next(), lines.next()) {
        (Some(only), None) => only.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (None | Some(_), _) => false,
    }
}
