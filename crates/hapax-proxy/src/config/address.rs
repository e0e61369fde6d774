//! Addresses the gateway itself calls.

use http::Uri;
use serde::Deserializer;

use super::setting::{Setting, setting};

/// For `#[serde(deserialize_with)]`: an address to ask, where nothing means none.
pub(super) fn probe_url<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Uri>, D::Error> {
    setting::<D, Probe>(deserializer).map(|probe| probe.0)
}

struct Probe(Option<Uri>);

impl Setting for Probe {
    const MEND: &'static str = "write an http or https address such as \
         \"http://127.0.0.1:3000/outcome\", or \"\" for none";

    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        absolute(text).map(Some).map(Self)
    }
}

/// An absolute http or https address without credentials.
pub(super) fn absolute(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|_| "is not an address".to_owned())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("is not an absolute address".to_owned());
    };
    if scheme != "http" && scheme != "https" {
        return Err("is neither an http nor an https address".to_owned());
    }
    if authority.as_str().contains('@') {
        return Err("has credentials in it, which are not sent".to_owned());
    }
    if authority.host().is_empty() {
        return Err("names no host".to_owned());
    }
    Ok(uri)
}

/// For `#[serde(deserialize_with)]`: the upstream, which is an origin and nothing more.
pub(super) fn upstream<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uri, D::Error> {
    setting::<D, Origin>(deserializer).map(|origin| origin.0)
}

struct Origin(Uri);

impl Setting for Origin {
    const MEND: &'static str = "write scheme, host and port, such as \"http://127.0.0.1:3000\"";

    fn read(text: &str) -> Result<Self, String> {
        let uri = absolute(text)?;
        if uri.path_and_query().is_some_and(|after| after.as_str() != "/") {
            return Err("has a path, which would have to be joined to every request".to_owned());
        }
        Ok(Self(uri))
    }
}
