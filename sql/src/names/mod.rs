//! Which table and which column an identifier of a statement means.
//!
//! DataFusion lower-cases unquoted identifiers and then compares exactly, which cannot find `birthDate`. So before a
//! statement is planned its identifiers are rewritten to the exact spelling, in double quotes: [`tables`] collects the
//! tables that a statement names, the caller binds them, and [`resolve`] walks the statement with the scopes that SQL
//! has (FROM, aliases, CTEs, subqueries, outer queries), puts the bound names in, and spells every column as its table
//! does. An unquoted identifier matches whatever its case; a quoted one only exactly. An identifier that is found nowhere
//! is left as it is: the planner reports it. What `USING` and `NATURAL` make one column is told by [`merged`].

mod columns;
mod doubled;
mod expr;
mod merged;
mod query;
mod scope;
mod tables;

pub(crate) use doubled::{APART, told};
pub(crate) use query::{resolve, resolve_answer};
pub(crate) use tables::{TableKey, compared, tables};

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::SchemaRef;
use mavis_types::TableId;

use crate::Error;

/// A table as a statement's plan will know it.
#[derive(Debug, Clone)]
pub(crate) struct BoundName {
    /// `[catalog, schema, table]` of the relation in the plan; the table carries a mark where a state was asked for.
    pub(crate) relation: [String; 3],
    /// `[catalog, schema, table]` by which columns may be qualified.
    pub(crate) name: [String; 3],
    pub(crate) columns: SchemaRef,
    /// Which state of which table it is; `None` for what may change under the same name: system tables, views.
    pub(crate) stamp: Option<Stamp>,
}

/// One state of a table as somebody sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Stamp {
    pub(crate) table: TableId,
    /// Version of the Delta table.
    pub(crate) version: i64,
    /// What the policy hides or changes; empty for nothing.
    pub(crate) policy: String,
}

/// What was found for each table that a statement names. A name that turns out to be a CTE needs none.
pub(crate) type Bindings = HashMap<TableKey, Result<Arc<BoundName>, Error>>;

#[cfg(test)]
mod tests;
