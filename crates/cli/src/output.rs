//! What tools print: tables for people, one JSON object for programs.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use serde::Serialize;

/// One object on stdout and nothing else.
pub(crate) fn print_json(value: &impl Serialize) {
    let text = serde_json::to_string(value).expect("our types have only string keys");
    println!("{text}");
}

/// A borderless table. Columns whose name ends in a space are numbers and stand to the right.
pub(crate) fn print_table(header: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| name.trim_end()));
    for row in rows {
        table.add_row(row.into_iter().map(Cell::new));
    }
    for (index, name) in header.iter().enumerate() {
        if let Some(column) = table.column_mut(index)
            && name.ends_with(' ')
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in table.lines() {
        println!("{}", line.trim());
    }
}

/// How long ago, in whole seconds.
pub(crate) fn age(age: std::time::Duration) -> String {
    let seconds = std::time::Duration::from_secs(age.as_secs());
    humantime::format_duration(seconds).to_string()
}

pub(crate) fn joined(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
