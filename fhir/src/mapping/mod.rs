//! Mappings (the pivot schema): FHIR element = SQL expression over processed tables, versioned, run vectorised.
//!
//! ```toml
//! version  = 1
//! resource = "Patient"
//! from     = "processed.mavis_test.hms_patient p"
//! key      = "p.patient_id"                # or a list of parts
//! # for_each = "p.contacts AS contact"     # one resource per element of a list column
//! # where    = "p.sex IS NOT NULL"
//!
//! [set]
//! "name[0].family"       = "p.last_name"
//! "gender"               = "code_map('administrative-gender', p.sex)"
//! "managingOrganization" = "reference('Organization', p.clinic_id)"
//! ```
//!
//! Where the source already holds whole resources, `resource_json = "p.resource"` stands in the place of `[set]`.
//!
//! The way of a mapping: [`Mapping::parse`] (syntax), [`Mapping::check`] (paths, against the definitions),
//! [`Mapping::to_sql`] (planned by whoever has the tables), [`Mapping::check_types`] (against the planned types),
//! [`Mapping::resources`] (rows to JSON). In a path a missing index on a repeating element means `[0]`, and a `Reference`
//! that is set as a whole sets its `reference`.

mod check;
mod column;
mod hash;
mod path;
mod primitive;
mod replaced;
mod rows;
mod sql;
mod suggest;
#[cfg(test)]
mod tests;
mod text;
mod tree;
mod types;
mod write;

use arrow::{array::RecordBatch, datatypes::Schema};

pub use self::path::{ElementPath, PathStep};
use crate::ResourceType;

/// A mapping as it is written in TOML.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    pub version: u32,
    pub resource: ResourceType,
    /// The SQL `FROM` part: `processed.mavis_test.hms_patient p`, joins allowed.
    pub from: String,
    /// Parts of the key; SQL expressions.
    pub key: Vec<String>,
    /// `p.contacts AS contact`: one resource per element. A row whose list is null or empty makes none.
    pub for_each: Option<String>,
    /// A SQL condition on rows (`where` in TOML).
    pub filter: Option<String>,
    /// Element path and SQL expression, in the order written.
    pub set: Vec<(ElementPath, String)>,
    /// The whole resource as JSON text, for sources that are FHIR already; then `set` is empty.
    pub resource_json: Option<String>,
}

/// What is wrong with a mapping, each with the line or the path it is at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("mapping, at `{place}`: {message}")]
pub struct MappingProblem {
    pub place: String,
    pub message: String,
}

impl MappingProblem {
    fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into() }
    }
}

impl Mapping {
    /// # Errors
    /// Every problem of syntax, unknown fields included, each with its line.
    pub fn parse(toml: &str) -> Result<Self, Vec<MappingProblem>> {
        text::parse(toml).map(|located| located.mapping)
    }

    /// Parses and checks at once: every problem that can be found without a table, with its line where it has one.
    ///
    /// # Errors
    /// Every problem of [`Self::parse`], or of [`Self::check`].
    pub fn parse_checked(toml: &str) -> Result<Self, Vec<MappingProblem>> {
        let located = text::parse(toml)?;
        let problems = located.mapping.check();
        if problems.is_empty() { Ok(located.mapping) } else { Err(located.locate(problems)) }
    }

    /// Reads the replaced system's `fhir_mapping.json` (source column -> FHIR path per table). `source` is the schema of
    /// its tables in the processed zone.
    ///
    /// Accepted per table: `{"resource" | "resourceType": .., "columns" | "mapping" | "fields": {column: path}}`, the
    /// columns beside `resourceType`, and lists of `{"source": .., "target": ..}`; tables as an object or as a list with
    /// `"table"`.
    ///
    /// # Errors
    /// Every problem, each with `table.column`.
    pub fn parse_json(json: &str, source: &str) -> Result<Vec<Self>, Vec<MappingProblem>> {
        replaced::parse(json, source)
    }

    /// The mappings in the replaced system's form, one entry per table; a `set` expression that is more than a column
    /// stands as `{"path": .., "sql": ..}`.
    #[must_use]
    pub fn to_json(mappings: &[Self]) -> String {
        replaced::write(mappings)
    }

    /// The mapping as TOML that [`Self::parse`] reads back.
    #[must_use]
    pub fn to_toml(&self) -> String {
        text::write(self)
    }

    /// SQL syntax, paths, cardinalities, required elements and choice types against the definitions; needs no table.
    #[must_use]
    pub fn check(&self) -> Vec<MappingProblem> {
        check::check(self)
    }

    /// The statement that computes the mapping's rows: columns `key_0..` and `set_0..` in the order of `set` (or
    /// `resource_json`), all as the expressions type them. Planned by whoever has the tables, after [`Self::check`] found
    /// nothing.
    #[must_use]
    pub fn to_sql(&self) -> String {
        sql::statement(self)
    }

    /// Checks the types of the planned statement against the elements' types.
    #[must_use]
    pub fn check_types(&self, schema: &Schema) -> Vec<MappingProblem> {
        types::check(self, schema)
    }

    /// Turns the statement's rows into resources (JSON text without `id`); a null leaves its element out, an element left
    /// empty is dropped. `Err` holds the reason why a row cannot be written, without its values, to be quarantined.
    #[must_use]
    pub fn resources(&self, rows: &RecordBatch) -> Vec<Result<MappedRow, String>> {
        rows::resources(self, rows)
    }

    /// A hash that changes when the mapping's meaning may have changed: 32 hexadecimal digits.
    #[must_use]
    pub fn rule_hash(&self) -> String {
        hash::rule_hash(self)
    }
}

/// A row that became a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedRow {
    pub key: Vec<String>,
    /// JSON with `resourceType` first and no `id`; as the source has it where the mapping has `resource_json`.
    pub json: String,
}

/// A mapping suggested from a table's columns, with a word on each column that found no place.
#[derive(Debug, Clone)]
pub struct Suggestion {
    pub mapping: Mapping,
    /// 0 to 1.
    pub confidence: f64,
    pub unmapped: Vec<String>,
}

/// Suggests Patient and Encounter mappings from column names in French and English, the likeliest first; none where a
/// table looks like neither.
///
/// `columns`: name and Arrow type as text of each column of `table` (`processed.<schema>.<table>`). `key`: its primary
/// key where it is known.
#[must_use]
pub fn suggest(table: &str, columns: &[(String, String)], key: &[String]) -> Vec<Suggestion> {
    suggest::suggest(table, columns, key)
}
