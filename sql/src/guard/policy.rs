use std::collections::BTreeMap;

use datafusion::logical_expr::Expr;
use mavis_types::{Principal, TableName};

/// What a principal sees of one table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policy {
    /// Column to the expression over the table's own columns that is shown in its place.
    pub(crate) masks: BTreeMap<String, Expr>,
    /// Only rows for which this holds are there.
    pub(crate) rows: Option<Expr>,
}

/// The answer to "may this principal read that table".
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    /// For the principal the table does not exist.
    Hidden,
    Through(Policy),
}

impl Policy {
    /// The policy of a table for a principal: today the token's scope, everything or a list of schemas.
    pub(crate) fn of(principal: &Principal, table: &TableName) -> Seen {
        if principal.may_read(table) { Seen::Through(Policy::default()) } else { Seen::Hidden }
    }

    /// Whether the column's values are the table's own.
    pub(crate) fn shows(&self, column: &str) -> bool {
        !self.masks.contains_key(column)
    }

    /// What is hidden or changed, as text: the same for two policies that show the same; empty for an open one.
    pub(crate) fn told(&self) -> String {
        if self.is_open() { String::new() } else { format!("{:?} {:?}", self.masks, self.rows) }
    }

    /// Whether nothing of the table is hidden or changed.
    pub(crate) fn is_open(&self) -> bool {
        self.masks.is_empty() && self.rows.is_none()
    }
}
