//! Which resources a run is about: those of some patients, those changed since.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use datafusion::{
    logical_expr::{Expr, lit},
    prelude::ident,
    scalar::ScalarValue,
};
use mavis_fhir::{
    ResourceType,
    bundle::relative_reference,
    json::{self, Value},
};
use mavis_sql::Session;

use super::request::Asked;
use crate::fhir::{
    outcome::Outcome,
    read::unplanned,
    rows::{columns, current, fetch, frame},
};

/// Ids of the patients that the request names, itself or through groups; `None`: all.
///
/// # Errors
/// 404 for a group that is not there.
pub(super) async fn named(session: &Session, asked: &Asked) -> Result<Option<Vec<String>>, Outcome> {
    if asked.patients.is_empty() && asked.groups.is_empty() {
        return Ok(None);
    }
    let mut ids: BTreeSet<String> = asked.patients.iter().cloned().collect();
    for group in &asked.groups {
        let missing = || Outcome::new(StatusCode::NOT_FOUND, "not-found", "there is no such Group");
        let resource: ResourceType = "Group".parse().map_err(|_| missing())?;
        let table = frame(session, &current(resource)).await?.ok_or_else(missing)?;
        let found = table.filter(ident("id").eq(lit(group.as_str())));
        let found = found.and_then(|frame| frame.select(columns())).map_err(unplanned)?;
        let stored = fetch(session, found).await?.pop().and_then(|stored| stored.json).ok_or_else(missing)?;
        let json = json::parse(stored.as_bytes()).map_err(|_| missing())?;
        let members = json.get("member").into_iter().flat_map(Value::items);
        let active = members.filter(|member| member.get("inactive").and_then(Value::as_bool) != Some(true));
        let patients = active.filter_map(|member| relative_reference(member.at(&["entity"])?.get_str("reference")?));
        ids.extend(patients.filter(|(kind, _)| *kind == "Patient").map(|(_, id)| id.to_owned()));
    }
    Ok(Some(ids.into_iter().collect()))
}

/// The same as conditions on the flat columns of a table of resources.
pub(super) fn conditions(asked: &Asked, patients: Option<&[String]>) -> Vec<Expr> {
    let patients =
        patients.map(|ids| ident("__patient").in_list(ids.iter().map(|id| lit(id.as_str())).collect(), false));
    let since = asked.since.map(|since| {
        let at = ScalarValue::TimestampMicrosecond(Some(since.timestamp_micros()), Some("UTC".into()));
        ident("__last_updated").gt_eq(lit(at))
    });
    patients.into_iter().chain(since).collect()
}
