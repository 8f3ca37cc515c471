//! Bundles taken apart, and references made to point at `Type/id`.

mod condition;
mod reference;
#[cfg(test)]
mod tests;

pub(crate) use self::reference::is_id;
pub use self::{
    condition::Condition,
    reference::{for_each_reference, relative_reference, rewrite_references},
};
use crate::json::Value;

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

/// The entries of a Bundle, in order; none where it has no `entry`.
///
/// # Errors
/// [`BundleError::NotABundle`] for anything else, [`BundleError::Entry`] for an entry that is no object.
pub fn entries<'a>(bundle: Value<'a>) -> Result<Vec<Entry<'a>>, BundleError> {
    let not_a_bundle = |reason: String| Err(BundleError::NotABundle(reason));
    let kind = bundle.kind();
    let Value::Object(members) = bundle else {
        return not_a_bundle(format!("it is {kind}, not an object"));
    };
    let mut is_bundle = false;
    let mut list = None;
    for (name, value) in members {
        match name.as_ref() {
            "resourceType" => is_bundle = value.as_str() == Some("Bundle"),
            "entry" => list = Some(value),
            _ => {}
        }
    }
    if !is_bundle {
        return not_a_bundle("`resourceType` is not `Bundle`".to_owned());
    }
    match list {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => items.into_iter().enumerate().map(|(index, item)| entry(index, item)).collect(),
        Some(other) => not_a_bundle(format!("`entry` is {}, not an array", other.kind())),
    }
}

fn entry(index: usize, item: Value<'_>) -> Result<Entry<'_>, BundleError> {
    let kind = item.kind();
    let Value::Object(members) = item else {
        return Err(BundleError::Entry { index, reason: format!("it is {kind}, not an object") });
    };
    let mut entry = Entry { index, full_url: None, resource: None, method: None, url: None, if_none_exist: None };
    for (name, value) in members {
        match name.as_ref() {
            "fullUrl" => entry.full_url = value.as_str().map(str::to_owned),
            "resource" if !value.is_null() => entry.resource = Some(value),
            "request" => {
                let text = |name| value.get_str(name).map(str::to_owned);
                (entry.method, entry.url, entry.if_none_exist) = (text("method"), text("url"), text("ifNoneExist"));
            }
            _ => {}
        }
    }
    Ok(entry)
}
