//! Mappings (the pivot schema): FHIR element = SQL expression over processed tables, versioned, run vectorised.

use arrow::{array::RecordBatch, datatypes::Schema};

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
    /// `p.contacts AS contact`: one resource per element.
    pub for_each: Option<String>,
    /// A SQL condition on rows.
    pub filter: Option<String>,
    /// Element path and SQL expression, in the order written.
    pub set: Vec<(ElementPath, String)>,
}

/// A path such as `name[0].given[0]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ElementPath(pub Vec<PathStep>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathStep {
    pub name: String,
    pub index: Option<u32>,
}

/// What is wrong with a mapping, each with the line or the path it is at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("mapping, at `{place}`: {message}")]
pub struct MappingProblem {
    pub place: String,
    pub message: String,
}

impl Mapping {
    /// # Errors
    /// Every problem of syntax, unknown fields included.
    pub fn parse(toml: &str) -> Result<Self, Vec<MappingProblem>> {
        let _ = toml;
        todo!()
    }

    /// Reads the replaced system's `fhir_mapping.json` (source column -> FHIR path per table).
    ///
    /// # Errors
    /// Every problem.
    pub fn parse_json(json: &str, source: &str) -> Result<Vec<Self>, Vec<MappingProblem>> {
        let _ = (json, source);
        todo!()
    }

    #[must_use]
    pub fn to_toml(&self) -> String {
        todo!()
    }

    /// Paths, cardinalities, required elements and choice types against the definitions; needs no table.
    #[must_use]
    pub fn check(&self) -> Vec<MappingProblem> {
        todo!()
    }

    /// The statement that computes the mapping's rows: columns `key_0..` and `set_0..` in the order of `set`, all as the
    /// expressions type them. Planned by whoever has the tables.
    #[must_use]
    pub fn to_sql(&self) -> String {
        todo!()
    }

    /// Checks the types of the planned statement against the elements' types.
    #[must_use]
    pub fn check_types(&self, schema: &Schema) -> Vec<MappingProblem> {
        let _ = schema;
        todo!()
    }

    /// Turns the statement's rows into resources (JSON text without `id`); a null leaves its element out, an element left
    /// empty is dropped. `Err` holds what cannot be written, to be quarantined.
    #[must_use]
    pub fn resources(&self, rows: &RecordBatch) -> Vec<Result<MappedRow, String>> {
        let _ = rows;
        todo!()
    }

    /// A hash that changes when the mapping's meaning may have changed.
    #[must_use]
    pub fn rule_hash(&self) -> String {
        todo!()
    }
}

/// A row that became a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedRow {
    pub key: Vec<String>,
    /// JSON with `resourceType` first and no `id`.
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

/// Suggests Patient and Encounter mappings from column names in French and English.
///
/// `columns`: name and Arrow type as text of each column of `table` (`processed.<schema>.<table>`).
#[must_use]
pub fn suggest(table: &str, columns: &[(String, String)], key: &[String]) -> Vec<Suggestion> {
    let _ = (table, columns, key);
    todo!()
}
