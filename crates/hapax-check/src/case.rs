//! What one case is: an id, a promise with its source, and the judgement that decides it.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::profile::Route;
use crate::trial::{ApiTrial, Trial};

/// How binding a case is, after the tiers of the requirement table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Demanded by the draft or an HTTP RFC, or follows from "at most one effect".
    Core,
    /// Binds only a target that says that it offers the feature.
    Optional,
    /// A careful default where sources differ or are silent.
    Profile,
}

impl Kind {
    /// The name used in every report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Optional => "optional",
            Self::Profile => "profile",
        }
    }
}

/// What a case needs of the target; a case whose need is not met is skipped aloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The layer was started by the checker, which can kill, pause and restart it.
    Command,
    /// The layer's store outlives its process.
    Durable,
    /// Effects can be counted through `--effects-url`.
    Effects,
    /// The layer speaks HTTP/2 over cleartext with prior knowledge.
    Http2,
    /// The target says in its policy document that it offers this feature.
    Offer(&'static str),
    /// A second body was given or can be derived from the first.
    OtherBody,
    /// A second caller's credentials were given.
    OtherCaller,
    /// The layer is configured with this prefix of the layer profile.
    Route(Route),
    /// Two instances share one store.
    Two,
}

/// Why a case stopped before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The promise is broken; the text says what came.
    Fail(String),
    /// The promise looks broken, unless the layer's time went by while its machine stood still.
    /// Judged again with other keys; it is broken when that goes on.
    Late(String),
    /// What was to be judged did not come about, because time went by elsewhere. Brought about again;
    /// the case cannot be judged when that never succeeds.
    Missed(String),
    /// The case cannot be judged here; the text says why.
    Skip(String),
}

/// The judgement of a case: a function from the trial to "held" or the reason why not.
#[derive(Clone, Copy)]
pub(crate) enum Run {
    Api(for<'a> fn(&'a ApiTrial) -> BoxFuture<'a, Result<(), Stop>>),
    Layer(for<'a> fn(&'a Trial) -> BoxFuture<'a, Result<(), Stop>>),
}

/// One case: a promise in a sentence, where it comes from, why it matters and how it is judged.
#[derive(Clone, Copy)]
pub struct Case {
    /// Stable id: the row of the requirement table, with a suffix where one row has several.
    pub id: &'static str,
    /// How binding the promise is.
    pub kind: Kind,
    /// What the case is about, in a few words.
    pub title: &'static str,
    /// The promise, as a sentence.
    pub requirement: &'static str,
    /// Where the promise comes from.
    pub source: &'static str,
    /// What goes wrong for a user when the promise is broken.
    pub why: &'static str,
    /// What the target must have for the case to be judged.
    pub needs: &'static [Need],
    /// Cases that must have held before; otherwise this one is skipped, not failed twice.
    pub after: &'static [&'static str],
    /// The case stops, pauses or disconnects something and must run alone.
    pub alone: bool,
    /// Requests that an API-mode case may send at most.
    pub requests_max: u32,
    /// Sends only well-formed requests, one at a time (API mode).
    pub safe: bool,
    /// The case fails when it has no verdict after this time.
    pub limit: Duration,
    pub(crate) run: Run,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("id", &self.id).field("kind", &self.kind).finish()
    }
}

const CASE_SECONDS: u64 = 90;

impl Case {
    const fn new(id: &'static str, kind: Kind, title: &'static str, run: Run) -> Self {
        Self {
            id,
            kind,
            title,
            requirement: "",
            source: "",
            why: "",
            needs: &[],
            after: &[],
            alone: false,
            requests_max: 0,
            safe: false,
            limit: Duration::from_secs(CASE_SECONDS),
            run,
        }
    }

    /// A case judged from both sides of a layer.
    pub(crate) const fn layer(
        id: &'static str,
        kind: Kind,
        title: &'static str,
        run: for<'a> fn(&'a Trial) -> BoxFuture<'a, Result<(), Stop>>,
    ) -> Self {
        Self::new(id, kind, title, Run::Layer(run))
    }

    /// A case judged from the client's side alone.
    pub(crate) const fn api(
        id: &'static str,
        kind: Kind,
        title: &'static str,
        requests_max: u32,
        run: for<'a> fn(&'a ApiTrial) -> BoxFuture<'a, Result<(), Stop>>,
    ) -> Self {
        let mut case = Self::new(id, kind, title, Run::Api(run));
        case.requests_max = requests_max;
        case
    }

    /// States the promise, its source and why it matters.
    pub(crate) const fn promise(
        mut self,
        requirement: &'static str,
        source: &'static str,
        why: &'static str,
    ) -> Self {
        self.requirement = requirement;
        self.source = source;
        self.why = why;
        self
    }

    pub(crate) const fn needs(mut self, needs: &'static [Need]) -> Self {
        self.needs = needs;
        self
    }

    pub(crate) const fn after(mut self, after: &'static [&'static str]) -> Self {
        self.after = after;
        self
    }

    pub(crate) const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    pub(crate) const fn safe(mut self) -> Self {
        self.safe = true;
        self
    }

    pub(crate) const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The section of the requirement table: the letters before the first hyphen.
    pub fn section(&self) -> &'static str {
        self.id.split('-').next().unwrap_or(self.id)
    }

    /// `layer` or `api`.
    pub const fn mode(&self) -> &'static str {
        match self.run {
            Run::Api(_) => "api",
            Run::Layer(_) => "layer",
        }
    }
}

/// The name of a section in reports.
pub fn section_title(section: &str) -> &'static str {
    match section {
        "KEY" => "keys",
        "SCO" => "scope",
        "FPR" => "fingerprint",
        "EXE" => "first execution",
        "CON" => "concurrent duplicates",
        "REP" => "replay",
        "FAI" => "failures",
        "DBT" => "outcome unknown",
        "TTL" => "expiry",
        "HTP" => "HTTP",
        "SEC" => "security",
        "OBS" => "observability",
        "ADM" => "administration",
        _ => "other",
    }
}
