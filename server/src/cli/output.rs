//! Answers as a person or a program wants them.

use std::io::{self, IsTerminal, Write};

use chrono::DateTime;
use clap::ValueEnum;
use comfy_table::{CellAlignment, ContentArrangement, presets};
use mavis_proto::v1 as pb;
use prost_types::Timestamp;
use serde_json::{Map, Value, json};

use super::Failure;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Table,
    /// A JSON array of objects
    Json,
    /// Comma-separated values with a header
    Csv,
}

/// Rows under named columns. Cells are JSON values, so that programs get numbers as numbers.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Vec<Value>>,
}

impl Table {
    pub(crate) fn new(columns: impl Into<Vec<&'static str>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    pub(crate) fn push(&mut self, row: impl Into<Vec<Value>>) {
        self.rows.push(row.into());
    }

    /// Writes the rows to standard output.
    pub(super) fn print(&self, format: Format) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match format {
            Format::Table if self.rows.is_empty() => eprintln!("nothing to show"),
            Format::Table => writeln!(out, "{}", self.drawn())?,
            Format::Json => writeln!(out, "{:#}", self.json())?,
            Format::Csv => out.write_all(&self.csv()?)?,
        }
        Ok(())
    }

    /// The rows as a drawn table.
    pub(crate) fn drawn(&self) -> comfy_table::Table {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).set_header(self.columns.iter().map(|name| name.replace('_', " ")));
        if io::stdout().is_terminal() {
            table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
        }
        for row in &self.rows {
            table.add_row(row.iter().map(text));
        }
        for (index, column) in table.column_iter_mut().enumerate() {
            let is_number = |row: &Vec<Value>| row.get(index).is_some_and(|cell| cell.is_number() || cell.is_null());
            if !self.rows.is_empty() && self.rows.iter().all(is_number) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }

    fn json(&self) -> Value {
        let object = |row: &Vec<Value>| -> Value {
            let members = self.columns.iter().map(|name| (*name).to_owned()).zip(row.iter().cloned());
            Value::Object(members.collect::<Map<_, _>>())
        };
        self.rows.iter().map(object).collect()
    }

    fn csv(&self) -> Result<Vec<u8>, Failure> {
        let failed = |error: csv::Error| Failure::failed(format!("cannot write CSV: {error}"));
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&self.columns).map_err(failed)?;
        for row in &self.rows {
            writer.write_record(row.iter().map(text)).map_err(failed)?;
        }
        writer.into_inner().map_err(|error| Failure::failed(format!("cannot write CSV: {error}")))
    }
}

/// A cell for people and CSV.
fn text(cell: &Value) -> String {
    match cell {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// A point in time in UTC, to the second.
pub(super) fn time(at: Option<Timestamp>) -> Value {
    at.and_then(|at| DateTime::from_timestamp(at.seconds, 0))
        .map_or(Value::Null, |at| json!(at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)))
}

/// The word for a run's state, as in `completed_with_warnings`.
pub(crate) fn state_word(state: pb::RunState) -> String {
    match state {
        pb::RunState::Unspecified => String::new(),
        state => state.as_str_name().trim_start_matches("RUN_STATE_").to_ascii_lowercase(),
    }
}

/// Null for the empty text, which messages use for "none".
pub(super) fn optional(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { json!(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(["name", "rows", "key"]);
        table.push([json!("a, \"b\""), json!(3), json!(["x", "y"])]);
        table.push([json!("c"), Value::Null, json!([])]);
        table
    }

    #[test]
    fn json_keeps_numbers_and_lists() {
        assert_eq!(
            sample().json(),
            json!([{"name": "a, \"b\"", "rows": 3, "key": ["x", "y"]}, {"name": "c", "rows": null, "key": []}])
        );
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        let csv = String::from_utf8(sample().csv().unwrap()).unwrap();
        assert_eq!(csv, "name,rows,key\n\"a, \"\"b\"\"\",3,\"x, y\"\nc,,\n");
    }

    #[test]
    fn states_read_as_words() {
        assert_eq!(state_word(pb::RunState::CompletedWithWarnings), "completed_with_warnings");
    }
}
