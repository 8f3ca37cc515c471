use std::collections::HashMap;

use async_stream::try_stream;
use futures::StreamExt;
use mavis_catalog::MappingRow;
use mavis_types::SourceId;

use crate::system::{Definition, Lines, Request, sheet::Sheet};

pub(in crate::system) const MAPPINGS: Definition = Definition {
    schema: "catalog",
    table: "mappings",
    comment: "The newest version of every mapping from processed tables to FHIR resources.",
    for_admins: false,
    columns: || sheet(&[], &HashMap::new()).schema(),
    read,
};

fn sheet(mappings: &[MappingRow], sources: &HashMap<SourceId, String>) -> Sheet {
    Sheet::default()
        .text("name", mappings.iter().map(|mapping| mapping.name.as_str()))
        .number("version", mappings.iter().map(|mapping| i64::from(mapping.version)))
        .text("resource", mappings.iter().map(|mapping| mapping.resource.as_str()))
        .maybe_text("source", mappings.iter().map(|mapping| sources.get(&mapping.source?).cloned()))
        .text("text", mappings.iter().map(|mapping| mapping.text.as_str()))
        .time("applied_at", mappings.iter().map(|mapping| mapping.applied_at))
}

fn read(request: Request) -> Lines {
    try_stream! {
        let sources = request.sources().await?;
        let mut mappings = request.catalog.mappings().await?;
        mappings.retain(|mapping| request.reads_all() || mapping.source.is_some_and(|id| sources.contains_key(&id)));
        yield sheet(&mappings, &sources).batch()?;
    }
    .boxed()
}
