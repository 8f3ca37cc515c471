use async_stream::try_stream;
use futures::StreamExt;
use mavis_types::Zone;

use super::system_tables;
use crate::{
    system::{Definition, INFORMATION, Lines, Request, sheet::Sheet},
    views,
};

pub(in crate::system) const TABLES: Definition = Definition {
    schema: INFORMATION,
    table: "tables",
    comment: "Tables that you may read.",
    for_admins: false,
    columns: || sheet(&[]).schema(),
    read,
};

struct Line {
    catalog: String,
    schema: String,
    table: String,
    kind: &'static str,
    comment: Option<String>,
}

fn sheet(lines: &[Line]) -> Sheet {
    Sheet::default()
        .text("table_catalog", lines.iter().map(|line| line.catalog.as_str()))
        .text("table_schema", lines.iter().map(|line| line.schema.as_str()))
        .text("table_name", lines.iter().map(|line| line.table.as_str()))
        .text("table_type", lines.iter().map(|line| line.kind))
        .maybe_text("table_comment", lines.iter().map(|line| line.comment.as_deref()))
}

fn read(request: Request) -> Lines {
    try_stream! {
        for place in request.schemas("table_catalog", "table_schema").await? {
            let mut after = None;
            while let Some((page, last)) = request.tables(&place, "table_name", after.as_ref()).await? {
                after = Some(last);
                let lines: Vec<Line> = page.into_iter().map(|table| Line {
                    catalog: table.name.zone.to_string(),
                    schema: table.name.schema,
                    table: table.name.table,
                    kind: if table.view.is_some() { "VIEW" } else { "BASE TABLE" },
                    comment: table.comment,
                }).collect();
                yield sheet(&lines).batch()?;
            }
        }
        let views = request.views(["table_catalog", "table_schema", "table_name"]).await?;
        let views: Vec<Line> = views.into_iter().map(|(table, _)| Line {
            catalog: Zone::Fhir.to_string(),
            schema: views::SCHEMA.to_owned(),
            table,
            kind: "VIEW",
            comment: None,
        }).collect();
        yield sheet(&views).batch()?;
        let own: Vec<Line> = system_tables(&request).into_iter().map(|(catalog, definition)| Line {
            catalog: catalog.to_owned(),
            schema: definition.schema.to_owned(),
            table: definition.table.to_owned(),
            kind: "VIEW",
            comment: Some(definition.comment.to_owned()),
        }).collect();
        yield sheet(&own).batch()?;
    }
    .boxed()
}
