use async_stream::try_stream;
use futures::StreamExt;
use mavis_catalog::Column;
use mavis_types::TableName;

use crate::system::{Definition, Lines, Request, sheet::Sheet};

pub(in crate::system) const COLUMNS: Definition = Definition {
    schema: "catalog",
    table: "columns",
    comment: "Columns of the lake's tables, with the names and types that the source has for them.",
    for_admins: false,
    columns: || sheet(&[]).schema(),
    read,
};

fn sheet(columns: &[(TableName, Column)]) -> Sheet {
    Sheet::default()
        .text("zone", columns.iter().map(|(table, _)| table.zone.as_str()))
        .text("schema_name", columns.iter().map(|(table, _)| table.schema.as_str()))
        .text("table_name", columns.iter().map(|(table, _)| table.table.as_str()))
        .number("position", columns.iter().map(|(_, column)| i64::from(column.position)))
        .text("column_name", columns.iter().map(|(_, column)| column.name.as_str()))
        .maybe_text("source_name", columns.iter().map(|(_, column)| column.source_name.as_deref()))
        .text("data_type", columns.iter().map(|(_, column)| column.data_type.as_str()))
        .maybe_text("source_type", columns.iter().map(|(_, column)| column.source_type.as_deref()))
        .flag("nullable", columns.iter().map(|(_, column)| column.nullable))
        .maybe_text("comment", columns.iter().map(|(_, column)| column.comment.as_deref()))
}

fn read(request: Request) -> Lines {
    try_stream! {
        for (zone, schema) in request.schemas("zone", "schema_name").await? {
            let mut columns = request.catalog.columns_of_schema(zone, &schema).await?;
            if let Some(table) = request.equal("table_name") {
                columns.retain(|(name, _)| name.table == table);
            }
            let columns = request.unveiled(&(zone, schema), "table_name", columns).await?;
            yield sheet(&request.known_columns(columns)).batch()?;
        }
    }
    .boxed()
}
