use std::{borrow::Cow, collections::HashMap};

use crate::{ResourceType, json::Value};

/// The type and the id of a relative reference `Type/id` or `Type/id/_history/version`; `None` for any other: `#x`, `urn:`,
/// absolute, conditional.
#[must_use]
pub fn relative_reference(text: &str) -> Option<(&str, &str)> {
    let (type_name, rest) = text.split_once('/')?;
    let (id, history) = rest.split_once('/').map_or((rest, None), |(id, history)| (id, Some(history)));
    let is_version = history.is_none_or(|history| history.strip_prefix("_history/").is_some_and(is_id));
    let is_relative = is_version && is_id(id) && type_name.parse::<ResourceType>().is_ok();
    is_relative.then_some((type_name, id))
}

/// Whether a text can be the id of a resource: 1 to 64 of `A-Z a-z 0-9 - .` (R4, 2.24.0.1).
pub(crate) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
}

/// Every `reference` in a resource (contained resources and extensions included), in the order of the text. References to
/// contained resources (`#x`) are passed over.
pub fn for_each_reference(resource: &Value<'_>, visit: &mut dyn FnMut(&str)) {
    match resource {
        Value::Array(items) => items.iter().for_each(|item| for_each_reference(item, visit)),
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if name == "reference" && !text.starts_with('#') => visit(text),
                    _ => for_each_reference(value, visit),
                }
            }
        }
        _ => {}
    }
}

/// Puts `resolved[reference]` in the place of each `reference` that is a key of it; everything else stays, and so do
/// references to contained resources (`#x`). Returns whether anything changed.
pub fn rewrite_references(resource: &mut Value<'_>, resolved: &HashMap<String, String>) -> bool {
    match resource {
        Value::Array(items) => {
            items.iter_mut().fold(false, |changed, item| rewrite_references(item, resolved) | changed)
        }
        Value::Object(members) => {
            let mut changed = false;
            for (name, value) in members {
                if name == "reference"
                    && let Value::String(text) = value
                {
                    let target = resolved.get(text.as_ref()).filter(|target| !text.starts_with('#') && *target != text);
                    if let Some(target) = target {
                        *text = Cow::Owned(target.clone());
                        changed = true;
                    }
                } else {
                    changed |= rewrite_references(value, resolved);
                }
            }
            changed
        }
        _ => false,
    }
}
