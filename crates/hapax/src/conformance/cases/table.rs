//! The cells. One line each, in the order of the table in `docs/model.md`.

use super::{Act, Cell, End, Expect, Rule, Standing};
use crate::record::Settler;
use Expect::{Becomes, Granted, GrantedAgain, Held, Lost, Prolonged, Repeated};
use Standing::{
    Absent, Completed, ExpiredCompleted, ExpiredReleased, InDoubt, Lapsed, Released, Running, Taken,
};

const ANEW: Act = Act::Claim { mine: false, same: true };
const ANEW_OTHER: Act = Act::Claim { mine: false, same: false };
const AGAIN: Act = Act::Claim { mine: true, same: true };
const AGAIN_OTHER: Act = Act::Claim { mine: true, same: false };

const fn owner(end: End) -> Act {
    Act::Settle(end, Settler::Owner)
}

const fn operator(end: End) -> Act {
    Act::Settle(end, Settler::Operator)
}

const fn under(
    rule: Rule,
    name: &'static str,
    standing: Standing,
    act: Act,
    expect: Expect,
) -> Cell {
    Cell { name, standing, rule, act, expect }
}

const fn cell(name: &'static str, standing: Standing, act: Act, expect: Expect) -> Cell {
    under(Rule::Doubt, name, standing, act, expect)
}

/// Claims.
pub(super) const CLAIMS: [Cell; 33] = [
    cell("claim_on_absent_is_granted", Absent, ANEW, Granted(1)),
    cell("claim_on_expired_completed_is_granted", ExpiredCompleted, ANEW, Granted(1)),
    cell(
        "claim_on_expired_completed_with_other_fingerprint_is_granted",
        ExpiredCompleted,
        ANEW_OTHER,
        Granted(1),
    ),
    cell("claim_on_expired_released_is_granted", ExpiredReleased, ANEW, Granted(1)),
    cell(
        "claim_on_expired_released_with_other_fingerprint_is_granted",
        ExpiredReleased,
        ANEW_OTHER,
        Granted(1),
    ),
    cell("claim_on_released_is_granted", Released, ANEW, Granted(2)),
    cell("claim_on_released_by_the_same_attempt_is_held", Released, AGAIN, Held("released")),
    cell(
        "claim_on_released_with_other_fingerprint_is_held",
        Released,
        ANEW_OTHER,
        Held("released"),
    ),
    cell("claim_on_running_is_held", Running, ANEW, Held("running")),
    cell("claim_on_running_by_the_same_attempt_is_granted_again", Running, AGAIN, GrantedAgain),
    cell(
        "claim_on_running_by_the_same_attempt_with_other_fingerprint_is_held",
        Running,
        AGAIN_OTHER,
        Held("running"),
    ),
    cell("claim_on_running_with_other_fingerprint_is_held", Running, ANEW_OTHER, Held("running")),
    under(Rule::Reclaim, "claim_on_running_under_reclaim_is_held", Running, ANEW, Held("running")),
    cell("claim_on_lapsed_is_held", Lapsed, ANEW, Held("lapsed")),
    cell("claim_on_lapsed_by_the_same_attempt_is_held", Lapsed, AGAIN, Held("lapsed")),
    cell("claim_on_lapsed_with_other_fingerprint_is_held", Lapsed, ANEW_OTHER, Held("lapsed")),
    under(Rule::Reclaim, "claim_on_lapsed_under_reclaim_is_granted", Lapsed, ANEW, Granted(2)),
    under(
        Rule::Reclaim,
        "claim_on_lapsed_under_reclaim_by_the_same_attempt_is_held",
        Lapsed,
        AGAIN,
        Held("lapsed"),
    ),
    under(
        Rule::Reclaim,
        "claim_on_lapsed_under_reclaim_with_other_fingerprint_is_held",
        Lapsed,
        ANEW_OTHER,
        Held("lapsed"),
    ),
    under(
        Rule::ReclaimEarly,
        "claim_on_lapsed_before_the_late_answer_cap_is_held",
        Lapsed,
        ANEW,
        Held("lapsed"),
    ),
    under(
        Rule::ReclaimSpent,
        "claim_on_lapsed_with_attempts_spent_is_held",
        Lapsed,
        ANEW,
        Held("lapsed"),
    ),
    cell("claim_on_doubt_is_held", InDoubt, ANEW, Held("in doubt")),
    cell("claim_on_doubt_by_the_same_attempt_is_held", InDoubt, AGAIN, Held("in doubt")),
    cell("claim_on_doubt_with_other_fingerprint_is_held", InDoubt, ANEW_OTHER, Held("in doubt")),
    under(Rule::Reclaim, "claim_on_doubt_under_reclaim_is_granted", InDoubt, ANEW, Granted(2)),
    under(
        Rule::Reclaim,
        "claim_on_doubt_under_reclaim_by_the_same_attempt_is_held",
        InDoubt,
        AGAIN,
        Held("in doubt"),
    ),
    under(
        Rule::Reclaim,
        "claim_on_doubt_under_reclaim_with_other_fingerprint_is_held",
        InDoubt,
        ANEW_OTHER,
        Held("in doubt"),
    ),
    under(
        Rule::ReclaimEarly,
        "claim_on_doubt_before_the_late_answer_cap_is_held",
        InDoubt,
        ANEW,
        Held("in doubt"),
    ),
    under(
        Rule::ReclaimSpent,
        "claim_on_doubt_with_attempts_spent_is_held",
        InDoubt,
        ANEW,
        Held("in doubt"),
    ),
    cell("claim_on_completed_is_held", Completed, ANEW, Held("completed")),
    cell("claim_on_completed_by_the_same_attempt_is_held", Completed, AGAIN, Held("completed")),
    cell(
        "claim_on_completed_with_other_fingerprint_is_held",
        Completed,
        ANEW_OTHER,
        Held("completed"),
    ),
    under(
        Rule::Reclaim,
        "claim_on_completed_under_reclaim_is_held",
        Completed,
        ANEW,
        Held("completed"),
    ),
];

