//! Search requests compiled to expressions over current tables (R4 4.0.1, section 3.1.1).
//!
//! [`compile`] reads the parameters of `GET /fhir/[type]?...` against the definitions. Repeating a parameter means *and*, a
//! comma *or*. Each value becomes a [`test::Test`], each expression of the parameter a [`crate::path::Path`], and the two
//! together a plain comparison of a column where that says the same (so that files are skipped), else one function over the
//! column that walks nested arrays by their offsets.
//!
//! What concerns other tables (chains, `_has`, `_list`) becomes [`Link`]s: semi-joins by keys, which whoever runs the search
//! makes from the tables of one snapshot ([`narrow`] builds the plan). A link's own sources have criteria too, so that chains nest. Included resources
//! are told by [`Include`]s, from a page's rows.
//!
//! Codes told by a value set or a hierarchy (`:in`, `:below`) are brought with the request: [`codes`] says which.
//!
//! What it does not do: full text (`_text`, `_content`), named queries, `_filter` and searches inside contained resources;
//! each is refused by its name.

mod chain;
mod codes;
mod compile;
mod composite;
mod concepts;
mod condition;
mod control;
mod decimal;
mod eval;
mod include;
mod keys;
mod matcher;
mod narrow;
mod near;
mod plain;
mod refer;
mod scope;
mod sort;
mod subset;
mod test;
#[cfg(test)]
mod tests;
mod token;
mod units;
mod value;

#[cfg(test)]
pub(crate) use eval::supports;

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use datafusion::{
    error::DataFusionError,
    logical_expr::{Expr, LogicalPlan, SortExpr},
};

pub use self::{
    codes::{CodeSet, CodesOf, KnownCodes},
    include::Include,
    subset::View,
};
use crate::{
    ResourceType,
    definitions::{COMPARTMENTS, SearchParameter, search_parameters},
};

/// Matches on a page where the request does not say.
pub const DEFAULT_COUNT: usize = 50;

/// Matches on a page at most.
pub const MAX_COUNT: usize = 1000;

/// Values of one parameter, with commas between them, at most.
pub const MAX_VALUES: usize = 500;

/// Parameters of one search at most.
pub const MAX_PARAMETERS: usize = 100;

/// Keys of one order at most.
pub const MAX_SORT_KEYS: usize = 10;

/// Levels of chains and `_has` at most.
pub const MAX_LEVELS: usize = 5;

/// Value sets and concepts that one search names at most, with `:in`, `:below` and their like.
pub const MAX_CODE_SETS: usize = 20;

/// Tables that the links of one search read at most, one counted each time.
pub const MAX_SOURCES: usize = 200;

/// What happens to parameters that are unknown (`Prefer: handling`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    /// Refused with an error.
    Strict,
    /// Left out of the `self` link and told in an outcome.
    Lenient,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Decoded, in order.
    pub parameters: &'a [(String, String)],
    pub handling: Handling,
    /// Serves `ap`.
    pub now: DateTime<Utc>,
    /// URL of the door, without a slash at its end: references that begin with it are to resources here.
    pub base: Option<&'a str>,
    /// The types that are searched together, where they are several.
    pub types: &'a [ResourceType],
    /// The codes that [`codes`] names; `None` where there is nobody to ask: a search that needs some is refused.
    pub codes: Option<&'a KnownCodes>,
}

/// Schemas of current tables. An element that is not a column is empty in every resource; a type that is not there has
/// no resources.
pub type Schemas = BTreeMap<ResourceType, SchemaRef>;

/// A compiled search.
#[derive(Debug, Clone)]
pub struct Search {
    /// Which rows match.
    pub criteria: Criteria,
    /// Sort keys as asked, `id` last, so that pages are stable.
    pub sort: Vec<SortExpr>,
    /// Page size; 0 asks for the count alone.
    pub count: usize,
    pub total: Total,
    /// What comes with the matches, as asked.
    pub includes: Vec<Include>,
    /// Parameters that were applied, as they stand in the `self` link.
    pub applied: Vec<(String, String)>,
    /// Parameters that were left out, each with the reason.
    pub ignored: Vec<(String, String)>,
}

/// Which rows of a current table are meant: the filter and every link must hold.
#[derive(Debug, Clone, Default)]
pub struct Criteria {
    /// A boolean expression over the table's columns, unqualified.
    pub filter: Option<Expr>,
    pub links: Vec<Link>,
}

