//! The outcome of a run, for people (Markdown) and programs (JSON).

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::block::Block;
use crate::candidate::Candidate;
use crate::expiry::Expiry;
use crate::measure::Figures;
use crate::{fleet, goals, machine};

/// From this many keys on, memory per key and start are worth telling.
pub(crate) const MANY_KEYS: u64 = 1_000_000;

/// Everything one run has measured.
#[derive(Debug)]
pub(crate) struct Report {
    date: String,
    machine: String,
    load_average: String,
    versions: String,
    /// The median of one appended 4 KiB block and its `fdatasync`.
    pub(crate) fdatasync: Duration,
    pub(crate) blocks: Vec<Block>,
    pub(crate) expiry: Option<Expiry>,
}

impl Report {
    /// Looks at the machine, and asks its disk, before anything else runs.
    pub(crate) fn new(gateway: Option<&Path>, folder: &Path) -> io::Result<Self> {
        let mut versions = vec![format!("hapax-bench {}", env!("CARGO_PKG_VERSION"))];
        if let Some(gateway) = gateway {
            versions.push(machine::first_line(Command::new(gateway).arg("--version")));
        }
        versions.push(match fleet::nginx_program() {
            Some(program) => machine::first_line(Command::new(program).arg("-v")),
            None => "nginx not installed".to_owned(),
        });
        Ok(Self {
            date: machine::date(),
            machine: machine::describe(),
            load_average: machine::load_average(),
            versions: versions.join(", "),
            fdatasync: machine::fdatasync(folder)?,
            blocks: Vec::new(),
            expiry: None,
        })
    }

    /// Requests without a proper answer, over all measurements.
    pub(crate) fn errors(&self) -> u64 {
        let figures = self.blocks.iter().flat_map(|block| block.figures.values().flatten());
        figures.map(|figures| figures.errors).sum::<u64>()
            + self.expiry.as_ref().map_or(0, |expiry| expiry.errors)
    }

    /// What each key costs the gateway on `file:` in memory, measured while filling its store.
    pub(crate) fn bytes_per_key(&self) -> Option<f64> {
        let block = self.fullest()?;
        Some(block.filled.grown_bytes as f64 / block.live_keys as f64)
    }

    pub(crate) fn start_seconds(&self) -> Option<f64> {
        Some(self.fullest()?.restart?.as_secs_f64())
    }

    fn fullest(&self) -> Option<&Block> {
        let full = self.blocks.iter().filter(|block| block.live_keys >= MANY_KEYS);
        full.max_by_key(|block| block.live_keys)
    }

    /// The report as it is pasted into the documentation.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "{}; {}; load average before the run: {}; fdatasync of 4 KiB: {:.0} us (p50). {}.\n\n\
             POST of 103 bytes, answer of 300 bytes, keep-alive; client, proxy and upstream share \
             the machine. Medians of interleaved repetitions; ratios are taken within each \
             repetition.\n",
            self.date,
            self.machine,
            self.load_average,
            self.fdatasync.as_secs_f64() * 1e6,
            self.versions
        );
        for block in &self.blocks {
            text.push_str(&table(block));
        }
        if let Some(expiry) = &self.expiry {
            text.push_str(&told(expiry));
        }
        text.push_str("\n### Goals\n\n| goal | target | measured | verdict |\n|---|---|---|---|\n");
        for goal in goals::of(self) {
            let measured = cell(goal.measured, 2);
            let (target, verdict) = (goal.target(), goal.verdict());
            text.push_str(&format!("| {} | {target} | {measured} | {verdict} |\n", goal.what));
        }
        if self.errors() > 0 {
            text.push_str(&format!("\n**{} requests had no proper answer.**\n", self.errors()));
        }
        text
    }

    /// All figures of all repetitions.
    pub(crate) fn json(&self) -> String {
        let goals: Vec<Value> = goals::of(self)
            .into_iter()
            .map(|goal| {
                json!({ "goal": goal.what, "target": goal.target(), "measured": goal.measured,
                        "verdict": goal.verdict() })
            })
            .collect();
        let report = json!({
            "date": self.date,
            "machine": self.machine,
            "load_average": self.load_average,
            "versions": self.versions,
            "fdatasync_us": self.fdatasync.as_secs_f64() * 1e6,
            "blocks": self.blocks.iter().map(block_json).collect::<Vec<_>>(),
            "expiry": self.expiry.as_ref().map(expiry_json),
            "goals": goals,
        });
        format!("{report:#}\n")
    }
}

