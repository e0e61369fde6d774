//! A small correct layer, and the defects that can be switched on in it.
//!
//! The layer runs in a process of its own (this test binary, started again), so that the checker
//! can kill it like any other. It shares no code with the product.

pub(crate) mod flow;
pub(crate) mod forward;
pub(crate) mod identity;
pub(crate) mod serve;
pub(crate) mod store;

/// What is wrong with the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// Two steps instead of one: look whether the key is there, then claim it.
    CheckThenAct,
    /// Nothing is persisted before the request is sent.
    ClaimInMemory,
    /// Keys are cut to 64 characters.
    CutKeys,
    /// A key in doubt expires like a result.
    DoubtExpires,
    /// Set-Cookie is replayed.
    ReplaysCookies,
    /// A fresh digest of the quoted form: quoted and bare keys differ.
    QuotedDiffers,
    /// A dead record still refuses other payloads.
    DeadRecordRefuses,
    /// The key is dropped when the client hangs up.
    FreesOnHangUp,
    /// The answer to a duplicate in flight is kept as the result.
    KeepsConflict,
    /// An interim answer's status becomes the result.
    KeepsRefusals,
    /// The record is written after the client has its answer.
    KeepsLate,
    /// What was cut is kept as if it were whole.
    KeepsTruncated,
    /// A claim lasts as long as a result: a crash wedges the key.
    LeaseIsRetention,
    /// Only status, content and Content-Type are replayed.
    LosesFields,
    /// The key's field is forwarded under the client's name only if it is in lower case.
    LosesKey,
    /// Malformed keys run unprotected.
    MalformedRuns,
    /// A mismatch replaces the record.
    MismatchPoisons,
    /// A mismatch is told only once the owner is through.
    MismatchWaits,
    /// Lines of a field are joined by commas.
    JoinsLines,
    /// Nothing is wrong.
    None,
    /// The claim is not renewed.
    NoRenewal,
    /// The body is not compared.
    NoFingerprint,
    /// Errors are plain text.
    PlainErrors,
    /// A result over the limit is not kept, and the key is freed.
    RerunsOversized,
    /// A lost answer is asked for again.
    Resends,
    /// Replays carry no mark.
    Unmarked,
    /// The caller is not part of the key's identity.
    Unscoped,
    /// Caller and key are joined by a colon.
    JoinsScope,
    /// A time-out frees the key.
    TimeoutFrees,
    /// gzip is kept and replayed to everyone.
    ZipsForAll,
    /// A paused owner overwrites what another has settled.
    NoFence,
}

impl Defect {
    pub(crate) const ALL: [Self; 31] = [
        Self::CheckThenAct,
        Self::ClaimInMemory,
        Self::CutKeys,
        Self::DeadRecordRefuses,
        Self::DoubtExpires,
        Self::FreesOnHangUp,
        Self::JoinsLines,
        Self::JoinsScope,
        Self::KeepsConflict,
        Self::KeepsLate,
        Self::KeepsRefusals,
        Self::KeepsTruncated,
        Self::LeaseIsRetention,
        Self::LosesFields,
        Self::LosesKey,
        Self::MalformedRuns,
        Self::MismatchPoisons,
        Self::MismatchWaits,
        Self::NoFence,
        Self::NoFingerprint,
        Self::NoRenewal,
        Self::None,
        Self::PlainErrors,
        Self::QuotedDiffers,
        Self::ReplaysCookies,
        Self::RerunsOversized,
        Self::Resends,
        Self::TimeoutFrees,
        Self::Unmarked,
        Self::Unscoped,
        Self::ZipsForAll,
    ];

    pub(crate) fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|defect| format!("{defect:?}") == name).expect("a defect")
    }
}

/// How a prefix of the profile is configured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) body_max: usize,
    pub(crate) cookies: bool,
    pub(crate) failures: Failures,
    pub(crate) late_ms: u64,
    pub(crate) lease_ms: u64,
    pub(crate) off: bool,
    pub(crate) put: bool,
    pub(crate) re_execute: bool,
    pub(crate) required: bool,
    pub(crate) retention_ms: u64,
    pub(crate) strict_syntax: bool,
    pub(crate) timeout_ms: u64,
    pub(crate) wait_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failures {
    Retry5xx,
    Standard,
    StoreAll,
    Strict,
    SuccessOnly,
}

/// The prefixes that this layer is configured with.
pub(crate) const ROUTES: &str = "required,strict-syntax,strict,store-all,retry-5xx,success-only,reject,\
                          brief-wait,short,timeout,lease,small,off,cookies,put,re-execute";

impl Rules {
    pub(crate) fn of(path: &str) -> Self {
        let mut rules = Self {
            body_max: 1 << 20,
            cookies: false,
            failures: Failures::Standard,
            late_ms: 60_000,
            lease_ms: 10_000,
            off: false,
            put: false,
            re_execute: false,
            required: false,
            retention_ms: 86_400_000,
            strict_syntax: false,
            timeout_ms: 30_000,
            wait_ms: 10_000,
        };
        match path.strip_prefix("/check/").and_then(|rest| rest.split('/').next()) {
            Some("required") => rules.required = true,
            Some("strict-syntax") => (rules.required, rules.strict_syntax) = (true, true),
            Some("strict") => rules.failures = Failures::Strict,
            Some("store-all") => rules.failures = Failures::StoreAll,
            Some("retry-5xx") => rules.failures = Failures::Retry5xx,
            Some("success-only") => rules.failures = Failures::SuccessOnly,
            Some("reject") => rules.wait_ms = 0,
            Some("brief-wait") => rules.wait_ms = 1000,
            Some("short") => rules.retention_ms = 2000,
            Some("timeout") => {
                (rules.timeout_ms, rules.late_ms, rules.wait_ms) = (1000, 5000, 0);
            }
            Some("lease") => (rules.lease_ms, rules.wait_ms) = (1000, 0),
            Some("small") => rules.body_max = 4096,
            Some("off") => rules.off = true,
            Some("cookies") => rules.cookies = true,
            Some("put") => rules.put = true,
            Some("re-execute") => {
                rules.re_execute = true;
                (rules.timeout_ms, rules.late_ms) = (1000, 1000);
                (rules.lease_ms, rules.wait_ms) = (1000, 0);
            }
            _ => {}
        }
        rules
    }
}
