//! The suite's own proof: stores with one defect each, and the case that must reject each.
//!
//! The defects are those that idempotency code in the field has or had. A suite that has never
//! failed proves nothing; a store that passes although it should not is a missing case, and becomes
//! a defect here.

mod hints;
mod store;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::harness::{Harness, Subject};
use crate::record::{Phase, Record};
use crate::scope::RecordId;
use crate::store::Store;
use crate::time::{Clock as _, ManualClock};
use hints::Hints;
use store::{MutantStore, Node};

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Defect {
    /// Attempts are not counted: a record may be run again for ever.
    AttemptsUncounted,
    /// Only the first piece of a body is kept.
    BodyTruncated,
    /// A claim reads, looks, and writes.
    CheckThenAct,
    /// An expired claim of a dead owner, or an unknown outcome, counts as free.
    DoubtIsFree,
    /// Who waits is told of answers and releases, not of doubts.
    DoubtUntold,
    /// A claim writes twice; dropped between, it leaves a record that nobody holds.
    DroppedClaimSticks,
    /// When it is full, it makes room by forgetting a live record.
    EvictsWhenFull,
    /// An expired record is still held against the key.
    ExpiredBlocks,
    /// A fence is the time of the claim, whatever the one before it was.
    FenceIsTime,
    /// Each owner gets the same fence.
    FenceRestarts,
    /// Repeated header lines become one.
    HeadersJoined,
    /// Only those are told who wait on the node where the operation ran.
    HintsStayHome,
    /// An owner whose lease is over is refused although nobody took over.
    LateOwnerRefused,
    /// A second answer replaces the first.
    LateSettleOverwrites,
    /// The claim lasts as long as the answer would: a crash blocks the key for half a day.
    LeaseIsRetention,
    /// A listing shows what is stored, not what it means: dead owners' records are "in progress".
    ListShowsStored,
    /// Another request gets the key if it is free to run again.
    MismatchIgnored,
    /// Each node judges leases by a clock of its own.
    NodeClock,
    /// An operator may settle what runs.
    OperatorSettlesRunning,
    /// Finished steps are forgotten when the outcome becomes unknown.
    ProgressLost,
    /// A running record may be purged unforced.
    PurgesRunning,
    /// A claim that has to wait for a connection acts on what stood before it waited.
    QueuedClaimIsStale,
    /// Another attempt runs before the first one's late answer can be ruled out.
    ReclaimsEarly,
    /// Releasing deletes the record.
    ReleaseDeletes,
    /// A renewed lease ends one term from now, even if it was to end later.
    RenewalShortens,
    /// Renewing looks at the record, not at who holds it.
    RenewsForAnyone,
    /// Renewing a settled record makes it run again.
    RenewRevives,
    /// Everything is gone after the end of the process.
    ReopenForgets,
    /// Claims are gone after the end of the process.
    ReopenForgetsClaims,
    /// A repeated claim of the same attempt is held.
    RepeatedClaimHeld,
    /// A repeated settlement is an error.
    RepeatedSettleFails,
    /// Retention counts from the claim.
    RetentionFromClaim,
    /// The answer is kept for as long as the lease.
    RetentionIsLease,
    /// A settlement reads, looks, and writes.
    SettleThenAct,
    /// A settlement does not look at who holds the record.
    SettlesForAnyone,
    /// Sizes count only what is stored as in doubt, not what has lapsed.
    StatsForgetLapsed,
    /// The sweep removes what is in doubt.
    SweepsDoubt,
    /// The sweep removes what is completed before it expires.
    SweepsEarly,
    /// The sweep looks, and removes later.
    SweepThenAct,
    /// Who waited for an attempt that vanished is not told of the end of the next.
    TakeoverForgetsWaiters,
    /// Trailers become headers.
    TrailersMerged,
}

impl Defect {
    /// All defects.
    pub const ALL: [Self; 41] = [
        Self::AttemptsUncounted,
        Self::BodyTruncated,
        Self::CheckThenAct,
        Self::DoubtIsFree,
        Self::DoubtUntold,
        Self::DroppedClaimSticks,
        Self::EvictsWhenFull,
        Self::ExpiredBlocks,
        Self::FenceIsTime,
        Self::FenceRestarts,
        Self::HeadersJoined,
        Self::HintsStayHome,
        Self::LateOwnerRefused,
        Self::LateSettleOverwrites,
        Self::LeaseIsRetention,
        Self::ListShowsStored,
        Self::MismatchIgnored,
        Self::NodeClock,
        Self::OperatorSettlesRunning,
        Self::ProgressLost,
        Self::PurgesRunning,
        Self::QueuedClaimIsStale,
        Self::ReclaimsEarly,
        Self::ReleaseDeletes,
        Self::RenewalShortens,
        Self::RenewsForAnyone,
        Self::RenewRevives,
        Self::ReopenForgets,
        Self::ReopenForgetsClaims,
        Self::RepeatedClaimHeld,
        Self::RepeatedSettleFails,
        Self::RetentionFromClaim,
        Self::RetentionIsLease,
        Self::SettleThenAct,
        Self::SettlesForAnyone,
        Self::StatsForgetLapsed,
        Self::SweepsDoubt,
        Self::SweepsEarly,
        Self::SweepThenAct,
        Self::TakeoverForgetsWaiters,
        Self::TrailersMerged,
    ];

