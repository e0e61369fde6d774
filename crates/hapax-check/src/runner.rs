//! Runs cases: dependencies first, several at once where they do not disturb each other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::case::{Case, Run, Stop};
use crate::report::{Finding, Verdict};
use crate::stillness::Stillness;
use crate::target::Target;
use crate::trial::{ApiTrial, Log, Trial};

/// How a run is bounded and reported.
pub(crate) struct Plan<'a> {
    /// Cases at work at once; cases that must be alone are.
    pub jobs: usize,
    pub limit: Duration,
    pub progress: &'a (dyn Fn(usize, usize, &Finding) + Send + Sync),
}

/// Runs every case and hands over the findings in filing order, and whether time ran out.
pub(crate) async fn run(
    target: &Arc<Target>,
    cases: &[Case],
    plan: &Plan<'_>,
) -> (Vec<Finding>, bool) {
    let mut round =
        Round { target, cases, plan, deadline: Instant::now() + plan.limit, done: HashMap::new() };
    round.phase(false, plan.jobs.max(1)).await;
    round.phase(true, 1).await;
    let out_of_time = Instant::now() >= round.deadline;
    let findings = cases
        .iter()
        .map(|case| match round.done.remove(case.id) {
            Some(finding) => finding,
            None => skipped(case, "its precondition never came to a verdict"),
        })
        .collect();
    (findings, out_of_time)
}

struct Round<'a> {
    target: &'a Arc<Target>,
    cases: &'a [Case],
    plan: &'a Plan<'a>,
    deadline: Instant,
    done: HashMap<&'static str, Finding>,
}

impl Round<'_> {
    /// Runs the cases that may share the target, or those that must be alone.
    async fn phase(&mut self, alone: bool, jobs: usize) {
        let mut waiting: Vec<Case> =
            self.cases.iter().filter(|case| case.alone == alone).copied().collect();
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < jobs {
                let ready = waiting.iter().position(|case| {
                    case.after.iter().all(|id| self.done.contains_key(id) || !self.chosen(id))
                });
                let Some(at) = ready else { break };
                let case = waiting.remove(at);
                match self.reason_to_skip(&case) {
                    Some(reason) => self.finish(skipped(&case, &reason)),
                    None => running.push(judge(self.target.clone(), case, self.deadline)),
                }
            }
            match running.next().await {
                Some(finding) => self.finish(finding),
                None => return,
            }
        }
    }

    fn chosen(&self, id: &str) -> bool {
        self.cases.iter().any(|case| case.id == id)
    }

    fn reason_to_skip(&self, case: &Case) -> Option<String> {
        if Instant::now() >= self.deadline {
            return Some("the time limit of the run was over".to_owned());
        }
        let broken = case.after.iter().find_map(|id| {
            let finding = self.done.get(id)?;
            match finding.verdict {
                Verdict::Pass => None,
                Verdict::Fail => Some(format!("its precondition {id} failed")),
                Verdict::Skip => Some(format!("its precondition {id} was skipped")),
            }
        });
        broken.or_else(|| self.target.lacks(case))
    }

    fn finish(&mut self, finding: Finding) {
        let id = finding.case.id;
        (self.plan.progress)(self.done.len() + 1, self.cases.len(), &finding);
        self.done.insert(id, finding);
    }
}

fn skipped(case: &Case, reason: &str) -> Finding {
    Finding {
        case: *case,
        verdict: Verdict::Skip,
        detail: reason.to_owned(),
        exchange: Vec::new(),
        took: Duration::ZERO,
    }
}

/// Rounds in which a promise must look broken by time, until it counts as broken.
const ROUNDS_LATE: u32 = 4;
/// Rounds at most, where this machine stood still in the others.
const ROUNDS_MAX: u32 = 12;

async fn judge(target: Arc<Target>, case: Case, deadline: Instant) -> Finding {
    let began = Instant::now();
    let (mut late, mut round) = (0, 0);
    let (verdict, detail, log) = loop {
        let log = Log::default();
        let stillness = Stillness::measure();
        let left = deadline.saturating_duration_since(Instant::now()).min(case.limit);
        let judged = tokio::time::timeout(left, carry_out(&target, &case, round, &log)).await;
        let disturbed = stillness.disturbed();
        round += 1;
        let (verdict, detail) = match judged {
            Ok(Ok(())) => (Verdict::Pass, sureness(&target)),
            Ok(Err(Stop::Fail(text))) => (Verdict::Fail, text),
            Ok(Err(Stop::Skip(text))) => (Verdict::Skip, text),
            Ok(Err(Stop::Late(text))) => {
                late += u32::from(!disturbed);
                if late < ROUNDS_LATE && round < ROUNDS_MAX {
                    continue;
                }
                (Verdict::Fail, text)
            }
            Ok(Err(Stop::Missed(_))) if round < ROUNDS_MAX => continue,
            Ok(Err(Stop::Missed(text))) => (Verdict::Skip, format!("{round} times {text}")),
            Err(_) if left < case.limit => {
                (Verdict::Skip, "the time limit of the run was over".to_owned())
            }
            Err(_) => (Verdict::Fail, format!("no verdict within {} s", case.limit.as_secs())),
        };
        break (verdict, detail, log);
    };
    let exchange = if verdict == Verdict::Fail { log.lines() } else { Vec::new() };
    Finding { case, verdict, detail, exchange, took: began.elapsed() }
}

async fn carry_out(target: &Target, case: &Case, round: u32, log: &Log) -> Result<(), Stop> {
    match (case.run, target) {
        (Run::Api(run), Target::Api(api)) => {
            run(&ApiTrial::new(api.clone(), log.clone(), case.requests_max)).await
        }
        (Run::Layer(run), Target::Layer(layer)) => {
            let trial = Trial::new(layer.clone(), case, round, log.clone());
            let judged = run(&trial).await;
            if case.alone {
                restore(&trial).await?;
            }
            judged
        }
        (Run::Api(_) | Run::Layer(_), _) => {
            Err(Stop::Skip(format!("only judged in {} mode", case.mode())))
        }
    }
}

/// After a case that stops things, everything must run again for the next one.
async fn restore(trial: &Trial) -> Result<(), Stop> {
    trial.finish();
    let listening = trial.layer.upstream.start().await;
    listening
        .map_err(|error| Stop::Skip(format!("the upstream could not listen again: {error}")))?;
    for number in 0..trial.layer.instances.len() {
        let Some(process) = &trial.layer.instances[number].process else { continue };
        let mut process = process.lock().await;
        process.resume();
        if !process.running() {
            process.start().await.map_err(Stop::Fail)?;
        }
    }
    Ok(())
}

fn sureness(target: &Target) -> String {
    match target {
        Target::Layer(_) => String::new(),
        Target::Api(api) if api.effects.is_some() => "effects were counted".to_owned(),
        Target::Api(_) => "judged by what the answers reveal; effects were not counted".to_owned(),
    }
}
