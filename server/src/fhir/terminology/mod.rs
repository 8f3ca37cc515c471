//! Terminology operations (R4, "terminology-service.html") over the CodeSystems, ValueSets and ConceptMaps that the lake
//! holds: `$expand`, `$lookup`, `$validate-code`, `$translate`.
//!
//! [`value_set_codes`], [`below`] and [`above`] are for searches by token with `:in`, `:not-in`, `:below` and `:above`.

mod door;
mod input;
mod shelf;

use mavis_fhir::terminology::{Coded, TerminologyError};
use mavis_sql::Session;

pub(super) use door::{expand, lookup, translate, validate_in_system, validate_in_value_set};
use shelf::Shelf;

/// Codes of an expansion, at most.
pub(super) const MAX_CODES: usize = 100_000;

/// Why a terminology question has no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    Terminology(TerminologyError),
    Query(mavis_sql::Error),
}

impl From<mavis_sql::Error> for Unanswered {
    fn from(error: mavis_sql::Error) -> Self {
        Self::Query(error)
    }
}

impl From<TerminologyError> for Unanswered {
    fn from(error: TerminologyError) -> Self {
        Self::Terminology(error)
    }
}

/// Every code of the value set of this canonical URL, for `code:in=[url]`.
#[allow(dead_code, reason = "the seam that searches by token use")]
pub(super) async fn value_set_codes(session: &Session, canonical: &str) -> Result<Vec<Coded>, Unanswered> {
    let mut shelf = Shelf::new(session);
    let set = shelf.value_set(canonical).await?;
    shelf.expand(&set, MAX_CODES).await
}

/// The code and all below it in its code system, for `code:below=[system]|[code]`; only the code itself where the lake does
/// not have the system.
#[allow(dead_code, reason = "the seam that searches by token use")]
pub(super) async fn below(session: &Session, system: &str, code: &str) -> Result<Vec<String>, Unanswered> {
    let mut shelf = Shelf::new(session);
    let codes = match shelf.code_system(system).await? {
        Some(system) => system.below(code).into_iter().map(str::to_owned).collect(),
        None => Vec::new(),
    };
    Ok(if codes.is_empty() { vec![code.to_owned()] } else { codes })
}

/// The code and all above it, for `code:above=[system]|[code]`.
#[allow(dead_code, reason = "the seam that searches by token use")]
pub(super) async fn above(session: &Session, system: &str, code: &str) -> Result<Vec<String>, Unanswered> {
    let mut shelf = Shelf::new(session);
    let codes = match shelf.code_system(system).await? {
        Some(system) => system.above(code).into_iter().map(str::to_owned).collect(),
        None => Vec::new(),
    };
    Ok(if codes.is_empty() { vec![code.to_owned()] } else { codes })
}
