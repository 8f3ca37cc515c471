//! What the server says it has.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use serde::Deserialize;

use super::{Inner, Mode, rows};
use crate::{
    Discovery, Error, ReadMode, Selection, SourceTable, Stage, TableKind, TableRef, fhir_files::record::is_type_name,
};

/// Types that are counted at once.
const AT_ONCE: usize = 4;

/// The statement of what a server does, as far as reading needs it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Capabilities {
    resource_type: String,
    #[serde(default)]
    fhir_version: Option<String>,
    #[serde(default)]
    software: Option<Software>,
    #[serde(default)]
    rest: Vec<Rest>,
}

#[derive(Debug, Deserialize)]
struct Software {
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Rest {
    #[serde(default)]
    resource: Vec<Resource>,
}

#[derive(Debug, Deserialize)]
struct Resource {
    r#type: String,
    #[serde(default)]
    interaction: Vec<Interaction>,
}

#[derive(Debug, Deserialize)]
struct Interaction {
    code: Option<String>,
}

impl Capabilities {
    /// For people.
    pub(super) fn told(&self) -> String {
        let name = self.software.as_ref().and_then(|software| software.name.as_deref()).unwrap_or("a FHIR server");
        format!("{name}, FHIR {}", self.fhir_version.as_deref().unwrap_or("of no version"))
    }

    /// Types that can be searched.
    fn types(&self) -> Vec<String> {
        let mut types: Vec<String> = self
            .rest
            .iter()
            .flat_map(|rest| &rest.resource)
            .filter(|resource| is_type_name(&resource.r#type))
            .filter(|resource| {
                let codes = || resource.interaction.iter().filter_map(|interaction| interaction.code.as_deref());
                codes().next().is_none() || codes().any(|code| code == "search-type")
            })
            .map(|resource| resource.r#type.clone())
            .collect();
        types.sort();
        types.dedup();
        types
    }
}

/// Asks the server what it does.
pub(super) async fn capabilities(inner: &Inner) -> Result<Capabilities, Error> {
    let answer = inner.client.fetch(&inner.get("metadata", &[])?).await?;
    let capabilities: Option<Capabilities> =
        answer.body.open().ok().and_then(|body| serde_json::from_reader(body).ok());
    let capabilities = capabilities.filter(|capabilities| capabilities.resource_type == "CapabilityStatement");
    capabilities.ok_or_else(|| {
        let reason = "`metadata` is no CapabilityStatement in JSON: is `base_url` the base of a FHIR server?";
        inner.client.refused(Stage::Database, reason)
    })
}

#[derive(Deserialize)]
struct Counted {
    total: Option<u64>,
}

/// How many resources of a type there are; `None` where the server does not say.
async fn count(inner: &Inner, kind: &str) -> Result<Option<u64>, Error> {
    let mut parameters = vec![("_summary", "count")];
    if let Some(search) = inner.params.search.get(kind) {
        parameters.extend(search.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    }
    let answer = inner.client.fetch(&inner.get(kind, &parameters)?).await?;
    let counted: Option<Counted> = answer.body.open().ok().and_then(|body| serde_json::from_reader(body).ok());
    Ok(counted.and_then(|counted| counted.total))
}

/// The types that were declared, or that the server declares and has resources of.
pub(super) async fn discover(inner: &Inner, selection: &Selection) -> Result<Discovery, Error> {
    let declared = &inner.params.types;
    let types = if declared.is_empty() { capabilities(inner).await?.types() } else { declared.clone() };
    let reference = |kind: &str| TableRef { schema: None, name: kind.to_owned() };
    let types: Vec<String> = types.into_iter().filter(|kind| selection.takes(&reference(kind))).collect();
    let counts: BTreeMap<String, Result<Option<u64>, Error>> = stream::iter(types)
        .map(|kind| async move {
            let counted = count(inner, &kind).await;
            (kind, counted)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut discovery = Discovery::default();
    for (kind, counted) in counts {
        let estimate = match counted {
            Ok(Some(0)) if declared.is_empty() => continue,
            Ok(estimate) => estimate,
            // An export needs no search.
            Err(Error::Refused { .. }) if inner.params.mode == Mode::Bulk => None,
            Err(error @ (Error::Unreachable { .. } | Error::MissingSecret { .. })) => return Err(error),
            Err(error) => {
                discovery.failures.push((reference(&kind), error.to_string()));
                continue;
            }
        };
        discovery.tables.push(SourceTable {
            table: reference(&kind),
            kind: TableKind::Resources,
            columns: rows::columns(),
            key: vec!["id".to_owned()],
            foreign_keys: Vec::new(),
            comment: None,
            row_estimate: estimate,
            mode: ReadMode::Incremental,
        });
    }
    Ok(discovery)
}
