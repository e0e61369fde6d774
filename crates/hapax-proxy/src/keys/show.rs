//! Records for people.

use serde_json::Value;

const COLUMNS: [&str; 6] = ["state", "route", "attempts", "created_at", "expires_at", "id"];

/// A list of records as a table, and whether there are more.
pub(super) fn table(answer: &Value) -> String {
    let records = answer.get("records").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if records.is_empty() {
        return "no records\n".to_owned();
    }
    let heading = COLUMNS.map(|column| column.trim_end_matches("_at").to_uppercase());
    let rows = records.iter().map(|record| COLUMNS.map(|column| cell(record.get(column))));
    let rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
    let widths: [usize; COLUMNS.len()] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    });
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    if answer.get("more").and_then(Value::as_bool).unwrap_or(false) {
        text.push_str("there are more: raise --limit, or narrow with --state or --scope\n");
    }
    text
}

/// One record, a line for each of its members.
pub(super) fn members(record: &Value) -> String {
    let Some(members) = record.as_object() else { return format!("{}\n", cell(Some(record))) };
    let width = members.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    let line = |(name, value): (&String, &Value)| {
        format!("{:width$}  {}\n", plain(name), cell(Some(value)))
    };
    members.iter().map(line).collect()
}

/// Text without characters that could move the cursor or forge a line.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => plain(text),
        Some(value) => plain(&value.to_string()),
    }
}
