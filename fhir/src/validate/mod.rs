//! Whether a resource is R4: structure, cardinality, primitive formats, required codes.
//!
//! What keeps a value from its place is an error: a wrong JSON type, a missing required element, two values of one choice, a
//! date that is none, a number out of range. What leaves the resource readable and whole is a warning: unknown elements,
//! codes outside a required value set, references to a type that is not allowed, empty values, formats of identifiers and
//! URIs, a time without its zone. Invariants (FHIRPath constraints) and profiles are not checked.

mod primitive;
mod structure;
#[cfg(test)]
mod tests;

use crate::{ResourceType, definitions, json::Value};

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
    let error = |message: String| Err(Issue { severity: Severity::Error, path: "Resource".to_owned(), message });
    match resource.get("resourceType") {
        Some(Value::String(name)) => match name.parse() {
            Ok(resource_type) => Ok(resource_type),
            Err(_) => error("`resourceType` names no resource type of R4".to_owned()),
        },
        Some(other) => error(format!("`resourceType` must be a string, not {}", other.kind())),
        None if resource.as_object().is_none() => {
            error(format!("a resource must be an object, not {}", resource.kind()))
        }
        None => error("`resourceType` is missing".to_owned()),
    }
}

/// Everything that is wrong with a resource, in document order; empty where it is valid.
#[must_use]
pub fn validate(resource: ResourceType, value: &Value<'_>) -> Vec<Issue> {
    let mut walk = structure::Walk::new(resource);
    walk.resource(definitions::root(resource), value);
    walk.issues
}
