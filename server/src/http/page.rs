use mavis_catalog::Source;
use mavis_types::{Principal, Scope};

use super::ApiError;

/// Lines of a page when nothing is said.
pub(super) const DEFAULT: u32 = 100;
/// Most lines of a page.
pub(super) const MOST: u32 = 1_000;

/// How many lines were asked for.
pub(super) fn limit(asked: Option<u32>) -> Result<u32, ApiError> {
    match asked {
        None => Ok(DEFAULT),
        Some(limit @ 1..=MOST) => Ok(limit),
        Some(limit) => Err(ApiError::invalid(format!("limit={limit}: ask for 1 to {MOST}"))),
    }
}

/// Whether a principal may know of a source: a schema that may be read is the source's own, `<source>` or
/// `<source>__<schema>`. The system tables go by the same rule.
pub(super) fn knows(principal: &Principal, source: &Source) -> bool {
    let name = source.name.as_str();
    match &principal.scope {
        Scope::All => true,
        Scope::Schemas(grants) => grants
            .iter()
            .any(|grant| grant.schema.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("__"))),
    }
}
