//! Every cell of the transition table by name: a record is brought to stand somewhere, one operation
//! meets it, and both the answer and what stands afterwards must be the table's.

mod admin;
mod table;

use std::time::Duration;

use super::harness::Harness;
use super::scene::{
    LATE_ANSWER, MARGIN, RECLAIM, RETENTION, Scene, Stop, TERM, answer, attempt, claim, complete,
    doubt, ensure, failed, id, id_of, release, same, word,
};
use super::{Case, Run};
use crate::fingerprint::Fingerprint;
use crate::lease::Lease;
use crate::machine::{Claim, Claimed, LeaseLost, Settlement};
use crate::record::{OnLapse, Phase, Record, Settler};
use crate::response::Kept;

/// One cell.
#[derive(Debug)]
pub(super) struct Cell {
    name: &'static str,
    standing: Standing,
    rule: Rule,
    act: Act,
    expect: Expect,
}

/// Where the record stands when the operation comes. "Mine" is the attempt that stood last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    Absent,
    Completed,
    ExpiredCompleted,
    ExpiredReleased,
    InDoubt,
    Lapsed,
    Released,
    Running,
    /// Mine was released, and another attempt runs.
    Taken,
}

/// What the record's claim said of its lapse, and how far that has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Rule {
    Doubt,
    /// Another attempt may run.
    Reclaim,
    /// Another attempt may run, but not before the late-answer cap is over.
    ReclaimEarly,
    /// All attempts have been made.
    ReclaimSpent,
}

/// The operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Act {
    /// A claim by mine, or by a new attempt; for the same request, or for another.
    Claim {
        mine: bool,
        same: bool,
    },
    Renew,
    Settle(End, Settler),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Complete,
    Doubt,
    Release,
}

