use async_stream::try_stream;
use futures::StreamExt;
use mavis_catalog::{Table, ViewRow};
use mavis_types::Zone;

use crate::{
    system::{Definition, INFORMATION, Lines, Request, sheet::Sheet},
    views, work,
};

pub(in crate::system) const VIEWS: Definition = Definition {
    schema: INFORMATION,
    table: "views",
    comment: "Views: ViewDefinitions of SQL on FHIR, and queries under names in `work`, with the definitions that you may see.",
    for_admins: false,
    columns: || sheet(&[]).schema(),
    read,
};

struct Line {
    name: [String; 3],
    definition: Option<String>,
}

fn sheet(lines: &[Line]) -> Sheet {
    Sheet::default()
        .text("table_catalog", lines.iter().map(|line| line.name[0].as_str()))
        .text("table_schema", lines.iter().map(|line| line.name[1].as_str()))
        .text("table_name", lines.iter().map(|line| line.name[2].as_str()))
        .maybe_text("view_definition", lines.iter().map(|line| line.definition.as_deref()))
}

fn of_fhir((name, row): (String, ViewRow)) -> Line {
    Line { name: [Zone::Fhir.to_string(), views::SCHEMA.to_owned(), name], definition: Some(row.text) }
}

/// A view of SQL; its definition is there for who may see it.
fn of_work(request: &Request, table: Table) -> Line {
    let definition = work::definition(&request.principal, &table).map(|view| view.text.clone());
    Line { name: [table.name.zone.to_string(), table.name.schema, table.name.table], definition }
}

fn read(request: Request) -> Lines {
    try_stream! {
        let views = request.views(["table_catalog", "table_schema", "table_name"]).await?;
        yield sheet(&views.into_iter().map(of_fhir).collect::<Vec<_>>()).batch()?;
        for place in request.schemas("table_catalog", "table_schema").await? {
            if place.0 != Zone::Work {
                continue;
            }
            let mut after = None;
            while let Some((page, last)) = request.tables(&place, "table_name", after.as_ref()).await? {
                after = Some(last);
                let views = page.into_iter().filter(|table| table.view.is_some());
                yield sheet(&views.map(|table| of_work(&request, table)).collect::<Vec<_>>()).batch()?;
            }
        }
    }
    .boxed()
}
