//! Terminology operations (R4, "terminology-service.html") over the CodeSystems, ValueSets and ConceptMaps that the lake
//! holds: `$expand`, `$lookup`, `$validate-code`, `$translate`.
//!
//! [`value_set_codes`], [`below`] and [`above`] are for searches by token with `:in`, `:not-in`, `:below` and `:above`.

mod door;
mod input;
mod shelf;

use std::collections::BTreeSet;

use mavis_fhir::terminology::{CodeSystem, TerminologyError};
use mavis_sql::Session;

pub(super) use door::{expand, lookup, translate, validate_in_system, validate_in_value_set};
use shelf::{Shelf, read_value_set};

use super::rows::is_id;

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

/// Every code of a value set, for `code:in=[reference]`: of the one with this canonical URL, of `ValueSet/[id]`, or of those
/// that a code system implies (`[system]?fhir_vs` is all of it, `[system]?fhir_vs=isa/[code]` a code and what is below it).
pub(super) async fn value_set_codes(session: &Session, reference: &str) -> Result<Vec<(String, String)>, Unanswered> {
    let mut shelf = Shelf::new(session);
    if let Some((system, which)) = reference.split_once("?fhir_vs") {
        let within = match which.strip_prefix('=') {
            None if which.is_empty() => None,
            Some(which) if which.strip_prefix("isa/").is_some_and(|code| !code.is_empty()) => {
                which.strip_prefix("isa/")
            }
            _ => {
                let message = format!("of the value sets that a code system implies, `{which}` is not known here");
                return Err(TerminologyError::Unsupported(message).into());
            }
        };
        let known = whole(&mut shelf, system).await?;
        let codes: Vec<&str> = match within {
            Some(code) => known.below(code).into_iter().collect(),
            None => known.concepts().map(|concept| concept.code.as_str()).collect(),
        };
        return Ok(codes.into_iter().map(|code| (system.to_owned(), code.to_owned())).collect());
    }
    let by_id = reference.strip_prefix("ValueSet/").filter(|id| is_id(id));
    let set = match by_id {
        Some(id) => {
            let text = shelf.by_id("ValueSet", id).await?;
            read_value_set(&text.ok_or_else(|| TerminologyError::UnknownValueSet(reference.to_owned()))?)?
        }
        None => shelf.value_set(reference).await?,
    };
    let codes = shelf.expand(&set, MAX_CODES).await?;
    Ok(codes.into_iter().map(|coded| (coded.system, coded.code)).collect())
}

/// The code and all below it in its code system, for `code:below=[system]|[code]`. A code that the system does not have is
/// below itself.
pub(super) async fn below(session: &Session, system: &str, code: &str) -> Result<Vec<(String, String)>, Unanswered> {
    let mut shelf = Shelf::new(session);
    let codes = whole(&mut shelf, system).await?.below(code);
    Ok(with_itself(system, code, codes))
}

/// The code and all above it, for `code:above=[system]|[code]`.
pub(super) async fn above(session: &Session, system: &str, code: &str) -> Result<Vec<(String, String)>, Unanswered> {
    let mut shelf = Shelf::new(session);
    let codes = whole(&mut shelf, system).await?.above(code);
    Ok(with_itself(system, code, codes))
}

fn with_itself(system: &str, code: &str, codes: BTreeSet<&str>) -> Vec<(String, String)> {
    let pair = |code: &str| (system.to_owned(), code.to_owned());
    codes.into_iter().map(pair).chain(std::iter::once(pair(code))).collect()
}

/// A code system with its concepts.
async fn whole<'s>(shelf: &'s mut Shelf<'_>, url: &str) -> Result<&'s CodeSystem, Unanswered> {
    let system = shelf.code_system(url).await?;
    let system = system.ok_or_else(|| TerminologyError::UnknownSystem(url.chars().take(200).collect()))?;
    if system.content == "not-present" {
        let message = format!("the concepts of the code system `{}` are not here", system.url);
        return Err(TerminologyError::Unsupported(message).into());
    }
    Ok(system)
}
