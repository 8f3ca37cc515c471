//! Registers, discovers and ingests the sample sources through the same calls as any client.

use anyhow::{Context, bail};
use futures::StreamExt;
use mavis_catalog::RunUnit;
use mavis_pipeline::IngestRequest;
use mavis_types::{Principal, RunId, SourceId};

use super::sources::{CODE_MAPS, DemoSource};
use crate::{App, cli::watch::Screen, grpc::convert};

/// A source after its run.
#[derive(Debug)]
pub(super) struct Filled<'a> {
    pub(super) source: &'a DemoSource,
    pub(super) id: SourceId,
    pub(super) units: Vec<RunUnit>,
}

/// Brings every source into all zones, one after the other. What is there already is left as it is.
///
/// # Errors
/// When a source cannot be registered, discovered, mapped or ingested.
pub(super) async fn fill<'a>(app: &App, by: &Principal, sources: &'a [DemoSource]) -> anyhow::Result<Vec<Filled<'a>>> {
    for (name, text) in CODE_MAPS {
        app.pipeline.set_code_map(by, name, text).await.with_context(|| format!("code map `{name}`"))?;
    }
    let mut filled = Vec::new();
    for source in sources {
        filled.push(Box::pin(one(app, by, source)).await.with_context(|| format!("source `{}`", source.spec.name))?);
    }
    Ok(filled)
}

async fn one<'a>(app: &App, by: &Principal, source: &'a DemoSource) -> anyhow::Result<Filled<'a>> {
    let name = &source.spec.name;
    let registered = match app.catalog.source(name).await {
        Ok(found) if found.kind == source.spec.kind && found.params == source.spec.params => found,
        Ok(_) => app.pipeline.update_source(by, source.spec.clone()).await?,
        Err(mavis_catalog::Error::NotFound { .. }) => app.pipeline.add_source(by, source.spec.clone()).await?,
        Err(error) => return Err(error.into()),
    };
    let report = app.pipeline.discover(by, name).await?;
    if let Some((table, reason)) = report.failures.first() {
        bail!("table {table}: {reason}");
    }
    for (mapping, text) in source.mappings {
        app.pipeline.apply_mapping(by, mapping, text).await.with_context(|| format!("mapping `{mapping}`"))?;
    }
    let id = RunId::new();
    let request = IngestRequest { source: name.clone(), tables: Vec::new(), full: false };
    app.pipeline.start_run(by, id, request).await?;
    let mut events = app.pipeline.watch(id).await?;
    let mut screen = Screen::new();
    while let Some(event) = events.next().await {
        screen.show(convert::event(event, true, true));
    }
    if let Err(reason) = screen.ended() {
        bail!("run {id} {reason}");
    }
    Ok(Filled { source, id: registered.id, units: app.catalog.run_units(id).await? })
}
