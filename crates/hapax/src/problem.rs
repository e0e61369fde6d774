//! Problem details (RFC 9457): one table of everything the layer itself answers.

/// What is wrong, and how it is told (ruling 7). Never stored, never consumes a key (FAI-07).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Problem {
    /// The request body is over the limit.
    BodyTooLarge,
    /// The same key is still running.
    InProgress,
    /// The key is malformed.
    InvalidKey,
    /// The request cannot be protected as it is.
    InvalidRequest,
    /// An issued key is past its time.
    KeyExpired,
    /// The key belongs to another request.
    KeyReused,
    /// The route requires a key.
    MissingKey,
    /// The outcome of this or an earlier attempt is unknown; status as for a duplicate.
    OutcomeUnknown,
    /// Too many keyed operations at once.
    Overloaded,
    /// The operation is done; its answer was too large to keep, or nobody heard it.
    ResultNotRetained,
    /// The store holds as many records as it may.
    StoreFull,
    /// The store is not there.
    StoreUnavailable,
    /// The upstream could not be reached; nothing was sent.
    UpstreamUnreachable,
}

impl Problem {
    /// All problems.
    pub const ALL: [Self; 13] = [
        Self::BodyTooLarge,
        Self::InProgress,
        Self::InvalidKey,
        Self::InvalidRequest,
        Self::KeyExpired,
        Self::KeyReused,
        Self::MissingKey,
        Self::OutcomeUnknown,
        Self::Overloaded,
        Self::ResultNotRetained,
        Self::StoreFull,
        Self::StoreUnavailable,
        Self::UpstreamUnreachable,
    ];

    /// The stable machine code: a member of the body and the end of `type`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::BodyTooLarge => "body-too-large",
            Self::InProgress => "in-progress",
            Self::InvalidKey => "invalid-key",
            Self::InvalidRequest => "invalid-request",
            Self::KeyExpired => "key-expired",
            Self::KeyReused => "key-reused",
            Self::MissingKey => "missing-key",
            Self::OutcomeUnknown => "outcome-unknown",
            Self::Overloaded => "overloaded",
            Self::ResultNotRetained => "result-not-retained",
            Self::StoreFull => "store-full",
            Self::StoreUnavailable => "store-unavailable",
            Self::UpstreamUnreachable => "upstream-unreachable",
        }
    }

    /// The problem with this code.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|problem| problem.code() == code)
    }

    /// The HTTP status. The first caller of an attempt whose outcome is unknown is told 502 or 504
    /// instead of `OutcomeUnknown`'s 409.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidKey | Self::InvalidRequest | Self::MissingKey => 400,
            Self::InProgress | Self::OutcomeUnknown => 409,
            Self::ResultNotRetained => 410,
            Self::KeyExpired => 412,
            Self::BodyTooLarge => 413,
            Self::KeyReused => 422,
            Self::UpstreamUnreachable => 502,
            Self::Overloaded | Self::StoreFull | Self::StoreUnavailable => 503,
        }
    }

    /// One line for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::BodyTooLarge => "The request body is too large to protect",
            Self::InProgress => "The request is still being processed",
            Self::InvalidKey => "The idempotency key is not valid",
            Self::InvalidRequest => "The request cannot be handled safely",
            Self::KeyExpired => "The issued idempotency key has expired",
            Self::KeyReused => "The idempotency key was used for another request",
            Self::MissingKey => "An idempotency key is required",
            Self::OutcomeUnknown => "The outcome of the request is unknown",
            Self::Overloaded => "Too many requests are being processed",
            Self::ResultNotRetained => "The request took effect, but its result was not kept",
            Self::StoreFull => "The idempotency store is full",
            Self::StoreUnavailable => "The idempotency store is unavailable",
            Self::UpstreamUnreachable => "The service could not be reached",
        }
    }

    /// What happened and what to do, for the client's developer.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::BodyTooLarge => {
                "The body is over this route's limit for keyed requests. Nothing was executed; send \
                 a smaller body."
            }
            Self::InProgress => {
                "A request with this key is running. Nothing was executed twice; repeat the same \
                 request with the same key after the time in Retry-After."
            }
            Self::InvalidKey => {
                "Nothing was executed. Send one Idempotency-Key field: a quoted string of 1 to 255 \
                 characters, such as a UUID."
            }
            Self::InvalidRequest => {
                "Nothing was executed. The request is ambiguous about its target, its caller or its \
                 protected fields."
            }
            Self::KeyExpired => {
                "Nothing was executed. Ask for a new key, after making sure that the operation has \
                 not taken effect already."
            }
            Self::KeyReused => {
                "The first request with this key had another method, target, media type or body. \
                 Nothing was executed; use a new key for a new intent."
            }
            Self::MissingKey => {
                "This route takes only requests with an Idempotency-Key field. Nothing was executed; \
                 send a unique key, the same on every retry."
            }
            Self::OutcomeUnknown => {
                "The request may or may not have taken effect, and it will not be run again unasked. \
                 Do not use a new key; find out what happened, or ask again later with the same key."
            }
            Self::Overloaded => {
                "Nothing was executed. Repeat the same request with the same key after the time in \
                 Retry-After."
            }
            Self::ResultNotRetained => {
                "The request took effect once and will not run again, but its answer was too large to \
                 keep, or was never heard. Look the result up."
            }
            Self::StoreFull | Self::StoreUnavailable => {
                "Nothing was executed, because the key could not be recorded. Repeat the same request \
                 with the same key after the time in Retry-After."
            }
            Self::UpstreamUnreachable => {
                "Nothing was sent to the service, and the key is free. Repeat the same request with \
                 the same key."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn htp_12_codes_are_unique_and_read_back() {
        for problem in Problem::ALL {
            assert_eq!(Problem::parse(problem.code()), Some(problem));
            assert!((400..=599).contains(&problem.status()));
        }
    }
}
