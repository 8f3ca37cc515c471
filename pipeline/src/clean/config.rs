//! What a person may say about cleaning: the object `clean` in a source's parameters.
//!
//! ```json
//! "clean": {
//!   "day_first": true,
//!   "tables": {
//!     "acs_hospitalization": {
//!       "columns": {
//!         "poids": { "to": "float", "min": "0.3", "max": "300", "out_of_range": "null" },
//!         "sexe": { "fill": "U" },
//!         "code_service": { "to": "keep", "null_tokens": [] }
//!       },
//!       "checks": [
//!         { "name": "discharge after admission", "rule": "date_sortie >= date_entree", "action": "quarantine" }
//!       ]
//!     },
//!     "observation": { "key": ["subject.reference", "code.coding[0].code", "effectiveDateTime"] }
//!   }
//! }
//! ```
//!
//! Tables and columns are named as in the lake or as the source calls them. It is the pipeline's: connectors never see it.

use std::collections::BTreeMap;

use mavis_types::normalize_name;
use serde::{Deserialize, Serialize};

use super::{Action, Check, dates::DateFormat};

/// Member of a source's parameters that holds the configuration.
pub(crate) const MEMBER: &str = "clean";

/// Everything a person said about cleaning a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CleanConfig {
    /// How a column of dates is read whose values leave open whether day or month comes first. Default: true.
    pub day_first: bool,
    /// Texts that stand for no value, in every column; absent: [`super::NULL_TOKENS`].
    pub null_tokens: Option<Vec<String>>,
    pub tables: BTreeMap<String, TableConfig>,
}

impl Default for CleanConfig {
    fn default() -> Self {
        Self { day_first: true, null_tokens: None, tables: BTreeMap::new() }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TableConfig {
    /// Columns that tell rows apart, where the source declares none; for a table of FHIR resources: paths into the
    /// resource that make up the key of its id, such as `subject.reference`.
    pub key: Vec<String>,
    pub columns: BTreeMap<String, ColumnConfig>,
    pub checks: Vec<Check>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColumnConfig {
    pub trim: Option<bool>,
    pub null_tokens: Option<Vec<String>>,
    /// `keep`, `date`, `timestamp`, `integer`, `float` or `decimal`; absent: chosen from the profile.
    pub to: Option<Target>,
    /// Date formats, such as `dd/mm/yyyy`; absent: those found.
    pub formats: Option<Vec<DateFormat>>,
    /// The decimal sign is a comma; absent: as found.
    pub decimal_comma: Option<bool>,
    /// Digits behind the point of a `decimal`. Default: 6.
    pub scale: Option<i8>,
    /// What happens to a value that does not fit. Default: `quarantine`.
    pub misfit: Option<Action>,
    /// Put where there is no value.
    pub fill: Option<String>,
    /// Least value, written as the column's type is in SQL (`0.3`, `1900-01-01`).
    pub min: Option<String>,
    pub max: Option<String>,
    /// What happens to a value outside of `min` and `max`. Default: `warn`.
    pub out_of_range: Option<Action>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    Keep,
    Date,
    Timestamp,
    Integer,
    Float,
    Decimal,
}

impl CleanConfig {
    /// Reads the configuration out of a source's parameters.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn from_params(params: &serde_json::Value) -> Result<Self, String> {
        match params.get(MEMBER) {
            None => Ok(Self::default()),
            Some(value) => serde_json::from_value(value.clone()).map_err(|error| format!("`{MEMBER}`: {error}")),
        }
    }

    /// The parameters as the connector may see them: without what is the pipeline's.
    #[must_use]
    pub fn without(params: &serde_json::Value) -> serde_json::Value {
        let mut params = params.clone();
        if let Some(members) = params.as_object_mut() {
            members.remove(MEMBER);
            members.remove(crate::discover::drift::MEMBER);
        }
        params
    }

    /// What was said about a table, by any of its names.
    #[must_use]
    pub fn table(&self, names: &[&str]) -> TableConfig {
        let wanted: Vec<String> = names.iter().map(|name| normalize_name(name)).collect();
        self.tables
            .iter()
            .find(|(name, _)| wanted.contains(&normalize_name(name)))
            .map(|(_, t)| t.clone())
            .unwrap_or_default()
    }
}

impl TableConfig {
    /// What was said about a column.
    #[must_use]
    pub fn column(&self, lake_name: &str, source_name: &str) -> ColumnConfig {
        let named = |name: &str| self.columns.get(name);
        named(lake_name)
            .or_else(|| named(source_name))
            .or_else(|| self.columns.iter().find(|(name, _)| normalize_name(name) == lake_name).map(|(_, c)| c))
            .cloned()
            .unwrap_or_default()
    }
}
