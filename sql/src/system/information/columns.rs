use arrow::datatypes::Schema;
use async_stream::try_stream;
use futures::StreamExt;
use mavis_catalog::Column;
use mavis_types::TableName;

use super::system_tables;
use crate::{
    system::{Definition, INFORMATION, Lines, Request, sheet::Sheet},
    views,
};

pub(in crate::system) const COLUMNS: Definition = Definition {
    schema: INFORMATION,
    table: "columns",
    comment: "Columns of the tables that you may read, with Arrow's words for their types.",
    for_admins: false,
    columns: || sheet(&[]).schema(),
    read,
};

struct Line {
    table: [String; 3],
    column: String,
    position: i64,
    nullable: bool,
    data_type: String,
    comment: Option<String>,
}

fn sheet(lines: &[Line]) -> Sheet {
    Sheet::default()
        .text("table_catalog", lines.iter().map(|line| line.table[0].as_str()))
        .text("table_schema", lines.iter().map(|line| line.table[1].as_str()))
        .text("table_name", lines.iter().map(|line| line.table[2].as_str()))
        .text("column_name", lines.iter().map(|line| line.column.as_str()))
        .number("ordinal_position", lines.iter().map(|line| line.position))
        .maybe_text("column_default", lines.iter().map(|_| None::<&str>))
        .text("is_nullable", lines.iter().map(|line| if line.nullable { "YES" } else { "NO" }))
        .text("data_type", lines.iter().map(|line| line.data_type.as_str()))
        .maybe_text("column_comment", lines.iter().map(|line| line.comment.as_deref()))
}

/// Positions count from 1 within a table, whatever the catalog counts from.
fn of_lake(columns: Vec<(TableName, Column)>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::with_capacity(columns.len());
    for (name, column) in columns {
        let table = [name.zone.to_string(), name.schema, name.table];
        let position = lines.last().filter(|line| line.table == table).map_or(1, |line| line.position + 1);
        lines.push(Line {
            table,
            column: column.name,
            position,
            nullable: column.nullable,
            data_type: column.data_type,
            comment: column.comment,
        });
    }
    lines
}

fn of_system(catalog: &str, definition: &Definition) -> Vec<Line> {
    of_schema([catalog, definition.schema, definition.table], &(definition.columns)())
}

fn of_schema(table: [&str; 3], columns: &Schema) -> Vec<Line> {
    let lines = (1..).zip(columns.fields()).map(|(position, field)| Line {
        table: table.map(str::to_owned),
        column: field.name().clone(),
        position,
        nullable: field.is_nullable(),
        data_type: field.data_type().to_string(),
        comment: None,
    });
    lines.collect()
}

fn read(request: Request) -> Lines {
    try_stream! {
        for (zone, schema) in request.schemas("table_catalog", "table_schema").await? {
            let columns = match request.equal("table_name") {
                None => request.catalog.columns_of_schema(zone, &schema).await?,
                Some(table) => {
                    let name = TableName::new(zone, &schema, table);
                    match request.catalog.find_table(&name).await? {
                        None => Vec::new(),
                        Some(table) => {
                            let columns = request.catalog.columns(table.id).await?;
                            columns.into_iter().map(|column| (name.clone(), column)).collect()
                        }
                    }
                }
            };
            let columns = request.unveiled(&(zone, schema), "table_name", columns).await?;
            yield sheet(&of_lake(request.known_columns(columns))).batch()?;
        }
        for (name, _) in request.views(["table_catalog", "table_schema", "table_name"]).await? {
            // one that this version cannot plan has no columns
            if let Ok(Some((_, plan))) = views::plan(&request.catalog, &name).await {
                yield sheet(&of_schema(["fhir", views::SCHEMA, &name], &plan.schema())).batch()?;
            }
        }
        let own: Vec<Line> =
            system_tables(&request).into_iter().flat_map(|(catalog, definition)| of_system(catalog, definition)).collect();
        yield sheet(&own).batch()?;
    }
    .boxed()
}
