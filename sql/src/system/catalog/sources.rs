use async_stream::try_stream;
use futures::StreamExt;
use mavis_catalog::Source;

use crate::system::{Definition, Lines, Request, sheet::Sheet};

pub(in crate::system) const SOURCES: Definition = Definition {
    schema: "catalog",
    table: "sources",
    comment: "Registered sources. `params` is shown to engineers only, and never holds a secret.",
    for_admins: false,
    columns: || sheet(&[], false).schema(),
    read,
};

fn sheet(sources: &[Source], shows_params: bool) -> Sheet {
    Sheet::default()
        .text("id", sources.iter().map(|source| source.id.to_string()))
        .text("name", sources.iter().map(|source| source.name.as_str()))
        .text("kind", sources.iter().map(|source| source.kind.as_str()))
        .maybe_text("params", sources.iter().map(|source| shows_params.then(|| source.params.to_string())))
        .flag("authoritative", sources.iter().map(|source| source.authoritative))
        .time("created_at", sources.iter().map(|source| source.created_at))
        .time("updated_at", sources.iter().map(|source| source.updated_at))
}

fn read(request: Request) -> Lines {
    try_stream! {
        let mut sources = request.catalog.sources().await?;
        sources.retain(|source| request.knows_source(source.name.as_str()));
        yield sheet(&sources, request.principal.may_engineer()).batch()?;
    }
    .boxed()
}
