//! What we want the figures to be, beside what they are.

use std::time::Duration;

use crate::block::Block;
use crate::candidate::{Candidate, StoreKind};
use crate::measure::Figures;
use crate::report::{MANY_KEYS, Report};

/// One goal. Ratios are medians over the repetitions of one run.
#[derive(Clone, Debug)]
pub(crate) struct Goal {
    pub(crate) what: &'static str,
    pub(crate) bound: Bound,
    /// `None` when this run did not measure it.
    pub(crate) measured: Option<f64>,
}

/// What a figure has to keep to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn at_least(what: &'static str, bound: f64, measured: Option<f64>) -> Self {
        Self { what, bound: Bound::AtLeast(bound), measured }
    }

    fn at_most(what: &'static str, bound: f64, measured: Option<f64>) -> Self {
        Self { what, bound: Bound::AtMost(bound), measured }
    }

    pub(crate) fn target(&self) -> String {
        match self.bound {
            Bound::AtLeast(bound) => format!(">= {bound:.2}"),
            Bound::AtMost(bound) => format!("<= {bound:.2}"),
        }
    }

    /// `met`, `not met`, or `not measured`.
    pub(crate) fn verdict(&self) -> &'static str {
        let met = |measured: f64| match self.bound {
            Bound::AtLeast(bound) => measured >= bound,
            Bound::AtMost(bound) => measured <= bound,
        };
        match self.measured {
            None => "not measured",
            Some(measured) if met(measured) => "met",
            Some(_) => "not met",
        }
    }
}

/// All goals, with what this run has to say about each.
pub(crate) fn of(report: &Report) -> Vec<Goal> {
    let (first, plain) = (Candidate::First(StoreKind::File), Candidate::PassThrough);
    let few = |connections: usize| {
        let mut few_keys = report.blocks.iter().filter(|block| block.live_keys < MANY_KEYS);
        few_keys.find(|block| block.connections == connections)
    };
    let (one, usual, many) = (few(1), few(64), few(256));
    let throughput = |block: Option<&Block>, candidate, to| {
        block.and_then(|block| block.ratio(candidate, to, |f| Some(f.requests_per_second)))
    };
    let processor = usual.and_then(|block| block.ratio(first, plain, |f| f.processor_us));
    let sync_us = micros(report.fdatasync);
    vec![
        Goal::at_least(
            "first runs, 64 connections / pass-through",
            0.70,
            throughput(usual, first, plain),
        ),
        Goal::at_least(
            "first runs, 256 connections / pass-through",
            0.85,
            throughput(many, first, plain),
        ),
        Goal::at_least(
            "first runs, 64 connections / textbook hyper proxy",
            1.1,
            throughput(usual, first, Candidate::Textbook),
        ),
        Goal::at_least(
            "first runs, 64 connections / nginx",
            0.75,
            throughput(usual, first, Candidate::Nginx),
        ),
        Goal::at_most(
            "processor time added per first run / that of pass-through",
            0.40,
            processor.map(|ratio| ratio - 1.0),
        ),
        Goal::at_least(
            "replays, 64 connections / pass-through",
            2.0,
            throughput(usual, Candidate::Replay(StoreKind::File), plain),
        ),
        Goal::at_most(
            "upstream calls per replay",
            0.0,
            usual.and_then(|block| {
                block.median(Candidate::Replay(StoreKind::File), |figures| {
                    Some(figures.upstream_calls)
                })
            }),
        ),
        Goal::at_most(
            "p50 added to a first run at 1 connection, less 2 fdatasync (us)",
            30.0,
            one.and_then(|block| Some(p50(block, first)? - p50(block, plain)? - 2.0 * sync_us)),
        ),
        Goal::at_most(
            "longest answer while keys expire (ms)",
            10.0,
            report.expiry.as_ref().map(|expiry| micros(expiry.longest_during) / 1e3),
        ),
        Goal::at_least(
            "first runs while keys expire / before",
            0.95,
            report.expiry.as_ref().map(|expiry| expiry.ratio()),
        ),
        Goal::at_most("memory per live key (bytes)", 30.0, report.bytes_per_key()),
        Goal::at_most("start with at least 1 million keys (s)", 0.5, report.start_seconds()),
        Goal::at_most("round trips to PostgreSQL per first run", 2.0, trips(report, true)),
        Goal::at_most("round trips to PostgreSQL per replay", 1.0, trips(report, false)),
    ]
}

fn trips(report: &Report, first: bool) -> Option<f64> {
    let mut trips = report.stores.as_ref()?.trips.iter();
    let trips = trips.find(|trips| trips.kind == StoreKind::Postgres)?;
    let counted = if first { &trips.first } else { &trips.replay };
    Some(counted.trips())
}

fn p50(block: &Block, candidate: Candidate) -> Option<f64> {
    block.median(candidate, |figures: &Figures| Some(micros(figures.p50)))
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_that_was_not_measured_is_neither_met_nor_missed() {
        assert_eq!(Goal::at_least("x", 1.0, None).verdict(), "not measured");
        assert_eq!(Goal::at_least("x", 1.0, Some(1.0)).verdict(), "met");
        assert_eq!(Goal::at_least("x", 1.0, Some(0.9)).verdict(), "not met");
        assert_eq!(Goal::at_most("x", 0.0, Some(0.1)).verdict(), "not met");
    }
}
