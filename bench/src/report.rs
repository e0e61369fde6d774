//! The outcome of a run, for people (Markdown) and programs (JSON).

mod json;
mod stores;
mod table;

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::block::Block;
use crate::expiry::Expiry;
use crate::stores::Stores;
use crate::{fleet, goals, machine};
use json::{block_json, expiry_json, stores_json};
use table::{cell, table, told};

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
    pub(crate) stores: Option<Stores>,
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
            stores: None,
        })
    }

    /// Requests without a proper answer, over all measurements.
    pub(crate) fn errors(&self) -> u64 {
        let figures = self.blocks.iter().flat_map(|block| block.figures.values().flatten());
        figures.map(|figures| figures.errors).sum::<u64>()
            + self.expiry.as_ref().map_or(0, |expiry| expiry.errors)
            + self.stores.as_ref().map_or(0, Stores::errors)
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
        if let Some(stores) = &self.stores {
            text.push_str(&stores::markdown(stores));
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
            "stores": self.stores.as_ref().map(stores_json),
            "goals": goals,
        });
        format!("{report:#}\n")
    }
}