    /// The case that must reject it; others may too.
    #[must_use]
    pub const fn rejected_by(self) -> &'static str {
        match self {
            Self::AttemptsUncounted => "claim_on_lapsed_with_attempts_spent_is_held",
            Self::BodyTruncated => "answer_of_a_mebibyte_comes_back",
            Self::CheckThenAct => "race_of_first_claims_grants_one",
            Self::DoubtIsFree => "claim_on_doubt_is_held",
            Self::DoubtUntold => "con_03_hint_of_each_end_reaches_another_node",
            Self::DroppedClaimSticks => "dropped_claim_is_made_or_not",
            Self::EvictsWhenFull => "full_store_refuses_new_records",
            Self::ExpiredBlocks => "ttl_01_expired_key_runs_as_if_new",
            Self::FenceIsTime => "con_05_fences_grow_when_the_clock_steps_back",
            Self::FenceRestarts => "claim_on_released_is_granted",
            Self::HeadersJoined => "answer_with_repeated_headers_comes_back",
            Self::HintsStayHome => "con_03_hint_of_each_end_reaches_another_node",
            Self::LateOwnerRefused => "complete_on_lapsed_succeeds",
            Self::LateSettleOverwrites => "complete_on_completed_changes_nothing",
            Self::LeaseIsRetention => "claim_on_lapsed_is_held",
            Self::ListShowsStored => "list_shows_what_records_mean_now",
            Self::MismatchIgnored => "claim_on_released_with_other_fingerprint_is_held",
            Self::NodeClock => "leases_are_judged_by_one_clock",
            Self::OperatorSettlesRunning => "operator_complete_on_running_is_refused",
            Self::ProgressLost => "progress_comes_back",
            Self::PurgesRunning => "purge_on_running_is_refused",
            Self::QueuedClaimIsStale => "race_of_a_crowd_grants_one",
            Self::ReclaimsEarly => "claim_on_lapsed_before_the_late_answer_cap_is_held",
            Self::ReleaseDeletes => "retry_of_release_gets_the_first_answer",
            Self::RenewalShortens => "con_04_renewal_never_shortens_a_lease",
            Self::RenewsForAnyone => "renew_on_taken_is_lost",
            Self::RenewRevives => "renew_on_completed_is_lost",
            Self::ReopenForgets => "answer_survives_the_end_of_the_process",
            Self::ReopenForgetsClaims => "claim_survives_the_end_of_the_process",
            Self::RepeatedClaimHeld => "retry_of_claim_after_a_lost_answer_gets_the_grant",
            Self::RepeatedSettleFails => "retry_of_complete_gets_the_first_answer",
            Self::RetentionFromClaim => "retention_counts_from_settling",
            Self::RetentionIsLease => "ttl_01_answer_stays_until_just_before_expiry",
            Self::SettleThenAct => "race_of_settlements_has_one_outcome",
            Self::SettlesForAnyone => "late_retry_of_release_does_not_free_the_next_attempt",
            Self::StatsForgetLapsed => "stats_count_what_is_in_doubt_or_lapsed",
            Self::SweepsDoubt => "dbt_11_sweep_never_removes_doubt",
            Self::SweepsEarly => "ttl_02_sweeping_does_not_shorten",
            Self::SweepThenAct => "race_of_sweep_and_claims_loses_nothing",
            Self::TakeoverForgetsWaiters => {
                "con_03_hint_after_a_takeover_reaches_who_waited_before_it"
            }
            Self::TrailersMerged => "answer_with_trailers_comes_back",
        }
    }
}

/// The harness of a store with a defect; without one it is sound, durable and shared, which shows
/// that it is the defect that is rejected.
#[derive(Clone, Copy, Debug)]
pub struct Mutants {
    /// What is wrong.
    pub defect: Option<Defect>,
}

/// What all nodes of one store share, and what is left when they end.
#[derive(Debug)]
struct Shared {
    /// Claims that have come and are not answered yet.
    claiming: AtomicUsize,
    clock: ManualClock,
    defect: Option<Defect>,
    hints: Hints,
    records: Mutex<BTreeMap<RecordId, Record>>,
    records_max: usize,
}

struct MutantSubject(Arc<Shared>);

impl Mutants {
    fn subject(self, records_max: usize) -> Box<dyn Subject> {
        let (claiming, clock, hints, records) = Default::default();
        let defect = self.defect;
        let shared = Shared { claiming, clock, defect, hints, records, records_max };
        Box::new(MutantSubject(Arc::new(shared)))
    }
}

#[async_trait]
impl Harness for Mutants {
    async fn fresh(&self) -> Box<dyn Subject> {
        self.subject(usize::MAX)
    }

    async fn fresh_with_records_max(&self, records_max: usize) -> Option<Box<dyn Subject>> {
        Some(self.subject(records_max))
    }
}

#[async_trait]
impl Subject for MutantSubject {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(MutantStore::new(Node::First, self.0.clone()))
    }

    async fn another(&self) -> Option<Arc<dyn Store>> {
        Some(Arc::new(MutantStore::new(Node::Second, self.0.clone())))
    }

    async fn advance(&self, by: Duration) {
        self.0.clock.advance(by);
    }

    async fn step_back(&self, by: Duration) -> bool {
        self.0.clock.step_to(self.0.clock.now().minus(by));
        true
    }

    async fn reopen(self: Box<Self>) -> Option<Box<dyn Subject>> {
        let mut records = self.0.records.lock().unwrap_or_else(PoisonError::into_inner);
        match self.0.defect {
            Some(Defect::ReopenForgets) => records.clear(),
            Some(Defect::ReopenForgetsClaims) => {
                records.retain(|_, record| !matches!(record.phase, Phase::InProgress { .. }));
            }
            Some(_) | None => {}
        }
        drop(records);
        Some(self)
    }
}