fn table(block: &Block) -> String {
    let mut text = format!(
        "\n### {} connections, {} live keys\n\n\
         | | requests/s | / pass-through | processor us/request | / pass-through | p50 ms | p99 ms \
         | upstream calls/request |\n|---|---|---|---|---|---|---|---|\n",
        block.connections,
        grouped(block.live_keys)
    );
    for candidate in Candidate::ALL {
        let Some(repetitions) = block.figures.get(&candidate) else { continue };
        let median = |of: &dyn Fn(&Figures) -> Option<f64>| block.median(candidate, of);
        let ratio = |of: &dyn Fn(&Figures) -> Option<f64>| {
            block.ratio(candidate, Candidate::PassThrough, of)
        };
        let rate = |figures: &Figures| Some(figures.requests_per_second);
        let processor = |figures: &Figures| figures.processor_us;
        let cells = [
            cell(median(&rate), 0),
            cell(ratio(&rate), 2),
            cell(median(&processor), 1),
            cell(ratio(&processor), 2),
            cell(median(&|figures| Some(figures.p50.as_secs_f64() * 1e3)), 3),
            cell(median(&|figures| Some(figures.p99.as_secs_f64() * 1e3)), 3),
            cell(median(&|figures| Some(figures.upstream_calls)), 2),
        ];
        text.push_str(&format!("| {} | {} |\n", candidate.name(), cells.join(" | ")));
        if let Some(error) = repetitions.iter().find_map(|figures| figures.first_error.as_ref()) {
            text.push_str(&format!("| (errors, the first: {error}) | | | | | | | |\n"));
        }
    }
    if let (true, Some(restart)) = (block.live_keys >= MANY_KEYS, block.restart) {
        text.push_str(&format!(
            "\nFilling the file store took {:.0} s and {:.0} bytes of memory per key; starting \
             again with them {:.2} s.\n",
            block.filled.took.as_secs_f64(),
            block.filled.grown_bytes as f64 / block.live_keys as f64,
            restart.as_secs_f64()
        ));
    }
    text
}

fn told(expiry: &Expiry) -> String {
    let swept = expiry.swept.map_or_else(|| "an unknown number of".to_owned(), grouped);
    format!(
        "\n### Expiry of {} keys (retention {} s), first runs on file, 64 connections\n\n\
         Before: {:.0} requests/s, longest answer {:.1} ms. From the first expiry to 30 s after \
         the last: {:.0} requests/s ({:.2}), slowest second {:.0}, longest answer {:.1} ms. \
         The gateway has swept {swept} keys by then.\n",
        grouped(expiry.keys),
        expiry.retention.as_secs(),
        expiry.before,
        expiry.longest_before.as_secs_f64() * 1e3,
        expiry.during,
        expiry.ratio(),
        expiry.slowest,
        expiry.longest_during.as_secs_f64() * 1e3,
    )
}

fn block_json(block: &Block) -> Value {
    let candidates: Vec<Value> = block
        .figures
        .iter()
        .map(|(candidate, repetitions)| {
            let repetitions: Vec<Value> = repetitions.iter().map(figures_json).collect();
            json!({ "name": candidate.name(), "repetitions": repetitions })
        })
        .collect();
    json!({
        "connections": block.connections,
        "live_keys": block.live_keys,
        "fill_seconds": block.filled.took.as_secs_f64(),
        "fill_grown_bytes": block.filled.grown_bytes,
        "restart_seconds": block.restart.map(|restart| restart.as_secs_f64()),
        "candidates": candidates,
    })
}

fn figures_json(figures: &Figures) -> Value {
    json!({
        "requests_per_second": figures.requests_per_second,
        "p50_us": figures.p50.as_secs_f64() * 1e6,
        "p99_us": figures.p99.as_secs_f64() * 1e6,
        "longest_us": figures.longest.as_secs_f64() * 1e6,
        "processor_us": figures.processor_us,
        "upstream_calls": figures.upstream_calls,
        "errors": figures.errors,
    })
}

fn expiry_json(expiry: &Expiry) -> Value {
    json!({
        "keys": expiry.keys,
        "retention_seconds": expiry.retention.as_secs(),
        "before_per_second": expiry.before,
        "during_per_second": expiry.during,
        "slowest_second": expiry.slowest,
        "longest_before_us": expiry.longest_before.as_secs_f64() * 1e6,
        "longest_during_us": expiry.longest_during.as_secs_f64() * 1e6,
        "swept": expiry.swept,
        "errors": expiry.errors,
    })
}

fn cell(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_000_000), "1 000 000");
    }
}
