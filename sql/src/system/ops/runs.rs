use std::collections::HashMap;

use async_stream::try_stream;
use futures::StreamExt;
use mavis_catalog::Run;
use mavis_types::SourceId;

use super::{counts, known_runs};
use crate::system::{
    Definition, Lines, Request,
    sheet::{Sheet, word},
};

pub(in crate::system) const RUNS: Definition = Definition {
    schema: "ops",
    table: "runs",
    comment: "Runs of the pipeline, the newest first, with what became of the rows.",
    for_admins: false,
    columns: || sheet(&[], &HashMap::new()).schema(),
    read,
};

/// With each run whether its counts and its error are told.
fn sheet(runs: &[(Run, bool)], sources: &HashMap<SourceId, String>) -> Sheet {
    let sheet = Sheet::default()
        .text("id", runs.iter().map(|(run, _)| run.id.to_string()))
        .text("kind", runs.iter().map(|(run, _)| word(&run.kind)))
        .maybe_text("source", runs.iter().map(|(run, _)| sources.get(&run.source?).cloned()))
        .text("state", runs.iter().map(|(run, _)| word(&run.state)))
        .text("requested_by", runs.iter().map(|(run, _)| run.requested_by.as_str()))
        .maybe_text("parent", runs.iter().map(|(run, _)| run.parent.map(|id| id.to_string())))
        .number("attempt", runs.iter().map(|(run, _)| i64::from(run.attempt)))
        .maybe_text("error", runs.iter().map(|(run, told)| run.error.as_deref().filter(|_| *told)));
    let all: Vec<_> = runs.iter().map(|(run, told)| told.then_some(run.counts)).collect();
    counts(sheet, &all)
        .time("created_at", runs.iter().map(|(run, _)| run.created_at))
        .maybe_time("started_at", runs.iter().map(|(run, _)| run.started_at))
        .maybe_time("finished_at", runs.iter().map(|(run, _)| run.finished_at))
}

fn read(request: Request) -> Lines {
    try_stream! {
        let sources = request.sources().await?;
        let runs = known_runs(&request).await?;
        yield sheet(&runs, &sources).batch()?;
    }
    .boxed()
}
