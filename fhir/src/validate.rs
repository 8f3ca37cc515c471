//! Whether a resource is R4: structure, cardinality, primitive formats, required codes.

use crate::{ResourceType, json::Value};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    pub severity: Severity,
    /// Path of the element: `Observation.component[1].valueQuantity.value`.
    pub path: String,
    /// What is wrong, without the value.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The resource cannot be stored as it is: it goes to quarantine.
    Error,
    /// Kept whole and reported: an unknown element, a code outside a required value set.
    Warning,
}

/// The resource type that a JSON object says it is.
///
/// # Errors
/// An issue at the root when `resourceType` is missing or unknown.
pub fn resource_type(resource: &Value<'_>) -> Result<ResourceType, Issue> {
    let _ = resource;
    todo!()
}

/// Everything that is wrong with a resource, in document order; empty where it is valid.
#[must_use]
pub fn validate(resource: ResourceType, value: &Value<'_>) -> Vec<Issue> {
    let _ = (resource, value);
    todo!()
}
