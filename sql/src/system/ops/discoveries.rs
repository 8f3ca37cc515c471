use std::collections::HashMap;

use async_stream::try_stream;
use futures::StreamExt;
use mavis_catalog::DiscoveryItem;
use mavis_types::SourceId;

use super::{NEWEST_LINES, discovered_sources};
use crate::system::{
    Definition, Lines, Request,
    sheet::{Sheet, number, word},
};

pub(in crate::system) const DISCOVERIES: Definition = Definition {
    schema: "ops",
    table: "discoveries",
    comment: "Discoveries of many sources, source by source: what was found, what is different, what failed; the newest first.",
    for_admins: false,
    columns: || sheet(&[], &HashMap::new()).schema(),
    read,
};

fn sheet(items: &[DiscoveryItem], sources: &HashMap<SourceId, String>) -> Sheet {
    Sheet::default()
        .text("run_id", items.iter().map(|item| item.run.to_string()))
        .text("source", items.iter().map(|item| sources.get(&item.source).cloned().unwrap_or_default()))
        .text("state", items.iter().map(|item| word(&item.state)))
        .maybe_number("tables", items.iter().map(|item| item.tables.map(number)))
        .maybe_number("failures", items.iter().map(|item| item.failures.map(number)))
        .maybe_number("changes", items.iter().map(|item| item.changes.map(number)))
        .maybe_number("milliseconds", items.iter().map(|item| item.millis.map(number)))
        .maybe_text("error", items.iter().map(|item| item.error.clone()))
        .maybe_time("finished_at", items.iter().map(|item| item.finished_at))
}

fn read(request: Request) -> Lines {
    try_stream! {
        let sources = discovered_sources(&request).await?;
        let mut items = match request.equal("run_id").map(|text| text.parse()) {
            Some(Ok(run)) => request.catalog.discovery_items(run).await?,
            Some(Err(_)) => Vec::new(),
            None => request.catalog.all_discovery_items(NEWEST_LINES).await?,
        };
        items.retain(|item| sources.contains_key(&item.source));
        yield sheet(&items, &sources).batch()?;
    }
    .boxed()
}
