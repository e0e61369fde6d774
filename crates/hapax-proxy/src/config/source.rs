//! Where the key, the caller and the addressed name are found in a request.

use http::{HeaderName, header};

use super::setting::{Setting, choice};

/// Where the key is found (KEY-14, ruling 15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// The string or integer a JSON body holds at this pointer (RFC 6901).
    Body(JsonPointer),
    /// The content of the request is its own key.
    Content,
    /// The value of this field.
    Header(HeaderName),
    /// A key that the gateway issued; no other is taken.
    Issued,
    /// The caller's id in this field, scoped by principal and route.
    Joined(HeaderName),
}

/// A JSON pointer that is not the whole document (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPointer(String);

/// Who the caller is (ruling 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrincipalSource {
    /// `Authorization`, else `X-API-Key`, else anonymous.
    Authorization,
    /// The value of this cookie.
    Cookie(String),
    /// The field that a trusted hop sets.
    Header(HeaderName),
    /// This claim of a verified token.
    Jwt(String),
    /// All callers are one.
    Shared,
}

/// What the caller addressed (ruling 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthoritySource {
    /// This name, whatever the request says.
    Fixed(String),
    /// The effective host of the request.
    Host,
}

impl JsonPointer {
    /// The pointer as written, beginning with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn read(text: &str) -> Option<Self> {
        let escapes_hold = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        (text.starts_with('/') && escapes_hold).then(|| Self(text.to_owned()))
    }
}

impl KeySource {
    /// Whether the body decides the key, so that a failure must free it (ruling 15).
    pub fn is_in_body(&self) -> bool {
        match self {
            Self::Body(_) | Self::Content => true,
            Self::Header(_) | Self::Issued | Self::Joined(_) => false,
        }
    }
}

impl Setting for KeySource {
    const MEND: &'static str = "write \"header:NAME\", \"body:/json/pointer\", \"content\", \
         \"issued\" or \"joined:NAME\"";

    fn read(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("header", name)) => carrier(name).map(Self::Header),
            Some(("joined", name)) => carrier(name).map(Self::Joined),
            Some(("body", pointer)) => JsonPointer::read(pointer)
                .map(Self::Body)
                .ok_or_else(|| "has no JSON pointer after \"body:\"".to_owned()),
            Some(_) => Err("names no place we know".to_owned()),
            None => choice(text, &[("content", ()), ("issued", ())])
                .map(|()| if text == "content" { Self::Content } else { Self::Issued }),
        }
    }
}

impl Setting for PrincipalSource {
    const MEND: &'static str = "write \"authorization\", \"header:NAME\", \"cookie:NAME\", \
         \"jwt:CLAIM\" or \"shared\"";

    fn read(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("header", name)) => carrier(name).map(Self::Header),
            Some(("cookie", name)) => match HeaderName::from_bytes(name.as_bytes()) {
                Ok(_) => Ok(Self::Cookie(name.to_owned())),
                Err(_) => Err("has no cookie name after \"cookie:\"".to_owned()),
            },
            Some(("jwt", claim)) if !claim.is_empty() => Ok(Self::Jwt(claim.to_owned())),
            Some(("jwt", _)) => Err("has no claim after \"jwt:\"".to_owned()),
            Some(_) => Err("names no caller we know".to_owned()),
            None => {
                let words = [("authorization", true), ("shared", false)];
                choice(text, &words).map(|own| if own { Self::Authorization } else { Self::Shared })
            }
        }
    }
}

impl Setting for AuthoritySource {
    const MEND: &'static str = "write \"host\" or \"fixed:NAME\"";

    fn read(text: &str) -> Result<Self, String> {
        if text == "host" {
            return Ok(Self::Host);
        }
        let Some(name) = text.strip_prefix("fixed:") else {
            return Err("is not one of the choices".to_owned());
        };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("has no name after \"fixed:\"".to_owned());
        }
        Ok(Self::Fixed(name.to_ascii_lowercase()))
    }
}

/// A field that may carry a key or a principal: not one that belongs to the connection, to the
/// framing or to us.
fn carrier(name: &str) -> Result<HeaderName, String> {
    let header = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| "has no header name after the colon".to_owned())?;
    let taken = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::EXPECT,
        header::HOST,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    if taken.contains(&header) || matches!(header.as_str(), "keep-alive" | "proxy-connection") {
        return Err("names a field that belongs to the connection or the body".to_owned());
    }
    if header.as_str().starts_with("hapax-") {
        return Err("names a field of our own, which callers may not send".to_owned());
    }
    Ok(header)
}
