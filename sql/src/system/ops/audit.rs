use async_stream::try_stream;
use futures::StreamExt;
use mavis_catalog::AuditEntry;

use super::NEWEST;
use crate::system::{
    Definition, Lines, Request,
    sheet::{Sheet, number},
};

pub(in crate::system) const AUDIT: Definition = Definition {
    schema: "ops",
    table: "audit",
    comment: "Who did what, when, and whether it was allowed, the newest first. For administrators.",
    for_admins: true,
    columns: || sheet(&[]).schema(),
    read,
};

fn sheet(entries: &[AuditEntry]) -> Sheet {
    Sheet::default()
        .number("id", entries.iter().map(|entry| entry.id))
        .time("at", entries.iter().map(|entry| entry.at))
        .text("actor", entries.iter().map(|entry| entry.actor.as_str()))
        .text("action", entries.iter().map(|entry| entry.action.as_str()))
        .text("object", entries.iter().map(|entry| entry.object.as_str()))
        .flag("allowed", entries.iter().map(|entry| entry.allowed))
        .text("door", entries.iter().map(|entry| entry.door.as_str()))
        .maybe_number("rows", entries.iter().map(|entry| entry.rows.map(number)))
}

fn read(request: Request) -> Lines {
    try_stream! {
        let entries = request.catalog.audit_entries(NEWEST).await?;
        yield sheet(&entries).batch()?;
    }
    .boxed()
}
