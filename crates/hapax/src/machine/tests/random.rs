//! Random lives of a record, longer and with more kinds of time than the exploration has.

use proptest::prelude::*;

use super::*;
use crate::codec;
use crate::decide::{Decision, decide};
use crate::record::HISTORY_ENTRIES_MAX;

#[derive(Clone, Debug)]
enum Command {
    Claim(u8, u8, OnLapse, Option<Duration>),
    Move { forward: bool, by: Duration },
    Renew(u8, Option<Bytes>),
    Settle(u8, Settlement, Settler),
}

/// Microseconds to months; most of them around the terms and retentions below.
fn durations() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0_u64..3).prop_map(Duration::from_micros),
        (0_u64..100).prop_map(Duration::from_secs),
        (0_u64..10_000_000).prop_map(Duration::from_secs),
    ]
}

fn rules() -> impl Strategy<Value = OnLapse> {
    prop_oneof![
        Just(OnLapse::Doubt),
        (durations(), 0_u32..5)
            .prop_map(|(after, attempts_max)| OnLapse::Reclaim { after, attempts_max }),
    ]
}

fn settlements() -> impl Strategy<Value = Settlement> {
    let retentions = prop_oneof![Just(Retention::Never), durations().prop_map(Retention::For),];
    prop_oneof![
        (200_u16..210, retentions.clone()).prop_map(|(status, retention)| {
            Settlement::Complete { kept: answer(status), retention }
        }),
        Just(Settlement::Doubt { cause: Cause::Lost }),
        (proptest::option::of(500_u16..505), retentions)
            .prop_map(|(status, retention)| Settlement::Release { retention, status }),
    ]
}

fn commands() -> impl Strategy<Value = Command> {
    let settlers = prop_oneof![1 => Just(Settler::Operator), 2 => Just(Settler::Owner)];
    let progress = proptest::option::of((0_u8..3).prop_map(|n| Bytes::from(vec![n])));
    prop_oneof![
        3 => (1_u8..5, 1_u8..3, rules(), proptest::option::of(durations()))
            .prop_map(|(n, request, rule, keep)| Command::Claim(n, request, rule, keep)),
        2 => (any::<bool>(), durations()).prop_map(|(forward, by)| Command::Move { forward, by }),
        1 => (1_u8..5, progress).prop_map(|(n, progress)| Command::Renew(n, progress)),
        3 => (1_u8..5, settlements(), settlers)
            .prop_map(|(n, with, by)| Command::Settle(n, with, by)),
    ]
}

/// One record's life.
struct Life {
    now: Timestamp,
    record: Option<Record>,
}

impl Life {
    fn play(&mut self, command: Command) -> Result<(), TestCaseError> {
        let before = self.record.clone();
        let put = match command {
            Command::Claim(n, request, on_lapse, unknown_retention) => {
                let wish = Claim {
                    attempt: attempt(n),
                    fingerprint: fingerprint(request),
                    id: id(),
                    on_lapse,
                    route: "/".into(),
                    term: Duration::from_secs(10),
                    transactional: None,
                    unknown_retention,
                };
                let step = claim(before.as_ref(), &wish, self.now);
                self.check_claim(before.as_ref(), &wish, &step)?;
                step.put
            }
            Command::Move { forward, by } => {
                self.now = if forward { self.now.plus(by) } else { self.now.minus(by) };
                None
            }
            Command::Renew(n, progress) => {
                let term = Duration::from_secs(10);
                let step = renew(before.as_ref(), &lease(n), term, progress.as_ref(), self.now);
                if let (Ok(lease), Some(before)) = (&step.reply, &before) {
                    prop_assert!(lease.until >= before.lease().until, "a renewal shortens");
                    prop_assert_eq!(lease.fence, before.fence);
                }
                prop_assert_eq!(step.reply.is_ok(), step.put.is_some());
                step.put
            }
            Command::Settle(n, with, by) => {
                let step = settle(before.as_ref(), &lease(n), &with, by, self.now);
                self.check_settlement(before.as_ref(), &with, &step)?;
                step.put
            }
        };
        if let Some(record) = put {
            check_record(&record)?;
            self.record = Some(record);
        }
        Ok(())
    }

    fn check_claim(
        &self,
        before: Option<&Record>,
        wish: &Claim,
        step: &Step<Claimed>,
    ) -> Result<(), TestCaseError> {
        let runs = matches!(decide(step.reply.clone(), &wish.fingerprint), Decision::Execute(_));
        prop_assert_eq!(runs, matches!(step.reply, Claimed::Granted(_)));
        let Some(record) = &step.put else {
            return Ok(());
        };
        let Some(before) = before else {
            prop_assert_eq!(record.attempts, 1);
            return Ok(());
        };
        prop_assert!(record.fence > before.fence, "the fence does not grow");
        match before.status(self.now) {
            Status::Expired => prop_assert_eq!(record.created_at, self.now),
            Status::Released => prop_assert_eq!(record.created_at, before.created_at),
            Status::InDoubt | Status::Lapsed => {
                let reclaims = matches!(before.on_lapse, OnLapse::Reclaim { .. });
                prop_assert!(reclaims, "doubt is granted");
                prop_assert_eq!(record.lease().progress, before.lease().progress);
            }
            other @ (Status::Completed | Status::Running { .. }) => {
                prop_assert!(false, "{:?} is granted", other);
            }
        }
        Ok(())
    }

    /// A settlement that comes late, twice or by a stranger changes nothing.
    fn check_settlement(
        &self,
        before: Option<&Record>,
        with: &Settlement,
        step: &Step<Result<(), LeaseLost>>,
    ) -> Result<(), TestCaseError> {
        let Some(record) = &step.put else {
            return Ok(());
        };
        prop_assert_eq!(step.reply, Ok(()));
        let before = before.expect("only a record can be settled");
        let open = matches!(
            before.status(self.now),
            Status::InDoubt | Status::Lapsed | Status::Running { .. }
        );
        prop_assert!(open, "a settled record is settled again");
        prop_assert_eq!(record.fence, before.fence);
        let expires = match with {
            Settlement::Complete { retention, .. } | Settlement::Release { retention, .. } => {
                retention.from(self.now)
            }
            Settlement::Doubt { .. } => None,
        };
        prop_assert_eq!(record.expires_at, expires);
        Ok(())
    }
}

/// What is true of every record that the machine ever puts.
fn check_record(record: &Record) -> Result<(), TestCaseError> {
    let settled = matches!(record.phase, Phase::Completed { .. } | Phase::Released { .. });
    prop_assert!(settled || record.expires_at.is_none(), "what is not settled expires");
    let entries = record.history.entries();
    prop_assert!(entries.len() <= HISTORY_ENTRIES_MAX);
    prop_assert_eq!(entries.first().map(|entry| entry.what), Some(What::Claimed));
    prop_assert_eq!(entries.last().map(|entry| entry.attempt), Some(record.attempts));
    let again = codec::decode(record.id, codec::encode(record).into());
    prop_assert_eq!(again.as_ref(), Ok(record));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_life_keeps_every_promise(all in prop::collection::vec(commands(), 1..60)) {
        let now = Timestamp::from_micros(1_767_225_600_000_000);
        let mut life = Life { now, record: None };
        for command in all {
            life.play(command)?;
        }
    }
}