/// Renewals and settlements by the owner.
pub(super) const LEASES: [Cell; 36] = [
    cell("renew_on_absent_is_lost", Absent, Act::Renew, Lost("expired")),
    cell("complete_on_absent_is_lost", Absent, owner(End::Complete), Lost("expired")),
    cell("release_on_absent_is_lost", Absent, owner(End::Release), Lost("expired")),
    cell("doubt_on_absent_is_lost", Absent, owner(End::Doubt), Lost("expired")),
    cell("renew_on_expired_completed_is_lost", ExpiredCompleted, Act::Renew, Lost("expired")),
    cell(
        "complete_on_expired_completed_is_lost",
        ExpiredCompleted,
        owner(End::Complete),
        Lost("expired"),
    ),
    cell(
        "release_on_expired_completed_is_lost",
        ExpiredCompleted,
        owner(End::Release),
        Lost("expired"),
    ),
    cell(
        "doubt_on_expired_completed_is_lost",
        ExpiredCompleted,
        owner(End::Doubt),
        Lost("expired"),
    ),
    cell("renew_on_expired_released_is_lost", ExpiredReleased, Act::Renew, Lost("expired")),
    cell(
        "complete_on_expired_released_is_lost",
        ExpiredReleased,
        owner(End::Complete),
        Lost("expired"),
    ),
    cell(
        "release_on_expired_released_is_lost",
        ExpiredReleased,
        owner(End::Release),
        Lost("expired"),
    ),
    cell("doubt_on_expired_released_is_lost", ExpiredReleased, owner(End::Doubt), Lost("expired")),
    cell("renew_on_taken_is_lost", Taken, Act::Renew, Lost("superseded")),
    cell("complete_on_taken_is_lost", Taken, owner(End::Complete), Lost("superseded")),
    cell("release_on_taken_is_lost", Taken, owner(End::Release), Lost("superseded")),
    cell("doubt_on_taken_is_lost", Taken, owner(End::Doubt), Lost("superseded")),
    cell("renew_on_running_prolongs", Running, Act::Renew, Prolonged),
    cell("complete_on_running_succeeds", Running, owner(End::Complete), Becomes("completed")),
    cell("release_on_running_succeeds", Running, owner(End::Release), Becomes("released")),
    cell("doubt_on_running_succeeds", Running, owner(End::Doubt), Becomes("in doubt")),
    cell("renew_on_lapsed_prolongs", Lapsed, Act::Renew, Prolonged),
    cell("complete_on_lapsed_succeeds", Lapsed, owner(End::Complete), Becomes("completed")),
    cell("release_on_lapsed_succeeds", Lapsed, owner(End::Release), Becomes("released")),
    cell("doubt_on_lapsed_succeeds", Lapsed, owner(End::Doubt), Becomes("in doubt")),
    cell("renew_on_doubt_is_lost", InDoubt, Act::Renew, Lost("settled")),
    cell("complete_on_doubt_succeeds", InDoubt, owner(End::Complete), Becomes("completed")),
    cell("release_on_doubt_succeeds", InDoubt, owner(End::Release), Becomes("released")),
    cell("doubt_on_doubt_changes_nothing", InDoubt, owner(End::Doubt), Repeated),
    cell("renew_on_completed_is_lost", Completed, Act::Renew, Lost("settled")),
    cell("complete_on_completed_changes_nothing", Completed, owner(End::Complete), Repeated),
    cell("release_on_completed_is_lost", Completed, owner(End::Release), Lost("settled")),
    cell("doubt_on_completed_is_lost", Completed, owner(End::Doubt), Lost("settled")),
    cell("renew_on_released_is_lost", Released, Act::Renew, Lost("settled")),
    cell("complete_on_released_is_lost", Released, owner(End::Complete), Lost("settled")),
    cell("release_on_released_changes_nothing", Released, owner(End::Release), Repeated),
    cell("doubt_on_released_is_lost", Released, owner(End::Doubt), Lost("settled")),
];

