//! Search requests compiled to expressions over a current table (R4 4.0.1, section 3.1.1).
//!
//! [`compile`] reads the parameters of `GET /fhir/[type]?...` against the definitions. Repeating a parameter means *and*, a
//! comma *or*. Each value becomes a [`test::Test`], each expression of the parameter a [`crate::path::Path`], and the two
//! together a plain comparison of a column where that says the same (so that files are skipped), else one function over the
//! column that walks nested arrays by their offsets.
//!
//! What it does not do: chains, `_has`, `_include`, composites, `near`, full text; each is refused by its name.

mod compile;
mod control;
mod decimal;
mod eval;
mod matcher;
mod plain;
mod sort;
mod test;
#[cfg(test)]
mod tests;
mod token;
mod value;

#[cfg(test)]
pub(crate) use eval::supports;

use arrow::datatypes::Schema;
use chrono::{DateTime, Utc};
use datafusion::logical_expr::{Expr, SortExpr};

use crate::ResourceType;

/// Matches on a page where the request does not say.
pub const DEFAULT_COUNT: usize = 50;

/// Matches on a page at most.
pub const MAX_COUNT: usize = 1000;

/// What happens to parameters that are unknown (`Prefer: handling`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    /// Refused with an error.
    Strict,
    /// Left out of the `self` link and told in an outcome.
    Lenient,
}

/// A compiled search.
#[derive(Debug, Clone)]
pub struct Search {
    /// Which rows match; a boolean expression over the current table's columns.
    pub filter: Option<Expr>,
    /// Sort keys as asked, `id` last, so that pages are stable.
    pub sort: Vec<SortExpr>,
    /// Page size; 0 asks for the count alone.
    pub count: usize,
    pub total: Total,
    /// Parameters that were applied, as they stand in the `self` link.
    pub applied: Vec<(String, String)>,
    /// Parameters that were left out, each with the reason.
    pub ignored: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Total {
    None,
    Accurate,
}

/// Why a search cannot be answered; the message names the parameter and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    #[error("unknown search parameter `{name}` for {resource}: {known}")]
    UnknownParameter { name: String, resource: ResourceType, known: String },
    #[error("search parameter `{name}`: {reason}")]
    Invalid { name: String, reason: String },
    #[error("search parameter `{name}` is not supported: {reason}")]
    Unsupported { name: String, reason: String },
}

/// Compiles the parameters of `GET /fhir/[type]?...` (decoded, in order) against the table's schema. `now` serves `ap`.
/// An element that is not a column is empty in every resource.
///
/// # Errors
/// For the first parameter that cannot be applied as R4 says.
pub fn compile(
    resource: ResourceType,
    parameters: &[(String, String)],
    schema: &Schema,
    handling: Handling,
    now: DateTime<Utc>,
) -> Result<Search, SearchError> {
    compile::compile(resource, parameters, schema, handling, now)
}
