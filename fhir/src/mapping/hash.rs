use xxhash_rust::xxh3::Xxh3;

use super::Mapping;

/// Grows when the same mapping begins to make other resources, because this code changed.
const RULES: u64 = 1;

pub(super) fn rule_hash(mapping: &Mapping) -> String {
    let mut hash = Xxh3::new();
    hash.update(&RULES.to_le_bytes());
    hash.update(&mapping.version.to_le_bytes());
    let mut text = |text: &str| {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    text(mapping.resource.name());
    text(&mapping.from);
    for optional in [&mapping.for_each, &mapping.filter, &mapping.resource_json] {
        text(if optional.is_some() { "1" } else { "0" });
        text(optional.as_deref().unwrap_or_default());
    }
    text(&mapping.key.len().to_string());
    mapping.key.iter().for_each(|part| text(part));
    for (path, expression) in &mapping.set {
        text(&path.to_string());
        text(expression);
    }
    format!("{:032x}", hash.digest128())
}
