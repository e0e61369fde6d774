//! FAI rows of the semantics, status by status.

use super::*;

fn table(preset: Preset, statuses: &[u16], invites_retry: bool) -> Vec<Disposition> {
    let failures = Failures::preset(preset);
    statuses.iter().map(|status| failures.disposition(*status, invites_retry)).collect()
}

fn all(preset: Preset, statuses: &[u16], expected: Disposition) {
    assert!(
        table(preset, statuses, false).iter().all(|disposition| *disposition == expected),
        "{preset:?} {statuses:?}"
    );
}

const BUSINESS: [u16; 12] = [200, 201, 202, 204, 301, 303, 308, 400, 402, 404, 409, 422];

#[test]
fn fai_01_02_successes_redirects_and_business_failures_are_kept() {
    all(Preset::Standard, &BUSINESS, Disposition::Keep);
    all(Preset::Strict, &BUSINESS, Disposition::Keep);
    all(Preset::Retry5xx, &BUSINESS, Disposition::Keep);
    all(Preset::StoreAll, &BUSINESS, Disposition::Keep);
}

#[test]
fn fai_03_refusals_free_the_key() {
    for preset in [Preset::Standard, Preset::Strict, Preset::Retry5xx, Preset::SuccessOnly] {
        all(preset, &REFUSED, Disposition::Free);
    }
    all(Preset::StoreAll, &REFUSED, Disposition::Keep);
}

#[test]
fn fai_04_05_server_errors_go_by_preset() {
    all(Preset::Standard, &[500, 501, 503, 505, 507, 599], Disposition::Free);
    all(Preset::Standard, &[502, 504], Disposition::Unknown);
    all(Preset::Strict, &[500, 501, 505, 507], Disposition::Keep);
    all(Preset::Strict, &[502, 503, 504], Disposition::Unknown);
    assert_eq!(table(Preset::Strict, &[503], true), [Disposition::Free]);
    all(Preset::Retry5xx, &[500, 502, 503, 504], Disposition::Free);
    all(Preset::StoreAll, &[500, 502, 503, 504], Disposition::Keep);
    all(Preset::SuccessOnly, &[302, 404, 422, 500, 503], Disposition::Free);
    all(Preset::SuccessOnly, &[502, 504], Disposition::Unknown);
    all(Preset::SuccessOnly, &[200, 204], Disposition::Keep);
}

#[test]
fn fai_05_exceptions_win_and_the_exact_status_wins_over_its_class() {
    let mut failures = Failures::preset(Preset::Standard);
    failures.by_class.insert(4, Disposition::Free);
    failures.by_status.insert(409, Disposition::Keep);
    failures.by_status.insert(503, Disposition::Unknown);
    assert_eq!(failures.disposition(404, false), Disposition::Free);
    assert_eq!(failures.disposition(409, false), Disposition::Keep);
    assert_eq!(failures.disposition(503, true), Disposition::Unknown);
    assert_eq!(failures.disposition(500, false), Disposition::Free);
}

#[test]
fn fai_06_the_upstream_decides_for_one_answer() {
    let policy = Policy::default();
    let outcome = |status, directive| Outcome::Answered {
        directive,
        response: RecordedResponse { status, ..RecordedResponse::default() },
    };
    let settle = |status, directive| policy.settlement(&outcome(status, directive));
    assert!(matches!(settle(500, Some(Directive::Final)), Some(Settlement::Complete { .. })));
    assert!(matches!(
        settle(200, Some(Directive::Release)),
        Some(Settlement::Release { status: Some(200), .. })
    ));
    assert!(matches!(
        settle(200, Some(Directive::Unknown)),
        Some(Settlement::Doubt { cause: Cause::Reported })
    ));
    assert_eq!(Directive::parse(b" final "), Some(Directive::Final));
    assert_eq!(Directive::parse(b"perhaps"), None);
}

#[test]
fn exe_08_what_was_not_sent_frees_the_key_and_what_was_lost_does_not() {
    let policy = Policy::default();
    assert!(matches!(
        policy.settlement(&Outcome::NotSent),
        Some(Settlement::Release { status: None, .. })
    ));
    assert_eq!(
        policy.settlement(&Outcome::Unknown(Cause::Lost)),
        Some(Settlement::Doubt { cause: Cause::Lost })
    );
    let large = Outcome::AnsweredLarge { directive: None, location: None, status: 201 };
    assert!(matches!(
        policy.settlement(&large),
        Some(Settlement::Complete { kept: Kept::NotRetained { status: 201, .. }, .. })
    ));
}

#[test]
fn b03_only_transactional_claims_commit_through_the_store() {
    for unknown in [OnUnknown::Hold, OnUnknown::Probe, OnUnknown::ReExecute] {
        assert_eq!(Policy { unknown, ..Policy::default() }.transactional(), None);
    }
    let policy = Policy { unknown: OnUnknown::Transactional, ..Policy::default() };
    assert_eq!(policy.transactional(), Some(policy.retention));
    // Nothing is ever left in doubt because it was tried often.
    assert!(matches!(policy.on_lapse(), OnLapse::Reclaim { attempts_max: u32::MAX, .. }));
}
