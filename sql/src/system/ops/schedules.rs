use std::collections::HashMap;

use async_stream::try_stream;
use futures::StreamExt;
use mavis_catalog::Schedule;
use mavis_types::SourceId;

use crate::system::{Definition, Lines, Request, sheet::Sheet};

pub(in crate::system) const SCHEDULES: Definition = Definition {
    schema: "ops",
    table: "schedules",
    comment: "When sources are read by themselves, when next, and which schedules are disabled and why.",
    for_admins: false,
    columns: || sheet(&[], &HashMap::new()).schema(),
    read,
};

fn sheet(schedules: &[Schedule], sources: &HashMap<SourceId, String>) -> Sheet {
    let kind = |schedule: &Schedule| {
        let kind = schedule.spec.pointer("/when/kind").and_then(|kind| kind.as_str());
        kind.unwrap_or_default().to_owned()
    };
    Sheet::default()
        .text("source", schedules.iter().map(|s| sources.get(&s.source).cloned().unwrap_or_default()))
        .text("kind", schedules.iter().map(kind))
        .text("declaration", schedules.iter().map(|s| s.spec.to_string()))
        .flag("enabled", schedules.iter().map(|s| s.state.disabled_at.is_none()))
        .maybe_time("next_at", schedules.iter().map(|s| s.state.next_at.filter(|_| s.state.disabled_at.is_none())))
        .maybe_time("last_at", schedules.iter().map(|s| s.state.fired_at))
        .maybe_text("last_run", schedules.iter().map(|s| s.state.last_run.map(|id| id.to_string())))
        .number("failures", schedules.iter().map(|s| i64::from(s.state.failures)))
        .maybe_time("disabled_at", schedules.iter().map(|s| s.state.disabled_at))
        .maybe_text("disabled_reason", schedules.iter().map(|s| s.state.disabled_reason.clone()))
        .time("updated_at", schedules.iter().map(|s| s.updated_at))
}

fn read(request: Request) -> Lines {
    try_stream! {
        let sources = request.sources().await?;
        let mut schedules = request.catalog.schedules().await?;
        schedules.retain(|schedule| sources.contains_key(&schedule.source));
        yield sheet(&schedules, &sources).batch()?;
    }
    .boxed()
}
