//! The conformance suite: what every [`Store`](crate::Store) must do, as tests that anyone can run.
//!
//! Bring a [`Harness`] and write one line; each case becomes a test of its own:
//!
//! ```
//! # mod ours {
//! hapax::store_conformance!(hapax::conformance::Memory);
//! # }
//! ```
//!
//! | group | what it shows |
//! |---|---|
//! | cases | every cell of the transition table, by name; listing, sizes, purging, sweeping |
//! | model | random commands get the replies that the [machine](crate::machine) gives |
//! | races | whoever comes at once, the history is one that the machine could have had |
//! | retries | an operation repeated after a lost answer gives the first answer |
//! | durability | everything replied to survives the end of the process |
//! | fidelity | what is put in comes out, byte by byte |
//! | expiry | TTL-01 to TTL-03 and DBT-11 |
//! | clock | one clock judges for all nodes, and may be set back |
//! | hints | whoever waits on another node is told of the end |
//!
//! No case sleeps or reads a clock: time is the [`Subject`]'s, and only hints are waited for. What a store does not promise in its
//! [`Guarantees`](crate::Guarantees) is skipped, and the skip is printed. That the suite finds what
//! it is for, is shown by [`mutants`]: stores with one defect each.

mod cases;
mod chance;
mod clock;
mod durability;
mod expiry;
mod fidelity;
mod harness;
mod hints;
mod history;
mod list;
mod mirror;
mod model;
pub mod mutants;
mod races;
mod retries;
mod scene;

use std::pin::Pin;
use std::time::Duration;

use scene::Stop;

pub use harness::{Harness, Memory, Subject};

/// How long one case may take by the machine's clock; only a store that hangs takes so long.
const CASE_LIMIT: Duration = Duration::from_secs(120);

/// How a case ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The store breaks the contract; the text says how.
    Failed(String),
    /// The store keeps this part of the contract.
    Passed,
    /// The store does not claim to be able to do this; the text says what.
    Skipped(String),
}

/// One case: its name and what it does.
struct Case {
    name: &'static str,
    run: Run,
}

#[derive(Clone, Copy)]
enum Run {
    /// A cell of the transition table.
    Cell(&'static cases::Cell),
    /// Anything else.
    Free(for<'a> fn(&'a dyn Harness) -> Ending<'a>),
}

/// The running case.
struct Ending<'a>(Pin<Box<dyn Future<Output = Result<(), Stop>> + Send + 'a>>);

impl<'a> Ending<'a> {
    fn of(case: impl Future<Output = Result<(), Stop>> + Send + 'a) -> Self {
        Self(Box::pin(case))
    }
}

impl Case {
    const fn free(name: &'static str, run: for<'a> fn(&'a dyn Harness) -> Ending<'a>) -> Self {
        Self { name, run: Run::Free(run) }
    }
}

fn all() -> impl Iterator<Item = Case> {
    cases::all()
        .chain(model::CASES)
        .chain(races::CASES)
        .chain(retries::CASES)
        .chain(durability::CASES)
        .chain(fidelity::CASES)
        .chain(expiry::CASES)
        .chain(clock::CASES)
        .chain(hints::CASES)
}

/// The names of all cases, in the order of the groups.
#[must_use]
pub fn names() -> Vec<&'static str> {
    all().map(|case| case.name).collect()
}

/// Runs one case against a store of `harness`, and says how it ended. Needs a tokio runtime; that
/// with several threads races better.
pub async fn run(harness: &dyn Harness, name: &str) -> Verdict {
    let Some(case) = all().find(|case| case.name == name) else {
        return Verdict::Failed(format!("there is no case of the name {name}"));
    };
    let running = async {
        match case.run {
            Run::Cell(cell) => cases::run_cell(harness, cell).await,
            Run::Free(run) => run(harness).0.await,
        }
    };
    match tokio::time::timeout(CASE_LIMIT, running).await {
        Ok(Ok(())) => Verdict::Passed,
        Ok(Err(Stop::Failed(message))) => Verdict::Failed(message),
        Ok(Err(Stop::Skipped(message))) => Verdict::Skipped(message),
        Err(_) => Verdict::Failed(format!("it did not end within {} s", CASE_LIMIT.as_secs())),
    }
}

/// Runs one case as a test, in a runtime of its own; what [`store_conformance!`] expands to.
///
/// # Panics
/// If the store breaks the contract.
///
/// [`store_conformance!`]: crate::store_conformance
pub fn test<H: Harness>(harness: impl FnOnce() -> H, name: &str) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => panic!("failed to start a runtime: {error}"),
    };
    match runtime.block_on(async { run(&harness(), name).await }) {
        Verdict::Failed(message) => panic!("{name}: {message}"),
        Verdict::Passed => {}
        Verdict::Skipped(reason) => println!("{name}: skipped: {reason}"),
    }
}
