//! What became different in a source since the discovery before, and what is done about it.
//!
//! The object `drift` in a source's parameters says so; it is the pipeline's, connectors never see it:
//!
//! ```json
//! "drift": { "mode": "hold", "look_every_seconds": 60 }
//! ```
//!
//! `apply` (the default): the lake follows. `hold`: new tables are not read and new columns left out until somebody accepts
//! them; a table with a column that is gone or of another type, or with another key, is not read at all until then. A table
//! that is gone is only told, in either mode: its rows stay in the lake.

use std::collections::HashMap;

use mavis_catalog::{DriftKind, DriftState, NewDrift};
use mavis_connectors::{SourceTable, TableRef};
use serde::{Deserialize, Serialize};

use crate::{DiscoveryReport, ReportColumn, ReportTable};

/// Member of a source's parameters that holds the configuration.
pub(crate) const MEMBER: &str = "drift";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DriftConfig {
    pub mode: DriftMode,
    /// How often a run of the whole source looks what tables there are, at most. Default: 60.
    pub look_every_seconds: u64,
}

impl Default for DriftConfig {
    fn default() -> Self {
        Self { mode: DriftMode::Apply, look_every_seconds: 60 }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftMode {
    #[default]
    Apply,
    Hold,
}

impl DriftConfig {
    /// Reads the configuration out of a source's parameters; the mode alone may stand for it.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn from_params(params: &serde_json::Value) -> Result<Self, String> {
        let wrong = |error: serde_json::Error| format!("`{MEMBER}`: {error}; write `apply`, `hold` or an object");
        match params.get(MEMBER) {
            None => Ok(Self::default()),
            Some(mode @ serde_json::Value::String(_)) => {
                let mode = serde_json::from_value(mode.clone()).map_err(wrong)?;
                Ok(Self { mode, ..Self::default() })
            }
            Some(value) => serde_json::from_value(value.clone()).map_err(wrong),
        }
    }
}

/// Whether a table is described as it was; its comments, its size and what its values look like do not count.
pub(super) fn same_shape(found: &SourceTable, before: &ReportTable) -> bool {
    found.kind == before.kind
        && found.mode == before.mode
        && found.columns.len() == before.columns.len()
        && before.held.is_empty()
        && before.held_columns.is_empty()
        && found.columns.iter().zip(&before.columns).all(|(found, before)| {
            found.name == before.name
                && found.source_type == before.source_type
                && found.nullable == before.nullable
                && found.data_type.to_string() == before.data_type
        })
}

/// What is different, in the order of the tables; of each change the state that `mode` gives it.
pub(super) fn compare(before: &DiscoveryReport, now: &DiscoveryReport, mode: DriftMode) -> Vec<NewDrift> {
    let held = if mode == DriftMode::Hold { DriftState::Held } else { DriftState::Applied };
    let known: HashMap<&TableRef, &ReportTable> = before.tables.iter().map(|table| (&table.table, table)).collect();
    let mut changes = Vec::new();
    for table in &now.tables {
        match known.get(&table.table) {
            None => changes.push(change(&table.table, None, DriftKind::TableAdded, None, None, held)),
            // A report made elsewhere names types in words of its own.
            Some(old) if old.rules.is_none() => {}
            Some(old) => compare_table(old, table, held, &mut changes),
        }
    }
    let found: HashMap<&TableRef, ()> = now.tables.iter().map(|table| (&table.table, ())).collect();
    for table in &before.tables {
        // One that could not be described is there all the same.
        let failed = || now.failures.iter().any(|(name, _)| *name == table.table.to_string());
        if !found.contains_key(&table.table) && !failed() {
            let applied = DriftState::Applied;
            changes.push(change(&table.table, None, DriftKind::TableDropped, None, None, applied));
        }
    }
    changes
}

fn compare_table(old: &ReportTable, new: &ReportTable, held: DriftState, changes: &mut Vec<NewDrift>) {
    let table = &new.table;
    let columns: HashMap<&str, &ReportColumn> = old.columns.iter().map(|c| (c.name.as_str(), c)).collect();
    for column in &new.columns {
        match columns.get(column.name.as_str()) {
            None => {
                let became = Some(column.source_type.clone());
                changes.push(change(table, Some(&column.name), DriftKind::ColumnAdded, None, became, held));
            }
            Some(old) if old.source_type != column.source_type || old.data_type != column.data_type => {
                let (was, became) = if old.source_type == column.source_type {
                    (old.data_type.clone(), column.data_type.clone())
                } else {
                    (old.source_type.clone(), column.source_type.clone())
                };
                changes.push(change(
                    table,
                    Some(&column.name),
                    DriftKind::ColumnAltered,
                    Some(was),
                    Some(became),
                    held,
                ));
            }
            Some(_) => {}
        }
    }
    for column in &old.columns {
        if !new.columns.iter().any(|now| now.name == column.name) {
            let was = Some(column.source_type.clone());
            changes.push(change(table, Some(&column.name), DriftKind::ColumnDropped, was, None, held));
        }
    }
    if old.key != new.key {
        let text = |key: &[String]| Some(key.join(", "));
        changes.push(change(table, None, DriftKind::KeyChanged, text(&old.key), text(&new.key), held));
    }
}

fn change(
    table: &TableRef,
    column: Option<&String>,
    kind: DriftKind,
    was: Option<String>,
    became: Option<String>,
    state: DriftState,
) -> NewDrift {
    NewDrift {
        schema: table.schema.clone(),
        table: table.name.clone(),
        column: column.cloned(),
        kind,
        was,
        became,
        state,
    }
}

/// The report that is followed while changes are held: new tables are left out, new columns are named to be left out of
/// rows, and a table that cannot be read as it was keeps its description and says why it waits.
pub(super) fn hold(before: &DiscoveryReport, now: DiscoveryReport, changes: &[NewDrift]) -> DiscoveryReport {
    let mut by_table: HashMap<TableRef, Vec<&NewDrift>> = HashMap::new();
    for change in changes.iter().filter(|change| change.state == DriftState::Held) {
        let table = TableRef { schema: change.schema.clone(), name: change.table.clone() };
        by_table.entry(table).or_default().push(change);
    }
    let mut known: HashMap<&TableRef, &ReportTable> = HashMap::new();
    for table in &before.tables {
        known.insert(&table.table, table);
    }
    let tables = now
        .tables
        .into_iter()
        .filter_map(|table| {
            let Some(changes) = by_table.get(&table.table) else { return Some(table) };
            let old = *known.get(&table.table)?;
            let mut kept = ReportTable { held: Vec::new(), held_columns: Vec::new(), ..old.clone() };
            for change in changes {
                match (change.kind, &change.column) {
                    (DriftKind::ColumnAdded, Some(column)) => kept.held_columns.push(column.clone()),
                    _ => kept.held.push(told(change)),
                }
            }
            Some(kept)
        })
        .collect();
    DiscoveryReport { tables, ..now }
}

/// A change in words.
pub(crate) fn told(change: &NewDrift) -> String {
    let table = TableRef { schema: change.schema.clone(), name: change.table.clone() };
    let column = change.column.as_deref().unwrap_or_default();
    let (was, became) = (change.was.as_deref().unwrap_or("none"), change.became.as_deref().unwrap_or("none"));
    match change.kind {
        DriftKind::TableAdded => format!("new table `{table}`"),
        DriftKind::TableDropped => format!("`{table}` is no longer there; its rows stay in the lake as they are"),
        DriftKind::ColumnAdded => format!("new column `{column}` ({became}) of `{table}`"),
        DriftKind::ColumnDropped => format!("column `{column}` of `{table}` is gone"),
        DriftKind::ColumnAltered => format!("column `{column}` of `{table}` was {was} and is {became}"),
        DriftKind::KeyChanged => format!("the key of `{table}` was ({was}) and is ({became})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::Utc;
    use mavis_connectors::{ReadMode, TableKind};

    fn table(name: &str, columns: &[(&str, &str)], key: &[&str]) -> ReportTable {
        ReportTable {
            table: TableRef { schema: None, name: name.to_owned() },
            lake_name: ("s".to_owned(), name.to_owned()),
            kind: TableKind::Table,
            mode: ReadMode::Snapshot,
            columns: columns
                .iter()
                .map(|(name, source_type)| ReportColumn {
                    name: (*name).to_owned(),
                    lake_name: (*name).to_owned(),
                    data_type: if *source_type == "int4" { "Int32" } else { "Utf8" }.to_owned(),
                    source_type: (*source_type).to_owned(),
                    nullable: true,
                    comment: None,
                    profile: None,
                })
                .collect(),
            key: key.iter().map(|name| (*name).to_owned()).collect(),
            foreign_keys: Vec::new(),
            comment: None,
            row_estimate: None,
            rules: Some(crate::clean::TableRules {
                version: 1,
                columns: std::collections::BTreeMap::new(),
                checks: Vec::new(),
                key: Vec::new(),
                pivot_year: 2026,
            }),
            held: Vec::new(),
            held_columns: Vec::new(),
        }
    }

    fn report(tables: Vec<ReportTable>) -> DiscoveryReport {
        DiscoveryReport { source: "s".to_owned(), made_at: Utc::now(), tables, failures: Vec::new() }
    }

    fn before() -> DiscoveryReport {
        report(vec![
            table("a", &[("id", "int4"), ("x", "text"), ("y", "text")], &["id"]),
            table("b", &[("id", "int4")], &[]),
            table("c", &[("id", "int4")], &[]),
            table("d", &[("id", "int4")], &["id"]),
        ])
    }

    fn now() -> DiscoveryReport {
        let mut now = report(vec![
            table("a", &[("id", "int4"), ("x", "int4"), ("z", "text")], &["id"]),
            table("b", &[("id", "int4"), ("new", "text")], &[]),
            table("d", &[("id", "int4")], &[]),
            table("e", &[("id", "int4")], &[]),
        ]);
        now.failures.push(("c".to_owned(), "locked".to_owned()));
        now
    }

    #[test]
    fn only_what_is_different_is_told() {
        let changes = compare(&before(), &now(), DriftMode::Apply);
        let told: Vec<String> = changes.iter().map(told).collect();
        assert_eq!(
            told,
            [
                "column `x` of `a` was text and is int4",
                "new column `z` (text) of `a`",
                "column `y` of `a` is gone",
                "new column `new` (text) of `b`",
                "the key of `d` was (id) and is ()",
                "new table `e`",
            ]
        );
        assert!(compare(&before(), &before(), DriftMode::Hold).is_empty());
        let gone = compare(&before(), &report(before().tables.split_off(1)), DriftMode::Hold);
        assert_eq!((gone.len(), gone[0].kind, gone[0].state), (1, DriftKind::TableDropped, DriftState::Applied));
    }

    #[test]
    fn what_is_held_leaves_the_description_as_it_was() {
        let changes = compare(&before(), &now(), DriftMode::Hold);
        let held = hold(&before(), now(), &changes);
        let names: Vec<&str> = held.tables.iter().map(|table| table.table.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "d"]);
        assert_eq!(held.tables[0].held.len(), 2, "{:?}", held.tables[0].held);
        assert_eq!(
            (held.tables[1].held_columns.as_slice(), held.tables[1].columns.len()),
            (["new".to_owned()].as_slice(), 1)
        );
        assert_eq!((held.tables[2].held.len(), held.tables[2].key.as_slice()), (1, ["id".to_owned()].as_slice()));
        // The next look finds the same again, and nothing else.
        assert_eq!(compare(&held, &now(), DriftMode::Hold), changes);
    }
}
