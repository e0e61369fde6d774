//! Every order in which three attempts, two requests, an operator, a sweeper and a clock that steps
//! both ways can meet one record, breadth first.
//!
//! The machine is watched by an observer who sees replies only and keeps a book of its own: who was
//! granted the record, until when, and what it came to. Each step of the machine must be one that
//! the book allows, and must leave a record that means what the book says.
//!
//! The state space is finite because nothing in the machine depends on when it is, only on how long
//! ago things were: times are kept relative to now and states are dropped once something is further
//! away than [`FAR`]. Fences only matter in comparison to the clock, attempts up to their maximum,
//! and the history not at all.

mod book;

use std::collections::{HashMap, VecDeque};

use super::*;
use book::{Book, Outcome};

/// In ticks of a microsecond. Different enough that every order of lapse, cap and expiry occurs.
const TERM: i16 = 2;
const CAP: i16 = 3;
const RETENTION: i16 = 4;
const UNKNOWN_RETENTION: i16 = 5;

/// How far from now a time may lie before a state is no longer followed.
const FAR: i16 = 6;

/// Where now lies in the thawed records.
const NOW: i16 = 1_000;

const ATTEMPTS_MAX: u32 = 2;

/// Fewer states than this would mean that some act has lost its meaning.
const STATES_MIN: usize = 50_000;

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Rules {
    reclaims: bool,
    forgets_unknown: bool,
    /// What is broken on purpose, to see that the exploration finds it.
    bug: Option<Bug>,
}

/// A machine with one of these breaks a promise in some order of events.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Bug {
    /// What is unknown is free to run again.
    DoubtIsFree,
    /// The next owner's fence is the last one's.
    FenceStands,
    /// An operator settles as an owner does.
    OperatorIsOwner,
    /// A renewal counts from now, although the clock may have stepped back.
    RenewalShortens,
    /// A settlement does not look at who holds the record.
    SettlesForAnyone,
    /// The sweep takes what is unknown.
    SweepsUnknown,
}

