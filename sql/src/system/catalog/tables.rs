use std::collections::HashMap;

use async_stream::try_stream;
use futures::StreamExt;
use mavis_catalog::Table;
use mavis_types::SourceId;

use crate::system::{
    Definition, Lines, Request,
    sheet::{Sheet, number},
};

pub(in crate::system) const TABLES: Definition = Definition {
    schema: "catalog",
    table: "tables",
    comment: "Tables of the lake: what the source calls them, their key, and their rows at the newest version.",
    for_admins: false,
    columns: || sheet(&[], &HashMap::new()).schema(),
    read,
};

fn sheet(tables: &[Table], sources: &HashMap<SourceId, String>) -> Sheet {
    Sheet::default()
        .text("id", tables.iter().map(|table| table.id.to_string()))
        .text("zone", tables.iter().map(|table| table.name.zone.as_str()))
        .text("schema_name", tables.iter().map(|table| table.name.schema.as_str()))
        .text("table_name", tables.iter().map(|table| table.name.table.as_str()))
        .maybe_text("source", tables.iter().map(|table| sources.get(&table.source?).cloned()))
        .maybe_text("source_schema", tables.iter().map(|table| table.source_schema.as_deref()))
        .maybe_text("source_table", tables.iter().map(|table| table.source_table.as_deref()))
        .maybe_text("key", tables.iter().map(|table| (!table.key.is_empty()).then(|| table.key.join(", "))))
        .maybe_text("comment", tables.iter().map(|table| table.comment.as_deref()))
        .maybe_number("rows", tables.iter().map(|table| table.rows.map(number)))
        .maybe_number("version", tables.iter().map(|table| table.version))
        .time("created_at", tables.iter().map(|table| table.created_at))
        .time("updated_at", tables.iter().map(|table| table.updated_at))
        .text("kind", tables.iter().map(|table| if table.view.is_some() { "view" } else { "table" }))
        .maybe_text("made_by", tables.iter().map(|table| table.made_by.as_deref()))
}

fn read(request: Request) -> Lines {
    try_stream! {
        let sources = request.sources().await?;
        for place in request.schemas("zone", "schema_name").await? {
            let mut after = None;
            while let Some((page, last)) = request.tables(&place, "table_name", after.as_ref()).await? {
                after = Some(last);
                yield sheet(&page, &sources).batch()?;
            }
        }
    }
    .boxed()
}
