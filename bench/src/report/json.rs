//! What programs read: all figures of all repetitions.

use serde_json::{Value, json};

use crate::block::Block;
use crate::expiry::Expiry;
use crate::measure::Figures;
use crate::stores::{Counted, Stores};

/// A table with all repetitions.
pub(super) fn block_json(block: &Block) -> Value {
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
        "store_us": figures.store_us,
        "upstream_calls": figures.upstream_calls,
        "errors": figures.errors,
    })
}

/// What was seen while keys expired.
pub(super) fn expiry_json(expiry: &Expiry) -> Value {
    json!({
        "keys": expiry.keys,
        "store": expiry.kind.name(),
        "spread_seconds": expiry.spread.as_secs(),
        "before_per_second": expiry.before,
        "during_per_second": expiry.during,
        "slowest_second": expiry.slowest,
        "longest_before_us": expiry.longest_before.as_secs_f64() * 1e6,
        "longest_during_us": expiry.longest_during.as_secs_f64() * 1e6,
        "swept": expiry.swept,
        "swept_per_second": expiry.swept_per_second,
        "errors": expiry.errors,
    })
}

/// What the part about stores has measured.
pub(super) fn stores_json(stores: &Stores) -> Value {
    let counted = |counted: &Counted| {
        json!({ "requests": counted.requests, "calls": counted.calls,
                "trips_per_request": counted.trips(), "hints_per_request": counted.hints() })
    };
    let trips = stores.trips.iter().map(|trips| {
        json!({ "store": trips.kind.name(), "first": counted(&trips.first),
                "replay": counted(&trips.replay) })
    });
    let sizes = stores.sizes.iter().map(|size| {
        let figures = |figures: &[Figures]| figures.iter().map(figures_json).collect::<Vec<_>>();
        json!({
            "store": size.kind.name(),
            "few_records": size.few_records,
            "records": size.records,
            "loaded_in_seconds": size.loaded_in.as_secs_f64(),
            "disk_bytes_per_record": size.disk_bytes,
            "memory_bytes_per_record": size.memory_bytes,
            "few": figures(&size.few),
            "many": figures(&size.many),
        })
    });
    json!({
        "versions": stores.versions,
        "left_out": stores.left_out,
        "blocks": stores.blocks.iter().map(block_json).collect::<Vec<_>>(),
        "trips": trips.collect::<Vec<_>>(),
        "sizes": sizes.collect::<Vec<_>>(),
        "expiries": stores.expiries.iter().map(expiry_json).collect::<Vec<_>>(),
    })
}
