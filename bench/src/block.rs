//! One table: some candidates under one setting, measured in turn (A B C A B C), so that a change
//! of the machine's mood touches all of them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::candidate::{Candidate, StoreKind};
use crate::fleet::{Filled, Fleet};
use crate::measure::{self, Figures, Setting};
use crate::options::Options;

/// Connections of the tables with many keys.
const MANY_KEYS_CONNECTIONS: usize = 64;

/// A table to be filled, or filled.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) connections: usize,
    /// Keys each store held before the first measurement.
    pub(crate) live_keys: u64,
    candidates: Vec<Candidate>,
    /// The figures of each repetition, in order.
    pub(crate) figures: BTreeMap<Candidate, Vec<Figures>>,
    /// What filling the file store has cost.
    pub(crate) filled: Filled,
    /// How long the gateway on `file:` took to start with all these keys.
    pub(crate) restart: Option<Duration>,
}

impl Block {
    /// All candidates, few keys.
    pub(crate) fn common(connections: usize, live_keys: u64) -> Self {
        Self::new(connections, live_keys, &Candidate::PROXY)
    }

    /// Those candidates that many keys may matter to.
    pub(crate) fn many_keys(live_keys: u64) -> Self {
        Self::new(MANY_KEYS_CONNECTIONS, live_keys, &Candidate::KEYED)
    }

    /// Any candidates; who calls this fills their stores and takes the turns.
    pub(crate) fn new(connections: usize, live_keys: u64, candidates: &[Candidate]) -> Self {
        Self {
            connections,
            live_keys,
            candidates: candidates.to_vec(),
            figures: BTreeMap::new(),
            filled: Filled::default(),
            restart: None,
        }
    }

    /// Measures everything, on servers started for this block.
    pub(crate) fn run(
        mut self,
        options: &Options,
        gateway: Option<&Path>,
        folder: &Path,
    ) -> io::Result<Self> {
        let home = folder.join(format!("block-{}-{}", self.connections, self.live_keys));
        self.candidates.retain(|candidate| gateway.is_some() || !candidate.is_gateway());
        let mut fleet = Fleet::start(&self.candidates, gateway, &home)?;
        if gateway.is_some() {
            eprintln!("filling the stores with {} keys", self.live_keys);
            let memory = Candidate::First(StoreKind::Memory);
            let file = Candidate::First(StoreKind::File);
            fleet.fill(memory, memory.path(), self.live_keys)?;
            self.filled = fleet.fill(file, file.path(), self.live_keys)?;
        }
        let setting = Setting {
            connections: self.connections,
            warm_up: options.warm_up(),
            measured: options.measured(),
        };
        let live_keys = self.live_keys;
        self.turns(options.repetitions(), |candidate, turn| {
            let keys = Fleet::keys(candidate, live_keys, turn);
            measure::measure(&fleet, candidate, keys, setting, &[])
        })?;
        self.restart = fleet.restart_file()?;
        drop(fleet);
        fs::remove_dir_all(&home)?;
        Ok(self)
    }

    /// Measures all candidates in turn, and again, as often as wanted. `measure` gets the number of
    /// the turn, none twice.
    pub(crate) fn turns(
        &mut self,
        repetitions: usize,
        mut measure: impl FnMut(Candidate, u64) -> io::Result<Option<Figures>>,
    ) -> io::Result<()> {
        let mut turn = 0;
        for repetition in 1..=repetitions {
            for candidate in &self.candidates {
                turn += 1;
                let Some(figures) = measure(*candidate, turn)? else { continue };
                eprintln!(
                    "{} connections, {} keys, repetition {repetition}: {}: {:.0}/s",
                    self.connections,
                    self.live_keys,
                    candidate.name(),
                    figures.requests_per_second
                );
                self.figures.entry(*candidate).or_default().push(figures);
            }
        }
        Ok(())
    }

    /// The median over the repetitions of what `of` takes from the figures of a candidate.
    pub(crate) fn median(
        &self,
        candidate: Candidate,
        of: impl Fn(&Figures) -> Option<f64>,
    ) -> Option<f64> {
        median(self.figures.get(&candidate)?.iter().filter_map(of).collect())
    }

    /// The median of the quotients of two candidates, taken within each repetition.
    pub(crate) fn ratio(
        &self,
        candidate: Candidate,
        to: Candidate,
        of: impl Fn(&Figures) -> Option<f64>,
    ) -> Option<f64> {
        let pairs = self.figures.get(&candidate)?.iter().zip(self.figures.get(&to)?);
        median(pairs.filter_map(|(one, other)| Some(of(one)? / of(other)?)).collect())
    }
}

/// The middle value; the mean of the two middle ones when their number is even.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(requests_per_second: f64) -> Figures {
        Figures {
            requests_per_second,
            p50: Duration::ZERO,
            p99: Duration::ZERO,
            longest: Duration::ZERO,
            processor_us: None,
            store_us: None,
            upstream_calls: 1.0,
            errors: 0,
            first_error: None,
        }
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![9.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(vec![1.0, 3.0]), Some(2.0));
    }

    #[test]
    fn a_ratio_is_taken_within_each_repetition() {
        let mut block = Block::common(1, 1);
        // The machine was twice as fast in the second repetition; the ratio does not see it.
        block
            .figures
            .insert(Candidate::First(StoreKind::File), vec![figures(50.0), figures(100.0)]);
        block.figures.insert(Candidate::PassThrough, vec![figures(100.0), figures(200.0)]);
        let ratio =
            block.ratio(Candidate::First(StoreKind::File), Candidate::PassThrough, |figures| {
                Some(figures.requests_per_second)
            });
        assert_eq!(ratio, Some(0.5));
    }
}