/// A record without what makes no difference; times are relative to now.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Frozen {
    attempt: u8,
    attempts: u8,
    claimed: i16,
    expires: Option<i16>,
    fence: i16,
    fingerprint: u8,
    phase: FrozenPhase,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum FrozenPhase {
    Completed(u16),
    InDoubt(i16),
    InProgress(i16),
    Released,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct World {
    book: Option<Book>,
    record: Option<Frozen>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Act {
    Claim {
        attempt: u8,
        fingerprint: u8,
    },
    Renew(u8),
    Settle {
        attempt: u8,
        end: End,
        by: Settler,
    },
    Sweep,
    /// The clock moves by so much, either way.
    Tick(i16),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Complete(u16),
    Doubt,
    Release,
}

fn ticks(n: i16) -> Duration {
    Duration::from_micros(n.unsigned_abs().into())
}

fn at(relative: i16) -> Timestamp {
    Timestamp::from_micros((NOW + relative).unsigned_abs().into())
}

fn relative(at: Timestamp) -> i16 {
    i16::try_from(at.as_micros()).expect("times lie near now") - NOW
}

impl Rules {
    fn claim(self, attempt: u8, fingerprint: u8) -> Claim {
        let rule = OnLapse::Reclaim { after: ticks(CAP), attempts_max: ATTEMPTS_MAX };
        Claim {
            attempt: super::attempt(attempt),
            fingerprint: super::fingerprint(fingerprint),
            id: id(),
            on_lapse: if self.reclaims { rule } else { OnLapse::Doubt },
            route: "/".into(),
            term: ticks(TERM),
            transactional: None,
            unknown_retention: self.forgets_unknown.then(|| ticks(UNKNOWN_RETENTION)),
        }
    }

    fn thaw(self, frozen: Frozen) -> Record {
        let made = grant(None, &self.claim(frozen.attempt, frozen.fingerprint), at(0));
        let phase = match frozen.phase {
            FrozenPhase::Completed(status) => Phase::Completed { at: at(0), kept: answer(status) },
            FrozenPhase::InDoubt(since) => {
                Phase::InDoubt { cause: Cause::Lost, progress: None, since: at(since) }
            }
            FrozenPhase::InProgress(until) => {
                Phase::InProgress { progress: None, rerun_of: None, until: at(until) }
            }
            FrozenPhase::Released => Phase::Released { at: at(0), status: None },
        };
        Record {
            attempts: frozen.attempts.into(),
            claimed_at: at(frozen.claimed),
            expires_at: frozen.expires.map(at),
            fence: Fence::new(at(frozen.fence).as_micros()),
            phase,
            ..made.put.expect("a grant puts a record")
        }
    }

    fn freeze(self, record: &Record) -> Frozen {
        let phase = match &record.phase {
            Phase::Completed { kept, .. } => FrozenPhase::Completed(kept.status()),
            Phase::InDoubt { since, .. } => FrozenPhase::InDoubt(relative(*since)),
            Phase::InProgress { until, .. } => FrozenPhase::InProgress(relative(*until)),
            Phase::Released { .. } => FrozenPhase::Released,
        };
        // More attempts than the maximum are no different from the maximum and one.
        let attempts = record.attempts.min(ATTEMPTS_MAX + 1);
        Frozen {
            attempt: record.attempt.as_bytes()[0],
            attempts: u8::try_from(attempts).expect("attempts are few"),
            claimed: if self.reclaims { relative(record.claimed_at) } else { 0 },
            expires: record.expires_at.map(relative),
            fence: relative(Timestamp::from_micros(record.fence.value())).clamp(-1, 2),
            fingerprint: record.fingerprint.digest()[0],
            phase,
        }
    }
}

impl Frozen {
    fn shifted(mut self, rules: Rules, by: i16) -> Self {
        if rules.reclaims {
            self.claimed -= by;
        }
        self.expires = self.expires.map(|at| at - by);
        self.fence = (self.fence - by).clamp(-1, 2);
        if let FrozenPhase::InDoubt(at) | FrozenPhase::InProgress(at) = &mut self.phase {
            *at -= by;
        }
        self
    }

    fn is_far(&self) -> bool {
        let phase = match self.phase {
            FrozenPhase::InDoubt(at) | FrozenPhase::InProgress(at) => at,
            FrozenPhase::Completed(_) | FrozenPhase::Released => 0,
        };
        [phase, self.claimed, self.expires.unwrap_or(0)].iter().any(|at| at.abs() > FAR)
    }
}

fn acts() -> Vec<Act> {
    let mut acts = vec![Act::Sweep, Act::Tick(1), Act::Tick(-1), Act::Tick(TERM), Act::Tick(-3)];
    for attempt in 1..=3 {
        acts.push(Act::Renew(attempt));
        acts.extend([1, 2].map(|fingerprint| Act::Claim { attempt, fingerprint }));
        for by in [Settler::Owner, Settler::Operator] {
            let ends = [End::Complete(201), End::Complete(202), End::Doubt, End::Release];
            acts.extend(ends.map(|end| Act::Settle { attempt, end, by }));
        }
    }
    acts
}

/// Does one act; `Err` says which promise it breaks.
fn step(rules: Rules, world: World, current: Option<&Record>, act: Act) -> Result<World, String> {
    match act {
        Act::Claim { attempt, fingerprint } => {
            let wish = rules.claim(attempt, fingerprint);
            let mut step = claim(current, &wish, at(0));
            if let (Some(Bug::DoubtIsFree), Some(record)) = (rules.bug, current) {
                let on_lapse = OnLapse::Reclaim { after: Duration::ZERO, attempts_max: 9 };
                step = claim(Some(&Record { on_lapse, ..record.clone() }), &wish, at(0));
            }
            if let (Some(Bug::FenceStands), Some(record)) = (rules.bug, current)
                && let Claimed::Granted(lease) = &mut step.reply
            {
                lease.fence = record.fence;
            }
            let ask = (attempt, fingerprint);
            let book = book::claimed(rules, world.book, current, &step, ask)?;
            next(rules, world, current, book, step.put)
        }
        Act::Renew(attempt) => {
            let mut step = renew(current, &lease(attempt), ticks(TERM), None, at(0));
            if let (Some(Bug::RenewalShortens), Ok(lease)) = (rules.bug, &mut step.reply) {
                lease.until = at(TERM);
            }
            let book = book::renewed(rules, world.book, &step, attempt)?;
            next(rules, world, current, book, step.put)
        }
        Act::Settle { attempt, end, by } => step_settle(rules, world, current, attempt, end, by),
        Act::Sweep => {
            let unknown = rules.bug == Some(Bug::SweepsUnknown)
                && current.is_some_and(|r| r.status(at(0)) == Status::Lapsed);
            let gone = current.and_then(|r| r.gone_at()).is_some_and(|gone| gone <= at(0));
            if (gone || unknown) && !world.book.is_some_and(|book| book.is_over(rules)) {
                return Err("it is swept before its time".to_owned());
            }
            Ok(if gone { World { book: None, record: None } } else { world })
        }
        Act::Tick(by) => Ok(World {
            book: world.book.map(|book| book.shifted(rules, by)),
            record: world.record.map(|record| record.shifted(rules, by)),
        }),
    }
}

fn step_settle(
    rules: Rules,
    world: World,
    current: Option<&Record>,
    attempt: u8,
    end: End,
    by: Settler,
) -> Result<World, String> {
    let (mut lease, with) = (lease(attempt), end.settlement());
    if let (Some(Bug::SettlesForAnyone), Some(record)) = (rules.bug, current) {
        lease.attempt = record.attempt;
    }
    let as_whom = if rules.bug == Some(Bug::OperatorIsOwner) { Settler::Owner } else { by };
    let step = settle(current, &lease, &with, as_whom, at(0));
    let again = settle(step.put.as_ref().or(current), &lease, &with, as_whom, at(0));
    if again.reply != step.reply || again.put.is_some() {
        return Err(format!("repeated, it is answered {again:?}"));
    }
    let book = book::settled(rules, world.book, &step, attempt, end, by)?;
    next(rules, world, current, book, step.put)
}

impl End {
    fn settlement(self) -> Settlement {
        let retention = Retention::For(ticks(RETENTION));
        match self {
            Self::Complete(status) => Settlement::Complete { kept: answer(status), retention },
            Self::Doubt => Settlement::Doubt { cause: Cause::Lost },
            Self::Release => Settlement::Release { retention, status: None },
        }
    }

    const fn outcome(self) -> Outcome {
        match self {
            Self::Complete(status) => Outcome::Completed { status, until: RETENTION },
            Self::Doubt => Outcome::Unknown { since: 0 },
            Self::Release => Outcome::Released { until: RETENTION },
        }
    }
}

/// The next world, if its record means what the book says.
fn next(
    rules: Rules,
    world: World,
    current: Option<&Record>,
    book: Option<Book>,
    put: Option<Record>,
) -> Result<World, String> {
    let (record, status) = match put {
        Some(record) => {
            let frozen = rules.freeze(&record);
            (Some(frozen), Some(rules.thaw(frozen).status(at(0))))
        }
        None => (world.record, current.map(|record| record.status(at(0)))),
    };
    let agrees = match (book, status) {
        (None, None) => true,
        (Some(book), Some(Status::Expired)) => book.is_over(rules),
        (Some(book), Some(_)) if book.is_over(rules) => false,
        (Some(book), Some(Status::Running { until })) => {
            book.outcome == (Outcome::Running { until: relative(until) }) && book.runs()
        }
        (Some(book), Some(Status::Lapsed)) => {
            matches!(book.outcome, Outcome::Running { .. }) && !book.runs()
        }
        (Some(book), Some(Status::Completed)) => {
            matches!(book.outcome, Outcome::Completed { .. })
        }
        (Some(book), Some(Status::InDoubt)) => matches!(book.outcome, Outcome::Unknown { .. }),
        (Some(book), Some(Status::Released)) => matches!(book.outcome, Outcome::Released { .. }),
        (None, Some(_)) | (Some(_), None) => false,
    };
    if agrees {
        Ok(World { book, record })
    } else {
        Err(format!("the record is {status:?}, the book says {book:?}"))
    }
}

/// Explores all that can be reached, and says how many states and steps that was; or by what way a
/// promise is broken.
fn explore(rules: Rules) -> Result<(usize, usize), String> {
    let start = World { book: None, record: None };
    let acts = acts();
    let mut came_by: HashMap<World, Option<(World, Act)>> = HashMap::from([(start, None)]);
    let mut queue = VecDeque::from([start]);
    let mut steps = 0;
    while let Some(world) = queue.pop_front() {
        let current = world.record.map(|frozen| rules.thaw(frozen));
        for act in &acts {
            steps += 1;
            let next = step(rules, world, current.as_ref(), *act).map_err(|broken| {
                format!("{broken}\nby {act:?} in {world:?}\nreached by{}", path(&came_by, world))
            })?;
            if next.record.is_some_and(|record| record.is_far()) || came_by.contains_key(&next) {
                continue;
            }
            came_by.insert(next, Some((world, *act)));
            queue.push_back(next);
        }
    }
    Ok((came_by.len(), steps))
}

/// The shortest way to a world, for a person to follow.
fn path(came_by: &HashMap<World, Option<(World, Act)>>, mut world: World) -> String {
    let mut acts = Vec::new();
    while let Some(Some((before, act))) = came_by.get(&world) {
        acts.insert(0, format!("\n{act:?}"));
        world = *before;
    }
    acts.concat()
}

#[test]
fn no_order_of_events_breaks_a_promise() {
    let mut states = 0;
    for reclaims in [false, true] {
        for forgets_unknown in [false, true] {
            let rules = Rules { reclaims, forgets_unknown, bug: None };
            let (reached, steps) = explore(rules).unwrap_or_else(|broken| panic!("{broken}"));
            println!("{rules:?}: {reached} states, {steps} steps");
            states += reached;
        }
    }
    println!("{states} states in all");
    assert!(states > STATES_MIN, "the exploration has become too small: {states} states");
}

#[test]
fn a_broken_machine_is_found_out() {
    for (bug, promise) in [
        (Bug::DoubtIsFree, "it is granted"),
        (Bug::FenceStands, "the fence does not grow"),
        (Bug::OperatorIsOwner, "an operator settles what runs"),
        (Bug::RenewalShortens, "the lease has another end"),
        (Bug::SettlesForAnyone, "a stale lease settles"),
        (Bug::SweepsUnknown, "it is swept before its time"),
    ] {
        let rules = Rules { reclaims: false, forgets_unknown: false, bug: Some(bug) };
        let broken = explore(rules).expect_err("the bug is found");
        assert!(broken.starts_with(promise), "{bug:?}: {broken}");
    }
}
