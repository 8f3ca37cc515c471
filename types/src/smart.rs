//! SMART App Launch 2 scopes: `patient/Observation.rs`, `system/*.cruds?category=laboratory`
//! (<https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html>).

use serde::{Deserialize, Serialize};

use crate::{TableName, Zone};

/// The scopes of one token, and the patient that it was made for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Smart {
    pub scopes: Vec<SmartScope>,
    /// Id of the Patient that `patient/` scopes are about.
    pub patient: Option<String>,
}

/// Whose data a scope is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmartContext {
    Patient,
    User,
    System,
}

/// One scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmartScope {
    pub context: SmartContext,
    /// The resource type; `None` for `*`.
    pub resource: Option<String>,
    /// Some of `cruds`, in this order.
    pub allows: String,
    /// Search parameters after `?`, that each resource must match.
    pub query: Option<String>,
}

impl SmartScope {
    /// Whether the scope is about a type, named as in FHIR or as its table is.
    #[must_use]
    pub fn is_about(&self, resource: &str) -> bool {
        self.resource.as_ref().is_none_or(|known| known.eq_ignore_ascii_case(resource))
    }

    #[must_use]
    pub fn allows(&self, letter: char) -> bool {
        self.allows.contains(letter)
    }
}

impl Smart {
    /// Scopes that are about a type and allow one of some interactions (letters of `cruds`).
    pub fn about<'a>(&'a self, resource: &'a str, letters: &'a str) -> impl Iterator<Item = &'a SmartScope> {
        let allows = |scope: &&SmartScope| letters.chars().any(|letter| scope.allows(letter));
        self.scopes.iter().filter(move |scope| scope.is_about(resource)).filter(allows)
    }

    /// Whether the table holds resources that a scope allows to read or to search.
    #[must_use]
    pub fn reads(&self, table: &TableName) -> bool {
        table.zone == Zone::Fhir && self.about(&table.table, "rs").next().is_some()
    }

    #[must_use]
    pub fn reads_schema(&self, zone: Zone, _schema: &str) -> bool {
        zone == Zone::Fhir && self.scopes.iter().any(|scope| scope.allows('r') || scope.allows('s'))
    }
}
