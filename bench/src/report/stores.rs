//! The part about shared stores, for people.

use super::table::{cell, grouped, table, told};
use crate::block::{Block, median};
use crate::candidate::{Candidate, StoreKind};
use crate::measure::Figures;
use crate::stores::{Size, Stores, Trips, USUAL_CONNECTIONS};

/// All tables and sentences, one level below the part's own title.
pub(super) fn markdown(stores: &Stores) -> String {
    let mut text = format!("\n## Shared stores\n\n{}.\n", stores.versions.join(", "));
    for reason in &stores.left_out {
        text.push_str(&format!("\nNot measured: {reason}.\n"));
    }
    for block in &stores.blocks {
        text.push_str(&table(block));
        if block.connections == USUAL_CONNECTIONS {
            text.push_str(&beside_bare_clients(block));
        }
    }
    if !stores.trips.is_empty() {
        text.push_str(
            "\n### Round trips per request, counted by the stores\n\n\
             | | first run | replay | hints per first run | as counted, per first run |\n\
             |---|---|---|---|---|\n",
        );
    }
    for trips in &stores.trips {
        text.push_str(&row(trips));
    }
    if !stores.sizes.is_empty() {
        text.push_str(
            "\n### Many records, first runs, 64 connections\n\n\
             | | records | requests/s with few | with many | many / few | store us/request, few \
             | many | bytes on disk/record | in memory | loaded in s |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
        );
    }
    for size in &stores.sizes {
        text.push_str(&size_row(size));
    }
    for expiry in &stores.expiries {
        text.push_str(&told(expiry));
    }
    text
}

/// First runs as a share of what a bare client gets out of the same store.
fn beside_bare_clients(block: &Block) -> String {
    let ratio = |kind| {
        let rate = |figures: &Figures| Some(figures.requests_per_second);
        let ratio = block.ratio(Candidate::First(kind), Candidate::Raw(kind), rate)?;
        Some(format!("{}: {ratio:.2}", kind.name()))
    };
    let ratios: Vec<String> = StoreKind::SHARED.into_iter().filter_map(ratio).collect();
    if ratios.is_empty() {
        return String::new();
    }
    format!("\nFirst runs / pairs of a bare client: {}.\n", ratios.join("; "))
}

fn row(trips: &Trips) -> String {
    let (first, replay) = (&trips.first, &trips.replay);
    let calls: Vec<String> = first
        .calls
        .iter()
        .filter(|(_, calls)| **calls > 0)
        .map(|(name, calls)| format!("{name} {:.3}", *calls as f64 / first.requests.max(1) as f64))
        .collect();
    format!(
        "| {} | {:.3} | {:.3} | {:.3} | {} |\n",
        trips.kind.name(),
        first.trips(),
        replay.trips(),
        first.hints(),
        calls.join(", ")
    )
}

fn size_row(size: &Size) -> String {
    let of = |figures: &[Figures], of: &dyn Fn(&Figures) -> Option<f64>| {
        median(figures.iter().filter_map(of).collect())
    };
    let rate = |figures: &Figures| Some(figures.requests_per_second);
    let store = |figures: &Figures| figures.store_us;
    let pairs = size.few.iter().zip(&size.many);
    let ratios = pairs.map(|(few, many)| many.requests_per_second / few.requests_per_second);
    let cells = [
        size.kind.name().to_owned(),
        format!("{} / {}", grouped(size.few_records), grouped(size.records)),
        cell(of(&size.few, &rate), 0),
        cell(of(&size.many, &rate), 0),
        cell(median(ratios.collect()), 2),
        cell(of(&size.few, &store), 1),
        cell(of(&size.many, &store), 1),
        cell(Some(size.disk_bytes), 0),
        cell(size.memory_bytes, 0),
        cell(Some(size.loaded_in.as_secs_f64()), 0),
    ];
    format!("| {} |\n", cells.join(" | "))
}
