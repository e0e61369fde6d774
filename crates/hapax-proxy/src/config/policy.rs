//! The words a route is configured with.

use std::time::Duration;

use http::Method;

use super::setting::{Setting, choice};
use super::units;
use crate::route::Pattern;

/// What a duplicate of a running operation gets (ruling 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrent {
    /// 409 at once.
    Reject,
    /// The owner's answer, or 409 after the wait.
    Wait,
}

/// What makes two requests the same (FPR-05, FPR-06).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FingerprintMode {
    /// Method, path, query, media type and the bytes of the body.
    Bytes,
    /// As `Bytes`, with JSON compared by meaning where that is beyond doubt.
    Json,
    /// Method, path and key alone.
    Key,
}

/// Whether a key is asked for (KEY-11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyMode {
    /// Nothing is protected, keys pass through.
    Off,
    /// Protected when the request carries a key.
    Optional,
    /// 400 without a key.
    Required,
}

/// Whether a route acts or only reports (ruling 16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Acts.
    Enforce,
    /// Only counts what it would have done.
    Shadow,
}

/// How long a record is kept (ruling 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// So long, at least a second.
    For(Duration),
    /// For ever.
    Never,
}

/// What happens to keyed requests while the store is away (ruling 12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreOutage {
    /// 503; nothing runs.
    Closed,
    /// They run unprotected, and the answer says so.
    Open,
}

/// How a key in a header field is spelled (KEY-03, KEY-05).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// Quoted or bare.
    Lenient,
    /// Quoted only.
    Strict,
}

/// What becomes of a key whose outcome nobody knows (ruling 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// Held until somebody settles it.
    Hold,
    /// The upstream is asked at `probe_url`.
    Probe,
    /// It runs again, `max_attempts` times in all.
    ReExecute,
    /// The upstream commits through `hapax.commit`.
    Transactional,
}

impl Retention {
    /// Shorter would end before the retry it is for.
    const MIN: Duration = Duration::from_secs(1);
    /// Beyond ten years, "never" is the honest word.
    const MAX: Duration = Duration::from_secs(3650 * 86_400);
}

impl Setting for Concurrent {
    const MEND: &'static str = "write \"wait\" or \"reject\"";

    fn read(text: &str) -> Result<Self, String> {
        choice(text, &[("reject", Self::Reject), ("wait", Self::Wait)])
    }
}

impl Setting for FingerprintMode {
    const MEND: &'static str = "write \"bytes\", \"json\" or \"key\"";

    fn read(text: &str) -> Result<Self, String> {
        choice(text, &[("bytes", Self::Bytes), ("json", Self::Json), ("key", Self::Key)])
    }
}

impl Setting for KeyMode {
    const MEND: &'static str = "write \"required\", \"optional\" or \"off\"";

    fn read(text: &str) -> Result<Self, String> {
        let words =
            [("off", Self::Off), ("optional", Self::Optional), ("required", Self::Required)];
        choice(text, &words)
    }
}

impl Setting for Method {
    const MEND: &'static str =
        "list methods that change something, such as \"POST\", \"PUT\" or \"DELETE\"";

    fn read(text: &str) -> Result<Self, String> {
        let method = Self::from_bytes(text.as_bytes()).map_err(|_| "is not a method".to_owned())?;
        if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return Err("is not in capitals, and methods are case-sensitive".to_owned());
        }
        if method.is_safe() {
            return Err("is a safe method, which is never kept or replayed".to_owned());
        }
        if method == Self::CONNECT {
            return Err("opens a tunnel, which cannot be kept".to_owned());
        }
        Ok(method)
    }
}

impl Setting for Mode {
    const MEND: &'static str = "write \"enforce\" or \"shadow\"";

    fn read(text: &str) -> Result<Self, String> {
        choice(text, &[("enforce", Self::Enforce), ("shadow", Self::Shadow)])
    }
}

impl Setting for Pattern {
    const MEND: &'static str = "write a path such as \"/v1/payments/**\", where * stands for one \
         segment and a last /** for the path itself and all below";

    fn read(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| error.to_string())
    }
}

impl Setting for Retention {
    const MEND: &'static str =
        "write a duration between \"1s\" and \"3650d\", such as \"24h\", or \"never\"";

    fn read(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self::Never);
        }
        match units::duration(text) {
            None => Err("is not a duration".to_owned()),
            Some(kept) if kept < Self::MIN => Err("is too short for any retry".to_owned()),
            Some(kept) if kept > Self::MAX => Err("is too long".to_owned()),
            Some(kept) => Ok(Self::For(kept)),
        }
    }
}

impl Setting for StoreOutage {
    const MEND: &'static str = "write \"closed\" or \"open\"";

    fn read(text: &str) -> Result<Self, String> {
        choice(text, &[("closed", Self::Closed), ("open", Self::Open)])
    }
}

impl Setting for Syntax {
    const MEND: &'static str = "write \"lenient\" or \"strict\"";

    fn read(text: &str) -> Result<Self, String> {
        choice(text, &[("lenient", Self::Lenient), ("strict", Self::Strict)])
    }
}

impl Setting for Unknown {
    const MEND: &'static str = "write \"hold\", \"re-execute\", \"probe\" or \"transactional\"";

    fn read(text: &str) -> Result<Self, String> {
        let words = [
            ("hold", Self::Hold),
            ("probe", Self::Probe),
            ("re-execute", Self::ReExecute),
            ("transactional", Self::Transactional),
        ];
        choice(text, &words)
    }
}
