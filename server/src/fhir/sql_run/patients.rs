//! Which resources a run is about: those of some patients, those changed since.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use datafusion::{logical_expr::lit, prelude::ident};
use mavis_fhir::{ResourceType, temporal};
use mavis_sql::{Only, Session};

use super::request::once;
use crate::fhir::{
    export::members,
    outcome::Outcome,
    rows::{columns, current, fetch, frame, unplanned},
};

/// What narrows the resources, as it is asked for.
#[derive(Debug, Default)]
pub(in crate::fhir) struct Narrow {
    patients: Vec<String>,
    groups: Vec<String>,
    since: Option<DateTime<Utc>>,
}

impl Narrow {
    /// Takes a parameter, if it is one of these.
    ///
    /// # Errors
    /// 400 for a value that is none.
    pub(in crate::fhir) fn set(&mut self, name: &str, value: &str) -> Result<bool, Outcome> {
        let wrong = |needs: &str| Outcome::invalid(format!("`{name}` is {needs}"));
        match name {
            "patient" => self.patients.push(id_of("Patient", value).ok_or_else(|| wrong("a reference to a Patient"))?),
            "group" => self.groups.push(id_of("Group", value).ok_or_else(|| wrong("a reference to a Group"))?),
            "_since" => {
                let period = temporal::parse(&value.replace(' ', "+")).ok_or_else(|| wrong("an instant"))?;
                let since = DateTime::from_timestamp_micros(period.start).ok_or_else(|| wrong("an instant"))?;
                once(name, &mut self.since, since)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The same, with the members of the groups.
    ///
    /// # Errors
    /// 404 for a group that is not there.
    pub(in crate::fhir) async fn only(&self, session: &Session) -> Result<Only, Outcome> {
        let changed_since = self.since.map(|since| since.timestamp_micros());
        if self.patients.is_empty() && self.groups.is_empty() {
            return Ok(Only { patients: None, changed_since });
        }
        let mut ids: BTreeSet<String> = self.patients.iter().cloned().collect();
        for group in &self.groups {
            let missing = || Outcome::new(StatusCode::NOT_FOUND, "not-found", "there is no such Group");
            let resource: ResourceType = "Group".parse().map_err(|_| missing())?;
            let table = frame(session, &current(resource)).await?.ok_or_else(missing)?;
            let found = table.filter(ident("id").eq(lit(group.as_str())));
            let found = found.and_then(|frame| frame.select(columns())).map_err(unplanned)?;
            let stored = fetch(session, found).await?.pop().and_then(|stored| stored.json).ok_or_else(missing)?;
            ids.extend(members(&stored));
        }
        Ok(Only { patients: Some(ids.into_iter().collect()), changed_since })
    }
}

/// The id in `Type/id`, `.../Type/id` or a bare id.
fn id_of(type_name: &str, reference: &str) -> Option<String> {
    let (before, id) = reference.rsplit_once('/').unwrap_or((type_name, reference));
    let is_id = (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    (is_id && before.rsplit('/').next() == Some(type_name)).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("Patient/a", Some("a"))]
    #[case("a", Some("a"))]
    #[case("http://x.org/fhir/Patient/a-1", Some("a-1"))]
    #[case("Group/a", None)]
    #[case("Patient/../a b", None)]
    fn a_patient_is_named_by_its_id(#[case] reference: &str, #[case] id: Option<&str>) {
        assert_eq!(id_of("Patient", reference).as_deref(), id);
    }
}
