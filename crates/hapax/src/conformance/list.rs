//! The names of the cases as tokens, which is what a macro can make tests of.

/// Makes one test of each case of the [suite](crate::conformance), for stores of this harness.
///
/// The expression is evaluated once for each test, inside a tokio runtime.
#[macro_export]
macro_rules! store_conformance {
    ($harness:expr) => {
        $crate::__conformance_cases! { __conformance_tests ($harness) }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    (($harness:expr) $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                $crate::conformance::test(|| $harness, stringify!($name));
            }
        )*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_names {
    (() $($name:ident)*) => {
        [$(stringify!($name)),*]
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_cases {
    ($then:ident $arguments:tt) => {
        $crate::$then! {
            $arguments
            claim_on_absent_is_granted
            claim_on_expired_completed_is_granted
            claim_on_expired_completed_with_other_fingerprint_is_granted
            claim_on_expired_released_is_granted
            claim_on_expired_released_with_other_fingerprint_is_granted
            claim_on_released_is_granted
            claim_on_released_by_the_same_attempt_is_granted
            claim_on_released_with_other_fingerprint_is_held
            claim_on_running_is_held
            claim_on_running_by_the_same_attempt_is_granted_again
            claim_on_running_by_the_same_attempt_with_other_fingerprint_is_held
            claim_on_running_with_other_fingerprint_is_held
            claim_on_running_under_reclaim_is_held
            claim_on_lapsed_is_held
            claim_on_lapsed_by_the_same_attempt_is_held
            claim_on_lapsed_with_other_fingerprint_is_held
            claim_on_lapsed_under_reclaim_is_granted
            claim_on_lapsed_under_reclaim_by_the_same_attempt_is_granted
            claim_on_lapsed_under_reclaim_with_other_fingerprint_is_held
            claim_on_lapsed_before_the_late_answer_cap_is_held
            claim_on_lapsed_with_attempts_spent_is_held
            claim_on_doubt_is_held
            claim_on_doubt_by_the_same_attempt_is_held
            claim_on_doubt_with_other_fingerprint_is_held
            claim_on_doubt_under_reclaim_is_granted
            claim_on_doubt_under_reclaim_by_the_same_attempt_is_granted
            claim_on_doubt_under_reclaim_with_other_fingerprint_is_held
            claim_on_doubt_before_the_late_answer_cap_is_held
            claim_on_doubt_with_attempts_spent_is_held
            claim_on_completed_is_held
            claim_on_completed_by_the_same_attempt_is_held
            claim_on_completed_with_other_fingerprint_is_held
            claim_on_completed_under_reclaim_is_held
            renew_on_absent_is_lost
            complete_on_absent_is_lost
            release_on_absent_is_lost
            doubt_on_absent_is_lost
            renew_on_expired_completed_is_lost
            complete_on_expired_completed_is_lost
            release_on_expired_completed_is_lost
            doubt_on_expired_completed_is_lost
            renew_on_expired_released_is_lost
            complete_on_expired_released_is_lost
            release_on_expired_released_is_lost
            doubt_on_expired_released_is_lost
            renew_on_taken_is_lost
            complete_on_taken_is_lost
            release_on_taken_is_lost
            doubt_on_taken_is_lost
            renew_on_running_prolongs
            complete_on_running_succeeds
            release_on_running_succeeds
            doubt_on_running_succeeds
            renew_on_lapsed_prolongs
            complete_on_lapsed_succeeds
            release_on_lapsed_succeeds
            doubt_on_lapsed_succeeds
            renew_on_doubt_is_lost
            complete_on_doubt_succeeds
            release_on_doubt_succeeds
            doubt_on_doubt_changes_nothing
            renew_on_completed_is_lost
            complete_on_completed_changes_nothing
            release_on_completed_is_lost
            doubt_on_completed_is_lost
            renew_on_released_is_lost
            complete_on_released_is_lost
            release_on_released_changes_nothing
            doubt_on_released_is_lost
            operator_complete_on_absent_is_refused
            operator_release_on_absent_is_refused
            operator_doubt_on_absent_is_refused
            operator_complete_on_expired_completed_is_refused
            operator_release_on_expired_completed_is_refused
            operator_doubt_on_expired_completed_is_refused
            operator_complete_on_taken_is_refused
            operator_release_on_taken_is_refused
            operator_doubt_on_taken_is_refused
            operator_complete_on_running_is_refused
            operator_release_on_running_is_refused
            operator_doubt_on_running_is_refused
            operator_complete_on_lapsed_succeeds
            operator_release_on_lapsed_succeeds
            operator_doubt_on_lapsed_succeeds
            operator_complete_on_doubt_succeeds
            operator_release_on_doubt_succeeds
            operator_doubt_on_doubt_changes_nothing
            operator_complete_on_completed_changes_nothing
            operator_release_on_completed_is_refused
            operator_doubt_on_completed_is_refused
            operator_complete_on_released_is_refused
            operator_release_on_released_changes_nothing
            operator_doubt_on_released_is_refused
            list_shows_what_records_mean_now
            list_pages_through_all_in_order
            list_of_a_scope_shows_that_scope_alone
            stats_count_what_is_in_doubt_or_lapsed
            purge_on_absent_finds_nothing
            purge_on_running_is_refused
            purge_by_force_on_running_removes
            purge_on_settled_removes
            purge_on_doubt_removes
            sweep_removes_what_has_long_expired
            sweep_removes_no_more_than_its_limit
            full_store_refuses_new_records
            full_store_goes_on_with_its_records
            full_store_takes_new_records_after_purging
        }
    };
}
