//! `docs/operations.md` says what the program does: every metric is explained and none invented.

use std::collections::BTreeSet;

use hapax_proxy::metrics::{Metrics, TextFormat};

const DOCS: &str = include_str!("../../../docs/operations.md");

#[test]
fn obs_01_every_metric_is_documented_with_its_kind() {
    let metrics = Metrics::new([]);
    let text = metrics.render(TextFormat::Prometheus);
    let typed: BTreeSet<(&str, &str)> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let documented: BTreeSet<(&str, &str)> = DOCS
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `hapax_")?.split(" | ");
            let name = &line[3..];
            let end = name.find(['`', '{'])?;
            cells.next()?;
            Some((&name[..end], cells.next()?))
        })
        .collect();
    assert_eq!(documented, typed);
}

#[test]
fn obs_01_every_outcome_is_documented() {
    let heading = "| Outcome | The request |";
    let table: Vec<&str> = DOCS
        .lines()
        .skip_while(|line| *line != heading)
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    let documented: BTreeSet<&str> = table
        .iter()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|cell| cell.split(", "))
        .map(|name| name.trim_matches('`'))
        .collect();
    let outcomes = hapax::event::Answer::ALL.map(hapax::event::Answer::as_str);
    assert_eq!(documented, BTreeSet::from(outcomes));
}
