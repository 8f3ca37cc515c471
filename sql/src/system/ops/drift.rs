use std::collections::HashMap;

use async_stream::try_stream;
use futures::StreamExt;
use mavis_catalog::Drift;
use mavis_types::SourceId;

use super::{NEWEST_LINES, discovered_sources};
use crate::system::{
    Definition, Lines, Request,
    sheet::{Sheet, word},
};

pub(in crate::system) const DRIFT: Definition = Definition {
    schema: "ops",
    table: "drift",
    comment: "What became different in sources (tables, columns, types, keys), the newest first, and whether the lake follows.",
    for_admins: false,
    columns: || sheet(&[], &HashMap::new()).schema(),
    read,
};

fn sheet(drift: &[Drift], sources: &HashMap<SourceId, String>) -> Sheet {
    Sheet::default()
        .text("source", drift.iter().map(|drift| sources.get(&drift.source).cloned().unwrap_or_default()))
        .time("found_at", drift.iter().map(|drift| drift.found_at))
        .text("change", drift.iter().map(|drift| word(&drift.change.kind)))
        .maybe_text("source_schema", drift.iter().map(|drift| drift.change.schema.clone()))
        .text("source_table", drift.iter().map(|drift| drift.change.table.as_str()))
        .maybe_text("source_column", drift.iter().map(|drift| drift.change.column.clone()))
        .maybe_text("was", drift.iter().map(|drift| drift.change.was.clone()))
        .maybe_text("became", drift.iter().map(|drift| drift.change.became.clone()))
        .text("state", drift.iter().map(|drift| word(&drift.change.state)))
        .maybe_text("run_id", drift.iter().map(|drift| drift.run.map(|id| id.to_string())))
}

fn read(request: Request) -> Lines {
    try_stream! {
        let sources = discovered_sources(&request).await?;
        let wanted = request.equal("source").map(ToOwned::to_owned);
        let only = match &wanted {
            None => None,
            Some(wanted) => match sources.iter().find(|(_, name)| *name == wanted) {
                Some((id, _)) => Some(*id),
                None => {
                    yield sheet(&[], &sources).batch()?;
                    return;
                }
            },
        };
        let mut drift = request.catalog.drift(only, NEWEST_LINES).await?;
        drift.retain(|drift| sources.contains_key(&drift.source));
        yield sheet(&drift, &sources).batch()?;
    }
    .boxed()
}
