//! Views that the catalog keeps.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use mavis_catalog::{Catalog, ViewRow};
use mavis_fhir::{
    json,
    view::{Plan, View},
};
use mavis_types::{Principal, TableName, Zone};

use super::told;
use crate::Error;

/// The schema of the FHIR zone whose tables are views.
pub(crate) const SCHEMA: &str = "views";

/// Whether a principal sees that a view exists: whoever may read what it is about.
pub(crate) fn is_seen(principal: &Principal, row: &ViewRow) -> bool {
    let resources = row.resource.as_ref().map(|resource| resource.to_ascii_lowercase());
    resources.is_some_and(|table| principal.may_read(&TableName::new(Zone::Fhir, "r4", &table)))
}

/// The view of this name, planned; `None` where there is none.
///
/// # Errors
/// [`Error::Invalid`] when it was stored by a version that took what this one does not.
pub(crate) async fn plan(catalog: &Catalog, name: &str) -> Result<Option<(ViewRow, Arc<Plan>)>, Error> {
    let Some(row) = catalog.view_by_name(name).await?.filter(|row| row.kind == "ViewDefinition") else {
        return Ok(None);
    };
    let text = json::parse(row.text.as_bytes()).map_err(|_| mavis_catalog::Error::Corrupt { place: "views.text" })?;
    let plan = View::parse(&text).and_then(|view| Plan::new(&view)).map_err(|error| told(&error))?;
    Ok(Some((row, Arc::new(plan))))
}

/// The columns of a stored view.
pub(crate) async fn schema(catalog: &Catalog, principal: &Principal, name: &str) -> Result<Option<SchemaRef>, Error> {
    let found = plan(catalog, name).await?.filter(|(row, _)| is_seen(principal, row));
    Ok(found.map(|(_, plan)| plan.schema()))
}
