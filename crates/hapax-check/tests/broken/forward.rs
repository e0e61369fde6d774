//! Carries requests to the upstream, one connection each.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::Defect;
use super::identity::hex;

const HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-authentication-info",
];

/// Removes what belongs to one connection.
pub(crate) fn strip(headers: &mut HeaderMap) {
    let listed: Vec<String> = headers
        .get_all("connection")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    for name in listed.iter().map(String::as_str).chain(HOP) {
        headers.remove(name);
    }
}

/// The head for the upstream.
pub(crate) fn head(parts: &Parts, defect: Defect) -> Result<http::request::Builder, String> {
    let mut headers = parts.headers.clone();
    let host = super::identity::authority(parts)?;
    if defect == Defect::KeepsHopByHop {
        headers.remove("transfer-encoding");
    } else {
        strip(&mut headers);
    }
    if defect != Defect::TrustsForwarded {
        headers.remove("x-forwarded-for");
    }
    headers.remove("expect");
    let client: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("hapax-")).cloned().collect();
    for name in client {
        headers.remove(name);
    }
    headers.insert("via", HeaderValue::from_static("1.1 reference"));
    headers.insert("host", HeaderValue::from_str(&host).map_err(|error| error.to_string())?);
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut builder = Request::builder().method(parts.method.clone()).uri(target);
    *builder.headers_mut().unwrap() = headers;
    Ok(builder)
}

/// Why there is no whole answer.
#[derive(Debug)]
pub(crate) enum Lost {
    NotSent,
    Unknown,
}

/// A whole answer, as it is kept: status, fields and content.
pub(crate) async fn call(
    upstream: &str,
    request: Request<Full<Bytes>>,
    defect: Defect,
) -> Result<Value, Lost> {
    let stream = TcpStream::connect(upstream).await.map_err(|_| Lost::NotSent)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Lost::NotSent)?;
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|_| Lost::Unknown)?;
    let (mut parts, body) = answer.into_parts();
    if defect == Defect::KeepsHopByHop {
        parts.headers.remove("transfer-encoding");
    } else {
        strip(&mut parts.headers);
    }
    parts.headers.remove("content-length");
    parts.headers.remove("trailer");
    let mut content = Vec::new();
    let mut body = std::pin::pin!(body);
    let mut cut = false;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => match frame.into_data() {
                Ok(data) => content.extend_from_slice(&data),
                Err(frame) if defect == Defect::MergesTrailers => {
                    parts.headers.extend(frame.into_trailers().unwrap_or_default());
                }
                Err(_) => {}
            },
            Err(_) => {
                cut = true;
                break;
            }
        }
    }
    if defect == Defect::TextBodies {
        content = String::from_utf8_lossy(&content).into_owned().into_bytes();
    }
    let fields: Vec<(String, String)> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), hex(value.as_bytes())))
        .collect();
    Ok(json!({
        "status": parts.status.as_u16(),
        "fields": fields,
        "body": hex(&content),
        "cut": cut,
    }))
}

/// Streams an unprotected request through, upgrades included.
pub(crate) async fn stream(
    upstream: &str,
    mut request: Request<Incoming>,
    defect: Defect,
) -> Result<Response<BoxBody<Bytes, hyper::Error>>, String> {
    let upgrade = request.headers().get("upgrade").cloned();
    let theirs = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let body = match defect {
        Defect::BuffersStreams => {
            let whole = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
            Full::new(whole).map_err(|never| match never {}).boxed()
        }
        _ => body.boxed(),
    };
    let mut forwarded = head(&parts, defect)?.body(body).map_err(|error| error.to_string())?;
    if let Some(upgrade) = upgrade {
        forwarded.headers_mut().insert("upgrade", upgrade);
        forwarded.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
    }
    let stream = TcpStream::connect(upstream).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(connection.with_upgrades());
    let mut answer = sender.send_request(forwarded).await.map_err(|error| error.to_string())?;
    if answer.status() == 101 {
        let ours = hyper::upgrade::on(&mut answer);
        if let Some(theirs) = theirs {
            tokio::spawn(async move {
                let (Ok(ours), Ok(theirs)) = (ours.await, theirs.await) else { return };
                let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
                let _ = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await;
            });
        }
        return Ok(answer.map(BodyExt::boxed));
    }
    if defect != Defect::KeepsHopByHop {
        strip(answer.headers_mut());
    }
    if defect == Defect::BuffersStreams {
        let (parts, body) = answer.into_parts();
        let whole = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        let body = Full::new(whole).map_err(|never| match never {}).boxed();
        return Ok(Response::from_parts(parts, body));
    }
    Ok(answer.map(BodyExt::boxed))
}
