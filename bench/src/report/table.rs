//! What people read: tables and sentences.

use std::time::Duration;

use super::MANY_KEYS;
use crate::block::Block;
use crate::candidate::Candidate;
use crate::expiry::Expiry;
use crate::measure::Figures;

/// The table of a block; what a shared store has used is in it where there is one.
pub(super) fn table(block: &Block) -> String {
    let mut titles = vec!["", "requests/s", "/ pass-through", "processor us/request"];
    titles.extend(["/ pass-through", "p50 ms", "p99 ms", "upstream calls/request"]);
    let has_store = block.figures.values().flatten().any(|figures| figures.store_us.is_some());
    if has_store {
        titles.push("store us/request");
    }
    let mut text = format!(
        "\n### {} connection{}, {} live keys\n\n|{} |\n{}|\n",
        block.connections,
        if block.connections == 1 { "" } else { "s" },
        grouped(block.live_keys),
        titles.join(" | "),
        "|---".repeat(titles.len())
    );
    for (candidate, repetitions) in &block.figures {
        let candidate = *candidate;
        let median = |of: &dyn Fn(&Figures) -> Option<f64>| block.median(candidate, of);
        let ratio = |of: &dyn Fn(&Figures) -> Option<f64>| {
            block.ratio(candidate, Candidate::PassThrough, of)
        };
        let rate = |figures: &Figures| Some(figures.requests_per_second);
        let processor = |figures: &Figures| figures.processor_us;
        let through_proxy = !matches!(candidate, Candidate::Raw(_));
        let mut cells = vec![
            cell(median(&rate), 0),
            cell(ratio(&rate), 2),
            cell(median(&processor), 1),
            cell(ratio(&processor), 2),
            cell(median(&|figures| millis(figures.p50)), 3),
            cell(median(&|figures| millis(figures.p99)), 3),
            cell(median(&|figures| through_proxy.then_some(figures.upstream_calls)), 2),
        ];
        if has_store {
            cells.push(cell(median(&|figures| figures.store_us), 1));
        }
        text.push_str(&format!("| {} | {} |\n", candidate.name(), cells.join(" | ")));
        if let Some(error) = repetitions.iter().find_map(|figures| figures.first_error.as_ref()) {
            let empty = " |".repeat(titles.len() - 1);
            text.push_str(&format!("| (errors, the first: {error}) |{empty}\n"));
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

/// What was seen while keys expired.
pub(super) fn told(expiry: &Expiry) -> String {
    let swept = expiry.swept.map_or_else(|| "an unknown number of".to_owned(), grouped);
    let pace = expiry.swept_per_second.map_or_else(String::new, |pace| {
        format!(", {} a second while there were some", grouped(pace as u64))
    });
    format!(
        "\n### Expiry of {} keys within {} s, first runs on {}, 64 connections\n\n\
         Before: {:.0} requests/s, longest answer {:.1} ms. From the first expiry \
         on: {:.0} requests/s ({:.2}), slowest second {:.0}, longest answer {:.1} ms. \
         By then {swept} keys were removed{pace}.\n",
        grouped(expiry.keys),
        expiry.spread.as_secs(),
        expiry.kind.name(),
        expiry.before,
        expiry.longest_before.as_secs_f64() * 1e3,
        expiry.during,
        expiry.ratio(),
        expiry.slowest,
        expiry.longest_during.as_secs_f64() * 1e3,
    )
}

/// A figure with so many decimals, or a dash.
pub(super) fn cell(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

/// A number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
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

/// None where no single request was timed.
fn millis(duration: Duration) -> Option<f64> {
    (!duration.is_zero()).then_some(duration.as_secs_f64() * 1e3)
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
