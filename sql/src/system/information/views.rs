use async_stream::try_stream;
use futures::StreamExt;
use mavis_catalog::ViewRow;

use crate::{
    system::{Definition, INFORMATION, Lines, Request, sheet::Sheet},
    views,
};

pub(in crate::system) const VIEWS: Definition = Definition {
    schema: INFORMATION,
    table: "views",
    comment: "Views with a definition that you may read; ViewDefinitions of SQL on FHIR.",
    for_admins: false,
    columns: || sheet(&[]).schema(),
    read,
};

fn sheet(rows: &[(String, ViewRow)]) -> Sheet {
    Sheet::default()
        .text("table_catalog", rows.iter().map(|_| "fhir"))
        .text("table_schema", rows.iter().map(|_| views::SCHEMA))
        .text("table_name", rows.iter().map(|(name, _)| name.as_str()))
        .maybe_text("view_definition", rows.iter().map(|(_, row)| Some(row.text.as_str())))
}

fn read(request: Request) -> Lines {
    try_stream! {
        let views = request.views(["table_catalog", "table_schema", "table_name"]).await?;
        yield sheet(&views).batch()?;
    }
    .boxed()
}
