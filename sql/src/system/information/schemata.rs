use async_stream::try_stream;
use futures::StreamExt;
use mavis_types::Zone;

use super::system_schemas;
use crate::{
    system::{Definition, INFORMATION, Lines, Request, sheet::Sheet},
    views,
};

pub(in crate::system) const SCHEMATA: Definition = Definition {
    schema: INFORMATION,
    table: "schemata",
    comment: "Schemas of every catalog.",
    for_admins: false,
    columns: || sheet(&[]).schema(),
    read,
};

fn sheet(schemas: &[(String, String)]) -> Sheet {
    Sheet::default()
        .text("catalog_name", schemas.iter().map(|(catalog, _)| catalog.as_str()))
        .text("schema_name", schemas.iter().map(|(_, schema)| schema.as_str()))
        .maybe_text("schema_owner", schemas.iter().map(|_| None::<&str>))
}

fn read(request: Request) -> Lines {
    try_stream! {
        let lake = request.schemas("catalog_name", "schema_name").await?;
        let mut schemas: Vec<(String, String)> = lake.into_iter().map(|(zone, schema)| (zone.to_string(), schema)).collect();
        if !request.views(["catalog_name", "schema_name", ""]).await?.is_empty() {
            schemas.push((Zone::Fhir.to_string(), views::SCHEMA.to_owned()));
        }
        let own = system_schemas().into_iter().filter(|(catalog, schema)| {
            request.wants_catalog("catalog_name", catalog)
                && request.equal("schema_name").is_none_or(|wanted| wanted == *schema)
        });
        schemas.extend(own.map(|(catalog, schema)| (catalog.to_owned(), schema.to_owned())));
        yield sheet(&schemas).batch()?;
    }
    .boxed()
}
