use async_stream::try_stream;
use futures::StreamExt;
use mavis_lake::{AppId, in_place::TakenFile};
use mavis_types::{TableName, Zone};

use crate::system::{
    Definition, Lines, Request,
    sheet::{Sheet, number},
};

pub(in crate::system) const FILES: Definition = Definition {
    schema: "catalog",
    table: "files",
    comment: "The files of tables that were taken over in place, as they were then: what errors and logs call them, and their names, for \
              those who see all of the table.",
    for_admins: false,
    columns: || sheet("", None, &[]).schema(),
    read,
};

fn sheet(source: &str, table: Option<&TableName>, files: &[TakenFile]) -> Sheet {
    let of_table =
        |part: fn(&TableName) -> &String| files.iter().filter_map(move |_| table.map(|table| part(table).as_str()));
    Sheet::default()
        .text("source", files.iter().map(|_| source))
        .text("table_schema", of_table(|table| &table.schema))
        .text("table_name", of_table(|table| &table.table))
        .text("label", files.iter().map(|file| file.label.as_str()))
        .text("name", files.iter().map(|file| file.name.as_str()))
        .number("bytes", files.iter().map(|file| number(file.bytes)))
        .maybe_time("changed_at", files.iter().map(|file| file.changed_at))
}

fn read(request: Request) -> Lines {
    try_stream! {
        let known = request.sources().await?;
        for source in request.catalog.sources().await? {
            let name = source.name.as_str();
            let in_place = source.params.get("take_over").and_then(serde_json::Value::as_str) == Some("in_place");
            if !in_place || !known.contains_key(&source.id) || request.equal("source").is_some_and(|wanted| wanted != name) {
                continue;
            }
            for table in request.catalog.tables_of_source(source.id).await? {
                // A file's name says what stands in its rows.
                if table.name.zone != Zone::Raw || !request.principal.sees_whole(&table.name) {
                    continue;
                }
                let app = AppId::ingest(source.id, table.id);
                let ended = request.catalog.newest_cursor(app.as_str()).await?.and_then(|row| row.to);
                if let Some(ended) = ended {
                    yield sheet(name, Some(&table.name), &mavis_lake::in_place::taken_files(&ended)).batch()?;
                }
            }
        }
    }
    .boxed()
}