/// What must come of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expect {
    /// The record changes to this status.
    Becomes(&'static str),
    /// A new grant, the attempt of this number.
    Granted(u32),
    /// The grant that mine has.
    GrantedAgain,
    /// No grant; the record that stands, in this status.
    Held(&'static str),
    /// The lease gives no right, for this reason; nothing changes.
    Lost(&'static str),
    /// A lease until later.
    Prolonged,
    /// Yes, and nothing changes: the first settlement stands.
    Repeated,
}

pub(super) fn all() -> impl Iterator<Item = Case> {
    let cells = table::CLAIMS.iter().chain(&table::LEASES).chain(&table::OPERATORS);
    cells.map(|cell| Case { name: cell.name, run: Run::Cell(cell) }).chain(admin::CASES)
}

pub(super) async fn run_cell(harness: &dyn Harness, cell: &Cell) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    let mine = arrange(&scene, cell.standing, cell.rule).await?;
    let before = scene.live(id()).await?;
    match cell.act {
        Act::Claim { mine: by_mine, same } => {
            let by = if by_mine { mine.attempt } else { attempt(9) };
            let mut wish = Claim { attempt: by, on_lapse: cell.rule.on_lapse(), ..claim(9) };
            if !same {
                wish.fingerprint = Fingerprint::of(b"another request");
            }
            let claimed = scene.claim(&wish).await?;
            check_claim(&scene, cell, &mine, before, &wish, claimed).await
        }
        Act::Renew => {
            let renewed = scene.renew(&mine, None).await?;
            check_renewal(&scene, cell, &mine, before, renewed).await
        }
        Act::Settle(end, by) => {
            let answer = scene.settle(&mine, &end.settlement(), by).await?;
            check_settlement(&scene, cell, before, answer).await
        }
    }
}

impl Rule {
    const fn on_lapse(self) -> OnLapse {
        match self {
            Self::Doubt => OnLapse::Doubt,
            Self::Reclaim | Self::ReclaimEarly | Self::ReclaimSpent => RECLAIM,
        }
    }

    /// How long after its claim the attempt is met once it is gone or in doubt.
    fn waits(self) -> Duration {
        match self {
            Self::ReclaimEarly => TERM + MARGIN,
            Self::Doubt | Self::Reclaim | Self::ReclaimSpent => LATE_ANSWER + MARGIN,
        }
    }
}

impl End {
    /// Another answer than that of [`arrange`], so that an overwritten one shows.
    fn settlement(self) -> Settlement {
        match self {
            Self::Complete => complete(2),
            Self::Doubt => doubt(),
            Self::Release => release(),
        }
    }
}

/// Brings the record to its standing and hands out the lease of mine.
async fn arrange(scene: &Scene, standing: Standing, rule: Rule) -> Result<Lease, Stop> {
    let at = if standing == Standing::Absent { id_of(2) } else { id() };
    let first = Claim { id: at, on_lapse: rule.on_lapse(), ..claim(1) };
    let mut mine = scene.grant(&first).await?;
    if rule == Rule::ReclaimSpent {
        scene.advance(LATE_ANSWER + MARGIN).await;
        mine = scene.grant(&Claim { attempt: attempt(2), ..first.clone() }).await?;
    }
    match standing {
        // The lease was granted on another record; it names one that was never there.
        Standing::Absent => {
            mine.id = id();
            scene.advance(MARGIN).await;
        }
        Standing::Completed => scene.settled(&mine, &complete(1)).await?,
        Standing::ExpiredCompleted => {
            scene.settled(&mine, &complete(1)).await?;
            scene.advance(RETENTION).await;
        }
        Standing::ExpiredReleased => {
            scene.settled(&mine, &release()).await?;
            scene.advance(RETENTION).await;
        }
        Standing::InDoubt => {
            scene.settled(&mine, &doubt()).await?;
            scene.advance(rule.waits()).await;
        }
        Standing::Lapsed => scene.advance(rule.waits()).await,
        Standing::Released => scene.settled(&mine, &release()).await?,
        Standing::Running => scene.advance(MARGIN).await,
        Standing::Taken => {
            scene.settled(&mine, &release()).await?;
            scene.grant(&Claim { attempt: attempt(3), ..first }).await?;
        }
    }
    Ok(mine)
}

async fn check_claim(
    scene: &Scene,
    cell: &Cell,
    mine: &Lease,
    before: Option<Record>,
    wish: &Claim,
    claimed: Claimed,
) -> Result<(), Stop> {
    let after = scene.live(id()).await?;
    match (cell.expect, claimed) {
        (Expect::Granted(number), Claimed::Granted(lease)) => {
            same("the attempt", &lease.attempt, &wish.attempt)?;
            same("its number", &lease.number, &number)?;
            same("the lease's end", &lease.until, &lease.claimed_at.plus(TERM))?;
            ensure(lease.fence > mine.fence, "the new fence is not above the old one")?;
            let freed_by = if cell.standing == Standing::Released { Some(503) } else { None };
            same("what freed the key", &lease.rerun_of, &freed_by)?;
            let Some(after) = after else {
                return failed("nothing stands after a grant");
            };
            same("the lease that stands", &after.lease(), &lease)?;
            same("the fingerprint", &after.fingerprint, &wish.fingerprint)?;
            let created = before.map_or(lease.claimed_at, |before| before.created_at);
            same("the time of creation", &after.created_at, &created)
        }
        (Expect::GrantedAgain, Claimed::Granted(lease)) => {
            same("the lease", &lease, mine)?;
            same("the record", &after, &before)
        }
        (Expect::Held(status), Claimed::Held(seen)) => {
            same("the status shown", &word(seen.record.status(seen.now)), &status)?;
            same("the record shown", &Some(seen.record), &before)?;
            same("the record", &after, &before)
        }
        (expect, claimed) => failed(format_args!("expected {expect:?}, got {claimed:?}")),
    }
}

async fn check_renewal(
    scene: &Scene,
    cell: &Cell,
    mine: &Lease,
    before: Option<Record>,
    renewed: Result<Lease, LeaseLost>,
) -> Result<(), Stop> {
    match (cell.expect, renewed) {
        (Expect::Prolonged, Ok(lease)) => {
            ensure(lease.until > mine.until, "the lease is not longer")?;
            same("the lease", &lease, &Lease { until: lease.until, ..mine.clone() })?;
            let after = scene.live(id()).await?.map(|record| record.lease());
            same("the lease that stands", &after, &Some(lease))?;
            same("the status", &scene.status(id()).await?, &"running")
        }
        (Expect::Lost(reason), Err(lost)) => check_lost(scene, before, reason, lost).await,
        (expect, renewed) => failed(format_args!("expected {expect:?}, got {renewed:?}")),
    }
}

async fn check_settlement(
    scene: &Scene,
    cell: &Cell,
    before: Option<Record>,
    answered: Result<(), LeaseLost>,
) -> Result<(), Stop> {
    match (cell.expect, answered) {
        (Expect::Becomes(status), Ok(())) => {
            same("the status", &scene.status(id()).await?, &status)?;
            match (before, scene.live(id()).await?) {
                (Some(before), Some(after)) => check_settled(&before, &after),
                (before, after) => failed(format_args!("{before:?} became {after:?}")),
            }
        }
        (Expect::Lost(reason), Err(lost)) => check_lost(scene, before, reason, lost).await,
        (Expect::Repeated, Ok(())) => same("the record", &scene.live(id()).await?, &before),
        (expect, answered) => failed(format_args!("expected {expect:?}, got {answered:?}")),
    }
}

fn check_settled(before: &Record, after: &Record) -> Result<(), Stop> {
    let mut unchanged = after.clone();
    unchanged.expires_at = before.expires_at;
    unchanged.history = before.history.clone();
    unchanged.phase = before.phase.clone();
    same("what a settlement leaves alone", &unchanged, before)?;
    let entries = after.history.entries().len();
    same("the number of entries", &entries, &(before.history.entries().len() + 1))?;
    match &after.phase {
        Phase::Completed { at, kept } => {
            same("the answer", kept, &Kept::Response(answer(2)))?;
            same("the expiry", &after.expires_at, &Some(at.plus(RETENTION)))
        }
        Phase::InDoubt { .. } => same("the expiry", &after.expires_at, &None),
        Phase::InProgress { .. } => failed("a settled record is in progress"),
        Phase::Released { at, status } => {
            same("what freed the key", status, &Some(503))?;
            same("the expiry", &after.expires_at, &Some(at.plus(RETENTION)))
        }
    }
}

async fn check_lost(
    scene: &Scene,
    before: Option<Record>,
    reason: &'static str,
    lost: LeaseLost,
) -> Result<(), Stop> {
    let found = match lost {
        LeaseLost::Expired => "expired",
        LeaseLost::Running => "running",
        LeaseLost::Settled => "settled",
        LeaseLost::Superseded { .. } => "superseded",
    };
    same("the reason", &found, &reason)?;
    if let LeaseLost::Superseded { by } = lost {
        same("the newer fence", &Some(by), &before.as_ref().map(|record| record.fence))?;
    }
    same("the record", &scene.live(id()).await?, &before)
}
