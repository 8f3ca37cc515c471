//! SQL on FHIR: ViewDefinitions (version 2.0 and the 3.0 ballot) over the columns of a current table.
//!
//! [`View::parse`] reads a ViewDefinition, [`Plan::new`] checks its expressions against the R4 definitions and settles the
//! columns, [`Plan::run`] makes rows of batches of resources. A select is evaluated for all its rows at once: `forEach` opens
//! lists by their offsets, `repeat` goes down level by level, sibling selects are multiplied, and only the columns at the end
//! are gathered. The rows of one resource stand together, in the order of the resources.
//!
//! What the view reads and the table does not have (yet) is null, of the right type. An element that FHIR does not know is
//! always empty and becomes a warning ([`Plan::warnings`]): the specification lets views traverse types that lack it.

mod inline;
mod meta;
mod parse;
mod plan;
mod push;
mod repeat;
mod rows;
mod run;
mod table;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use crate::{
    ResourceType,
    path::{PathError, syntax::Literal},
};

pub use self::{inline::encode, plan::Plan};

/// A ViewDefinition, its structure checked.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Name in SQL, where it has one.
    pub name: Option<String>,
    /// Canonical URL, where it has one.
    pub url: Option<String>,
    /// What it makes rows of.
    pub resource: ResourceType,
    constants: HashMap<String, Literal>,
    /// Expressions that must be true for a resource.
    wheres: Vec<String>,
    selects: Vec<Select>,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Select {
    over: Over,
    columns: Vec<Column>,
    selects: Vec<Select>,
    unions: Vec<Select>,
}

/// What a select makes rows of.
#[derive(Debug, Clone, PartialEq, Default)]
enum Over<T = String> {
    /// Its parent's rows.
    #[default]
    Parent,
    ForEach(T),
    ForEachOrNull(T),
    Repeat(Vec<T>),
}

#[derive(Debug, Clone, PartialEq)]
struct Column {
    name: String,
    path: String,
    /// As declared: the name of a FHIR type.
    type_name: Option<String>,
    collection: bool,
}

/// Why a view cannot be used, or has no answer for the data. Never holds a value of a resource.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// It is no ViewDefinition; `place` as in `select[0].column[1].path`.
    #[error("{place}: {reason}")]
    Structure { place: String, reason: String },
    /// An expression cannot be compiled.
    #[error("{place}: {error}")]
    Expression { place: String, error: PathError },
    /// The data do not fit: a column of single values met several.
    #[error("{place}: {reason}")]
    Data { place: String, reason: String },
    /// One resource makes more rows than can be held.
    #[error("one resource makes more than {limit} rows")]
    TooManyRows { limit: usize },
    #[error(transparent)]
    Arrow(#[from] arrow::error::ArrowError),
}

impl ViewError {
    fn structure(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Structure { place: place.into(), reason: reason.into() }
    }
}
