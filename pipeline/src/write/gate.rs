//! What a caller may write whose token is limited by SMART scopes.
//!
//! A resource must be among those that a scope with the interaction's letter is about, as it is now and as it will be. One that
//! the caller may not read is answered as if it were not there, so that nothing is told of it.

use std::sync::Arc;

use mavis_fhir::{
    ResourceType, shape,
    smart::{self, Rows},
};
use mavis_types::Smart;

use super::{
    matching::Known,
    request::{Reason, Refusal},
};
use crate::failure::Failure;

/// The scopes of the caller; `None` lets everything through.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate(pub(crate) Option<Arc<Smart>>);

/// What is about to be done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wants {
    /// `fresh`: under an id that was made just now.
    Put { fresh: bool },
    /// `blindly`: whatever its version is.
    Delete { blindly: bool },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    GoOn,
    Refuse(Refusal),
    /// As where there is nothing to delete.
    AsIfNothing,
}

impl Gate {
    /// Whether the caller's scopes allow an interaction (a letter of `cruds`) with what a resource says.
    fn may(&self, resource: ResourceType, letters: &str, id: &str, text: &str) -> Result<bool, Failure> {
        let Some(smart) = &self.0 else { return Ok(true) };
        Ok(smart::holds(smart, resource, letters, &[(id, text)])?.first() == Some(&true))
    }

    /// Says whether what is there now may be written; `live` has its text.
    pub(crate) fn before(
        &self,
        resource: ResourceType,
        id: &str,
        wants: Wants,
        live: Option<&Known>,
    ) -> Result<Answer, Failure> {
        let Some(smart) = &self.0 else { return Ok(Answer::GoOn) };
        let missing = || Answer::Refuse(Refusal::new(Reason::Missing, format!("there is no such {resource}")));
        let Some(live) = live else {
            // Under an id of the caller's choice: where only some resources are shown to it, another answer than for one that
            // is hidden would tell whether there is one.
            let sees_all = smart::rows(smart, resource, "rs", &shape::base_schema(resource)) == Rows::All;
            return Ok(match wants {
                Wants::Put { fresh: true } => Answer::GoOn,
                _ if sees_all => Answer::GoOn,
                // One that was deleted is no more known to the caller than one that is hidden.
                Wants::Delete { blindly: true } => Answer::AsIfNothing,
                Wants::Put { fresh: false } | Wants::Delete { blindly: false } => missing(),
            });
        };
        let letter = if matches!(wants, Wants::Put { .. }) { "u" } else { "d" };
        let text = live.text.as_deref().unwrap_or_default();
        if self.may(resource, letter, id, text)? {
            return Ok(Answer::GoOn);
        }
        if self.may(resource, "rs", id, text)? {
            let message = format!("the token's scopes do not allow this with this {resource}");
            return Ok(Answer::Refuse(Refusal::new(Reason::Forbidden, message)));
        }
        Ok(if wants == (Wants::Delete { blindly: true }) { Answer::AsIfNothing } else { missing() })
    }

    /// Says no to what a resource would become. `is_new`: it is created.
    pub(crate) fn after(
        &self,
        resource: ResourceType,
        id: &str,
        is_new: bool,
        text: &str,
    ) -> Result<Option<Refusal>, Failure> {
        if self.may(resource, if is_new { "c" } else { "u" }, id, text)? {
            return Ok(None);
        }
        let message = format!("the {resource} would not be among those that the token's scopes are about");
        Ok(Some(Refusal::new(Reason::Forbidden, message)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use chrono::{DateTime, Utc};
    use rstest::rstest;

    use super::*;

    fn gate(scopes: &str) -> Gate {
        Gate(Some(Arc::new(Smart::parse(scopes, "a").unwrap())))
    }

    fn text(patient: &str) -> String {
        format!(r#"{{"resourceType":"Observation","subject":{{"reference":"Patient/{patient}"}}}}"#)
    }

    fn live(patient: &str) -> Known {
        Known {
            version: 1,
            last_updated: DateTime::<Utc>::UNIX_EPOCH,
            hash: [0; 16],
            deleted: false,
            source: String::new(),
            made_by: String::new(),
            text: Some(text(patient)),
        }
    }

    const PUT: Wants = Wants::Put { fresh: false };
    const DELETE: Wants = Wants::Delete { blindly: true };

    #[rstest]
    #[case("patient/Observation.cruds", PUT, Some("a"), "go on")]
    #[case("patient/Observation.cruds", PUT, Some("b"), "missing")]
    #[case("patient/Observation.cruds", PUT, None, "missing")]
    #[case("system/Observation.cruds", PUT, None, "go on")]
    #[case("patient/Observation.cruds", Wants::Put { fresh: true }, None, "go on")]
    #[case("patient/Observation.rs", PUT, Some("a"), "forbidden")]
    #[case("system/Observation.rs", DELETE, Some("b"), "forbidden")]
    #[case("patient/Observation.d", DELETE, Some("a"), "go on")]
    #[case("patient/Observation.cruds", DELETE, Some("b"), "nothing")]
    #[case("patient/Observation.cruds", DELETE, None, "nothing")]
    #[case("patient/Observation.cruds", Wants::Delete { blindly: false }, None, "missing")]
    #[case("system/Observation.cruds", DELETE, None, "go on")]
    #[case("system/Observation.cruds", Wants::Delete { blindly: false }, None, "go on")]
    #[case("patient/Observation.cruds", Wants::Delete { blindly: false }, Some("b"), "missing")]
    #[case("patient/Observation.cud system/Observation.rs", PUT, Some("b"), "forbidden")]
    fn what_a_caller_may_not_read_is_not_there(
        #[case] scopes: &str,
        #[case] wants: Wants,
        #[case] patient: Option<&str>,
        #[case] said: &str,
    ) {
        let known = patient.map(live);
        let answer = gate(scopes).before("Observation".parse().unwrap(), "x", wants, known.as_ref()).unwrap();
        let told = match &answer {
            Answer::GoOn => "go on",
            Answer::AsIfNothing => "nothing",
            Answer::Refuse(Refusal { reason: Reason::Missing, .. }) => "missing",
            Answer::Refuse(Refusal { reason: Reason::Forbidden, .. }) => "forbidden",
            Answer::Refuse(_) => "something else",
        };
        assert_eq!(told, said, "{answer:?}");
    }

    #[rstest]
    #[case("patient/Observation.c", true, "a", true)]
    #[case("patient/Observation.c", true, "b", false)]
    #[case("patient/Observation.c", false, "a", false)]
    #[case("patient/Observation.u", false, "a", true)]
    #[case("patient/Observation.u", false, "b", false)]
    fn what_is_written_stays_where_the_caller_may_write(
        #[case] scopes: &str,
        #[case] is_new: bool,
        #[case] patient: &str,
        #[case] may: bool,
    ) {
        let refused = gate(scopes).after("Observation".parse().unwrap(), "x", is_new, &text(patient)).unwrap();
        assert_eq!(refused.is_none(), may);
    }
}
