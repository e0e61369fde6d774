//! A small correct layer, and the defects that can be switched on in it.
//!
//! The layer runs in a process of its own (this test binary, started again), so that the checker
//! can kill it like any other. It shares no code with the product.

mod defect;
pub(crate) mod flow;
pub(crate) mod forward;
pub(crate) mod identity;
pub(crate) mod serve;
pub(crate) mod store;

pub(crate) use defect::Defect;

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