/// A semi-join: rows one of whose keys is a key of any source.
#[derive(Debug, Clone)]
pub struct Link {
    /// Over the columns of the table that the criteria are about: a text, or with `many` a list of texts.
    pub key: Expr,
    pub many: bool,
    /// Whether the key is also what the column `__patient` holds, in every row that has one of the keys: what lets files be
    /// skipped.
    pub is_patient: bool,
    pub any_of: Vec<Source>,
}

/// Where a link's keys come from. Its table may be missing: then it has none.
#[derive(Debug, Clone)]
pub struct Source {
    pub resource: ResourceType,
    /// Over the columns of the source's table: a text, or with `many` a list of texts.
    pub key: Expr,
    pub many: bool,
    pub criteria: Criteria,
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
    #[error("search parameter `{name}` asks too much: {reason}")]
    TooMuch { name: String, reason: String },
}

/// Compiles the parameters of `GET /fhir/[type]?...`. `schemas` holds the tables that [`tables`] names, as far as they exist.
///
/// # Errors
/// For the first parameter that cannot be applied as R4 says.
pub fn compile(resource: ResourceType, request: Request<'_>, schemas: &Schemas) -> Result<Search, SearchError> {
    Ok(compile::compile(resource, request, schemas)?.whole()?.search)
}

/// The types whose tables a search reads to find its matches: its own, and those of its links.
///
/// # Errors
/// As [`compile`].
pub fn tables(resource: ResourceType, request: Request<'_>) -> Result<BTreeSet<ResourceType>, SearchError> {
    Ok(compile::compile(resource, request, &Schemas::new())?.whole()?.tables)
}

/// The codes that a search needs to know and that the request does not bring yet, each with the name of a parameter that
/// needs them. Whoever compiles the search asks for them first.
///
/// # Errors
/// As [`compile`], where there is something to ask.
pub fn codes(resource: ResourceType, request: Request<'_>) -> Result<BTreeMap<CodesOf, String>, SearchError> {
    // most searches need none
    let is_conceptual = |name: &str| name.rsplit(':').next().is_some_and(concepts::is_conceptual);
    if !request.parameters.iter().any(|(name, _)| is_conceptual(name)) {
        return Ok(BTreeMap::new());
    }
    Ok(compile::compile(resource, request, &Schemas::new())?.unknown)
}

/// Plans that scan current tables; a type that is not there has no resources.
pub type Plans = BTreeMap<ResourceType, LogicalPlan>;

/// The rows of a type's table that the criteria mean, all columns of them; `None` where there is no such table.
///
/// # Errors
/// Where a plan lacks what the criteria were compiled for.
pub fn narrow(
    resource: ResourceType,
    criteria: &Criteria,
    plans: &Plans,
) -> Result<Option<LogicalPlan>, DataFusionError> {
    narrow::narrow(resource, criteria, plans)
}

/// The search parameters of a type that are answered.
pub fn answered(resource: ResourceType) -> impl Iterator<Item = &'static SearchParameter> {
    search_parameters(resource).iter().filter(move |parameter| condition::is_answered(resource, parameter))
}

/// The values that `_include` takes for matches of a type.
#[must_use]
pub fn includes(resource: ResourceType) -> Vec<String> {
    include::includes(resource)
}

/// Every value that `_revinclude` takes, with the types of the matches that it is for.
#[must_use]
pub fn reverse_includes() -> Vec<(String, Vec<ResourceType>)> {
    include::reverse_includes()
}

/// Which rows of a type's table are in the compartment of a patient; `None` where no resource of the type is in one.
#[must_use]
pub fn in_compartment(resource: ResourceType, patient: &str, schema: &SchemaRef) -> Option<Expr> {
    in_compartments(resource, &[patient.to_owned()], schema)
}

/// As [`in_compartment`], of any of these patients.
#[must_use]
pub fn in_compartments(resource: ResourceType, patients: &[String], schema: &SchemaRef) -> Option<Expr> {
    refer::in_compartments("Patient".parse().ok()?, resource, patients, schema)
}

/// The same of any type that compartments are of ([`compartments`]).
#[must_use]
pub fn in_compartment_of(of: ResourceType, resource: ResourceType, id: &str, schema: &SchemaRef) -> Option<Expr> {
    refer::in_compartments(of, resource, &[id.to_owned()], schema)
}

/// The types that compartments are of.
pub fn compartments() -> impl Iterator<Item = ResourceType> {
    COMPARTMENTS.into_iter().chain(["Patient"]).filter_map(|name| name.parse().ok())
}
