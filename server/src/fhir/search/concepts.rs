//! The codes that searches by `:in`, `:not-in`, `:below` and `:above` need, asked of the lake's terminology.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use mavis_fhir::{
    search::{CodesOf, KnownCodes},
    terminology::TerminologyError,
};
use mavis_sql::Session;

use crate::fhir::{
    outcome::Outcome,
    terminology::{Unanswered, above, below, value_set_codes},
};

/// Brings the codes that are not known yet; `wanted` tells for each a parameter that needs them.
///
/// # Errors
/// 400 with the parameter's name for a value set or a code system that the lake does not have.
pub(super) async fn find(
    session: &Session,
    wanted: BTreeMap<CodesOf, String>,
    known: &mut KnownCodes,
) -> Result<(), Outcome> {
    for (codes_of, name) in wanted {
        if known.contains_key(&codes_of) {
            continue;
        }
        let found = match &codes_of {
            CodesOf::ValueSet(reference) => value_set_codes(session, reference).await,
            CodesOf::Below { system, code } => below(session, system, code).await,
            CodesOf::Above { system, code } => above(session, system, code).await,
        };
        let codes = found.map_err(|unanswered| refused(&name, unanswered))?;
        known.insert(codes_of, codes.into_iter().collect());
    }
    Ok(())
}

fn refused(name: &str, unanswered: Unanswered) -> Outcome {
    let error = match unanswered {
        Unanswered::Query(error) => return error.into(),
        Unanswered::Terminology(error) => error,
    };
    let code = match &error {
        TerminologyError::UnknownSystem(_) | TerminologyError::UnknownValueSet(_) => "not-found",
        TerminologyError::Unsupported(_) => "not-supported",
        TerminologyError::TooMany(_) => "too-costly",
        TerminologyError::Cycle => "processing",
        TerminologyError::Missing(_) => "exception",
    };
    let message = match &error {
        TerminologyError::TooMany(most) => format!("the value set has more than {most} codes"),
        error => error.to_string(),
    };
    Outcome::new(StatusCode::BAD_REQUEST, code, format!("search parameter `{name}`: {message}"))
}
