//! A view over resources that came with the request.

use std::sync::Arc;

use axum::http::StatusCode;
use futures::{StreamExt, stream};
use mavis_fhir::{
    json::{self, Value},
    shape::patients_of,
    temporal,
    view::{Plan, encode},
};
use mavis_sql::{Only, QueryStream};

use crate::fhir::outcome::Outcome;

/// The rows. Nothing stored is read, so that nothing needs to be guarded; the size of a request bounds the work.
///
/// # Errors
/// 400 for what is no resource, 422 where the resources do not fit the definitions or the view.
pub(super) fn rows(plan: Arc<Plan>, resources: &[String], only: &Only) -> Result<QueryStream, Outcome> {
    let parsed = resources.iter().map(|text| json::parse(text.as_bytes()));
    let parsed: Vec<Value<'_>> =
        parsed.collect::<Result<_, _>>().map_err(|error| Outcome::invalid(error.to_string()))?;
    let mut taken: Vec<&Value<'_>> = Vec::new();
    for resource in &parsed {
        let entries = resource.get("entry").filter(|_| resource.get_str("resourceType") == Some("Bundle"));
        match (resource.get_str("resourceType"), entries) {
            (None, _) => return Err(Outcome::invalid("a `resource` has no resourceType")),
            // the resources of a Bundle, unless the view is about Bundles
            (_, Some(entries)) if plan.resource().name() != "Bundle" => {
                taken.extend(entries.items().filter_map(|entry| entry.get("resource")));
            }
            _ => taken.push(resource),
        }
    }
    taken.retain(|resource| is_wanted(&plan, resource, only));
    let failed = |error| Outcome::from(&mavis_fhir::view::ViewError::Arrow(error));
    let (batch, misfits) = encode(plan.resource(), taken.into_iter()).map_err(failed)?;
    if misfits > 0 {
        let message = format!("{misfits} values of the resources do not fit the definitions of R4");
        return Err(Outcome::new(StatusCode::UNPROCESSABLE_ENTITY, "structure", message));
    }
    let batches = plan.run(&batch).map_err(|error| Outcome::from(&error))?;
    let batches = stream::iter(batches.into_iter().map(Ok)).boxed();
    Ok(QueryStream { id: uuid::Uuid::new_v4(), schema: plan.schema(), batches })
}

fn is_wanted(plan: &Plan, resource: &Value<'_>, only: &Only) -> bool {
    let of_patient = only.patients.as_ref().is_none_or(|ids| {
        let id = resource.get_str("id").unwrap_or_default();
        patients_of(plan.resource(), resource, id).any(|patient| ids.iter().any(|id| id.as_str() == patient))
    });
    let since = only.changed_since.is_none_or(|since| {
        let updated = resource.at(&["meta", "lastUpdated"]).and_then(Value::as_str).and_then(temporal::parse);
        updated.is_some_and(|updated| updated.start >= since)
    });
    of_patient && since
}
