//! A table as the system tables tell it, and what is declared of it.

use std::collections::BTreeMap;

use super::{
    Deletions,
    types::{ColumnType, Travel, UNORDERED, orders},
};
use crate::SourceColumn;

/// A column: as discovery tells it, and as it travels.
#[derive(Debug, Clone)]
pub(super) struct Described {
    pub(super) column: SourceColumn,
    pub(super) of: ColumnType,
    pub(super) travel: Travel,
}

/// A table of the system tables.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) is_view: bool,
    pub(super) comment: Option<String>,
    pub(super) columns: Vec<Described>,
    /// Columns that cannot be read, with the reasons.
    pub(super) unreadable: Vec<String>,
}

/// A column by its name, as it is written or whatever the case.
pub(super) fn find(columns: &[Described], name: &str) -> Option<usize> {
    let by = |same: &dyn Fn(&str) -> bool| columns.iter().position(|described| same(&described.column.name));
    by(&|column| column == name).or_else(|| by(&|column| column.eq_ignore_ascii_case(name)))
}

/// Why a declared table of deletions cannot be used.
pub(super) fn wrong(declared: &Deletions, key: &[String], all: &BTreeMap<String, Found>) -> Option<String> {
    let log = &declared.table;
    let found =
        all.get(log).or_else(|| all.iter().find(|(name, _)| name.eq_ignore_ascii_case(log)).map(|(_, found)| found));
    let Some(found) = found else { return Some(format!("`deletions` names table `{log}`, which is not there")) };
    check(declared, key.len(), &found.columns).err()
}

/// The places of the key's columns and of the cursor column in the log.
pub(super) fn check(declared: &Deletions, key: usize, columns: &[Described]) -> Result<(Vec<usize>, usize), String> {
    let log = &declared.table;
    let place = |name: &str| {
        find(columns, name).ok_or_else(|| format!("`deletions` names column `{name}` of `{log}`, which is not there"))
    };
    if declared.key_columns.len() != key {
        return Err(format!(
            "`deletions` names {} key columns of `{log}`; the table's key has {key}",
            declared.key_columns.len()
        ));
    }
    let places = declared.key_columns.iter().map(|name| place(name)).collect::<Result<_, _>>()?;
    if let Some(name) = declared.only.keys().find(|name| find(columns, name).is_none()) {
        return Err(format!("`deletions` names column `{name}` of `{log}`, which is not there"));
    }
    let cursor = place(&declared.cursor_column)?;
    if !orders(&columns[cursor].of) {
        return Err(format!("`deletions` names cursor column `{}` of `{log}`: {UNORDERED}", declared.cursor_column));
    }
    Ok((places, cursor))
}
