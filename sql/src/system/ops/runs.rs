use std::collections::HashMap;

use async_stream::try_stream;
use futures::StreamExt;
use mavis_catalog::Run;
use mavis_types::SourceId;

use super::{counts, known_runs};
use crate::{
    sight::knows_counts,
    system::{
        Definition, Lines, Request,
        sheet::{Sheet, word},
    },
};

pub(in crate::system) const RUNS: Definition = Definition {
    schema: "ops",
    table: "runs",
    comment: "Runs of the pipeline, the newest first, with what became of the rows.",
    for_admins: false,
    columns: || sheet(&[], &HashMap::new(), true).schema(),
    read,
};

fn sheet(runs: &[Run], sources: &HashMap<SourceId, String>, counted: bool) -> Sheet {
    let sheet = Sheet::default()
        .text("id", runs.iter().map(|run| run.id.to_string()))
        .text("kind", runs.iter().map(|run| word(&run.kind)))
        .maybe_text("source", runs.iter().map(|run| sources.get(&run.source?).cloned()))
        .text("state", runs.iter().map(|run| word(&run.state)))
        .text("requested_by", runs.iter().map(|run| run.requested_by.as_str()))
        .maybe_text("parent", runs.iter().map(|run| run.parent.map(|id| id.to_string())))
        .number("attempt", runs.iter().map(|run| i64::from(run.attempt)))
        .maybe_text("error", runs.iter().map(|run| run.error.as_deref()));
    let all: Vec<_> = runs.iter().map(|run| counted.then_some(run.counts)).collect();
    counts(sheet, &all)
        .time("created_at", runs.iter().map(|run| run.created_at))
        .maybe_time("started_at", runs.iter().map(|run| run.started_at))
        .maybe_time("finished_at", runs.iter().map(|run| run.finished_at))
}

fn read(request: Request) -> Lines {
    try_stream! {
        let sources = request.sources().await?;
        let runs = known_runs(&request).await?;
        yield sheet(&runs, &sources, knows_counts(&request.principal)).batch()?;
    }
    .boxed()
}