/// Settlements by an operator: only of what is in doubt or lapsed (ruling 13).
pub(super) const OPERATORS: [Cell; 24] = [
    cell(
        "operator_complete_on_absent_is_refused",
        Absent,
        operator(End::Complete),
        Lost("expired"),
    ),
    cell("operator_release_on_absent_is_refused", Absent, operator(End::Release), Lost("expired")),
    cell("operator_doubt_on_absent_is_refused", Absent, operator(End::Doubt), Lost("expired")),
    cell(
        "operator_complete_on_expired_completed_is_refused",
        ExpiredCompleted,
        operator(End::Complete),
        Lost("expired"),
    ),
    cell(
        "operator_release_on_expired_completed_is_refused",
        ExpiredCompleted,
        operator(End::Release),
        Lost("expired"),
    ),
    cell(
        "operator_doubt_on_expired_completed_is_refused",
        ExpiredCompleted,
        operator(End::Doubt),
        Lost("expired"),
    ),
    cell(
        "operator_complete_on_taken_is_refused",
        Taken,
        operator(End::Complete),
        Lost("superseded"),
    ),
    cell("operator_release_on_taken_is_refused", Taken, operator(End::Release), Lost("superseded")),
    cell("operator_doubt_on_taken_is_refused", Taken, operator(End::Doubt), Lost("superseded")),
    cell(
        "operator_complete_on_running_is_refused",
        Running,
        operator(End::Complete),
        Lost("running"),
    ),
    cell(
        "operator_release_on_running_is_refused",
        Running,
        operator(End::Release),
        Lost("running"),
    ),
    cell("operator_doubt_on_running_is_refused", Running, operator(End::Doubt), Lost("running")),
    cell(
        "operator_complete_on_lapsed_succeeds",
        Lapsed,
        operator(End::Complete),
        Becomes("completed"),
    ),
    cell(
        "operator_release_on_lapsed_succeeds",
        Lapsed,
        operator(End::Release),
        Becomes("released"),
    ),
    cell("operator_doubt_on_lapsed_succeeds", Lapsed, operator(End::Doubt), Becomes("in doubt")),
    cell(
        "operator_complete_on_doubt_succeeds",
        InDoubt,
        operator(End::Complete),
        Becomes("completed"),
    ),
    cell(
        "operator_release_on_doubt_succeeds",
        InDoubt,
        operator(End::Release),
        Becomes("released"),
    ),
    cell("operator_doubt_on_doubt_changes_nothing", InDoubt, operator(End::Doubt), Repeated),
    cell(
        "operator_complete_on_completed_changes_nothing",
        Completed,
        operator(End::Complete),
        Repeated,
    ),
    cell(
        "operator_release_on_completed_is_refused",
        Completed,
        operator(End::Release),
        Lost("settled"),
    ),
    cell(
        "operator_doubt_on_completed_is_refused",
        Completed,
        operator(End::Doubt),
        Lost("settled"),
    ),
    cell(
        "operator_complete_on_released_is_refused",
        Released,
        operator(End::Complete),
        Lost("settled"),
    ),
    cell(
        "operator_release_on_released_changes_nothing",
        Released,
        operator(End::Release),
        Repeated,
    ),
    cell("operator_doubt_on_released_is_refused", Released, operator(End::Doubt), Lost("settled")),
];
