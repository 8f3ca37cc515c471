use async_stream::try_stream;
use futures::StreamExt;
use mavis_catalog::KnownHost;

use crate::system::{Definition, Lines, Request, sheet::Sheet};

pub(in crate::system) const KNOWN_HOSTS: Definition = Definition {
    schema: "catalog",
    table: "known_hosts",
    comment: "Host keys of SSH servers that were trusted when they were first seen. Shown to engineers only.",
    for_admins: false,
    columns: || sheet(&[]).schema(),
    read,
};

fn sheet(known: &[KnownHost]) -> Sheet {
    Sheet::default()
        .text("host", known.iter().map(|known| known.host.as_str()))
        .number("port", known.iter().map(|known| i64::from(known.port)))
        .text("algorithm", known.iter().map(|known| known.algorithm.as_str()))
        .text("fingerprint", known.iter().map(|known| known.fingerprint.as_str()))
        .text("public_key", known.iter().map(|known| known.public_key.as_str()))
        .time("recorded_at", known.iter().map(|known| known.recorded_at))
}

fn read(request: Request) -> Lines {
    try_stream! {
        let known = if request.principal.may_engineer() { request.catalog.known_hosts().await? } else { Vec::new() };
        yield sheet(&known).batch()?;
    }
    .boxed()
}
