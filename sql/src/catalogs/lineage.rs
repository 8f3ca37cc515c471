//! What tables of sources repeat of the FHIR zone: the columns that mappings make masked elements from, and whole resources in
//! tables of sources that are FHIR already.

use mavis_catalog::{Catalog, Column, Table};
use mavis_fhir::{
    ResourceType,
    definitions::{self, root},
    mapping::{ElementPath, Mapping},
};
use mavis_types::{Mask, Principal, TableName, Zone, is_copy};

use super::flow;
use crate::{
    Error,
    guard::{Policy, Untold},
};

/// Columns that every table of resources has, whatever brought it.
const OF_RESOURCES: [&str; 2] = ["resource_type", "resource"];

/// Hides of a raw or processed table what is hidden of the resources that it holds, or that mappings make from it.
///
/// # Errors
/// [`Error::Catalog`].
pub(crate) async fn hide(policy: &mut Policy, catalog: &Catalog, principal: &Principal) -> Result<(), Error> {
    let table = policy.table().clone();
    let rights = &principal.rights;
    let masks: Vec<_> = rights.masks.iter().filter(|(on, ..)| on.zone == Zone::Fhir).collect();
    let filters = rights.filters.iter().any(|(on, _)| on.zone == Zone::Fhir);
    if masks.is_empty() && !filters || !is_of_source(&table) || rights.is_opened(&table) {
        return Ok(());
    }
    if let Some(found) = catalog.find_table(&table).await?
        && holds_resources(&catalog.columns(found.id).await?)
    {
        policy.brings(principal, resource_of(&found));
    }
    if masks.is_empty() {
        return Ok(());
    }
    for row in catalog.mappings().await? {
        match Mapping::parse(&row.text) {
            Ok(mapping) => of_mapping(policy, &mapping, &masks),
            // What it made before may be there still.
            Err(_) if flow::mentions(&row.text, &table.table) => policy.mask_all(),
            Err(_) => {}
        }
    }
    Ok(())
}

/// Whether rows of a table of a source may be hidden for what is hidden in the FHIR zone.
pub(crate) fn hides_rows(principal: &Principal, table: &Table) -> bool {
    let rights = &principal.rights;
    let Some(resource) = resource_of(table).filter(|_| is_of_source(&table.name)) else { return false };
    let current = TableName::new(Zone::Fhir, "r4", resource.table());
    !rights.is_opened(&table.name) && rights.filters.iter().any(|(on, _)| is_copy(on, &current))
}

fn is_of_source(table: &TableName) -> bool {
    matches!(table.zone, Zone::Raw | Zone::Processed)
}

fn holds_resources(columns: &[Column]) -> bool {
    OF_RESOURCES.into_iter().all(|name| columns.iter().any(|column| column.name == name))
}

/// The type that a source's table is called by.
fn resource_of(table: &Table) -> Option<ResourceType> {
    let name = table.source_table.as_ref().unwrap_or(&table.name.table);
    ResourceType::from_table(&name.to_lowercase())
}

fn of_mapping(policy: &mut Policy, mapping: &Mapping, masks: &[&(TableName, String, Mask)]) {
    let table = policy.table().clone();
    let mut hide = |made_of: &str, mask: Mask| match flow::columns(mapping, made_of, &table) {
        Some(columns) => columns.iter().for_each(|column| policy.mask_also(column, mask)),
        None => policy.mask_all(),
    };
    // A whole resource has words and names in it that are cut from the resources of every type.
    if let Some(json) = &mapping.resource_json {
        hide(json, Mask::Null);
    }
    let untold = Untold::of(|repeated| masks.iter().any(|(_, element, _)| element == repeated));
    for (path, made_of) in &mapping.set {
        for (on, element, mask) in masks.iter().copied() {
            if on.table == mapping.resource.table() && is_part(path, element) {
                hide(made_of, *mask);
            }
        }
        if repeats(mapping.resource, path, untold) {
            hide(made_of, Mask::Null);
        }
    }
}

/// Whether a path leads into an element; a choice is written with its type or without.
fn is_part(path: &ElementPath, element: &str) -> bool {
    path.0.first().is_some_and(|step| step.name.starts_with(element) || element.starts_with(&step.name))
}

/// Whether a path leads to what a resource repeats of others: words, or what references do not tell.
fn repeats(resource: ResourceType, path: &ElementPath, untold: Untold) -> bool {
    let mut of = Some(root(resource));
    for step in &path.0 {
        if untold.has(&step.name) && of.is_none_or(|of| of.is_reference()) {
            return true;
        }
        of = of.and_then(|of| definitions::element(of, &step.name)).map(|element| element.type_id);
        if of.is_some_and(|of| of.name() == "Narrative") {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("subject.display", "name", true)]
    #[case("subject.display", "", false)]
    #[case("subject.display", "identifier", false)]
    #[case("subject.identifier.value", "identifier", true)]
    #[case("subject.identifier.value", "name", false)]
    #[case("identifier[0].value", "identifier", false)]
    #[case("performer[0].display", "name", true)]
    #[case("code.coding[0].display", "name", false)]
    #[case("code.text", "name", false)]
    #[case("text.div", "", true)]
    fn a_reference_repeats_what_is_hidden(#[case] path: &str, #[case] hidden: &str, #[case] is: bool) {
        let untold = Untold::of(|element| element == hidden);
        assert_eq!(repeats("Observation".parse().unwrap(), &path.parse().unwrap(), untold), is);
    }
}
