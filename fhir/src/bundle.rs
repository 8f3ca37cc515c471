//! Bundles taken apart, and references made to point at `Type/id`.

use std::collections::HashMap;

use crate::{ResourceType, json::Value};

/// An entry of a Bundle.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Position in the Bundle, from 0.
    pub index: usize,
    pub full_url: Option<String>,
    pub resource: Option<Value<'a>>,
    pub method: Option<String>,
    pub url: Option<String>,
    pub if_none_exist: Option<String>,
}

/// What is wrong with a Bundle as a whole or with one entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    #[error("not a Bundle: {0}")]
    NotABundle(String),
    #[error("entry {index}: {reason}")]
    Entry { index: usize, reason: String },
}

/// The entries of a Bundle, in order.
///
/// # Errors
/// [`BundleError::NotABundle`].
pub fn entries<'a>(bundle: Value<'a>) -> Result<Vec<Entry<'a>>, BundleError> {
    let _ = bundle;
    todo!()
}

/// A conditional reference or `ifNoneExist`: `Practitioner?identifier=system|value`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Condition {
    pub resource: ResourceType,
    /// Decoded `name=value` pairs in the order written.
    pub criteria: Vec<(String, String)>,
}

impl Condition {
    /// Reads `Type?query`; `None` where the text is no conditional reference.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let _ = text;
        todo!()
    }

    /// `Some((system, value))` where the only criterion is one `identifier` token.
    #[must_use]
    pub fn identifier(&self) -> Option<(Option<&str>, &str)> {
        todo!()
    }
}

/// Every `reference` in a resource (contained resources and extensions included), each visited with a path.
pub fn for_each_reference(resource: &Value<'_>, visit: &mut dyn FnMut(&str)) {
    let _ = (resource, visit);
    todo!()
}

/// Puts `resolved[reference]` in the place of each `reference` that is a key of it; everything else stays. Returns
/// whether anything changed.
pub fn rewrite_references(resource: &mut Value<'_>, resolved: &HashMap<String, String>) -> bool {
    let _ = (resource, resolved);
    todo!()
}
