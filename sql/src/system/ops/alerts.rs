use std::collections::HashMap;

use async_stream::try_stream;
use futures::StreamExt;
use mavis_catalog::ListedAlert;
use mavis_types::SourceId;

use super::{NEWEST, whole_sources};
use crate::system::{Definition, Lines, Request, sheet::Sheet};

pub(in crate::system) const ALERTS: Definition = Definition {
    schema: "ops",
    table: "alerts",
    comment: "What somebody outside is told of (schedules that are disabled, tables that are late), the newest first: whether it was \
              told, how often it was tried, and when it is tried again.",
    for_admins: false,
    columns: || sheet(&[], &HashMap::new()).schema(),
    read,
};

fn state(listed: &ListedAlert) -> &'static str {
    match (listed.told_at, listed.try_at) {
        (Some(_), _) => "told",
        (None, Some(_)) => "waiting",
        (None, None) => "given_up",
    }
}

fn said(listed: &ListedAlert, key: &str) -> Option<String> {
    listed.alert.body.get(key).and_then(serde_json::Value::as_str).map(ToOwned::to_owned)
}

fn sheet(alerts: &[ListedAlert], sources: &HashMap<SourceId, String>) -> Sheet {
    Sheet::default()
        .text("id", alerts.iter().map(|listed| listed.alert.id.to_string()))
        .text("source", alerts.iter().map(|listed| sources.get(&listed.alert.source).cloned().unwrap_or_default()))
        .time("created_at", alerts.iter().map(|listed| listed.alert.created_at))
        .maybe_text("kind", alerts.iter().map(|listed| said(listed, "kind")))
        .text("state", alerts.iter().map(state))
        .number("tries", alerts.iter().map(|listed| i64::from(listed.alert.tries)))
        .maybe_time("told_at", alerts.iter().map(|listed| listed.told_at))
        .maybe_time("next_try_at", alerts.iter().map(|listed| listed.try_at))
        .maybe_text("text", alerts.iter().map(|listed| said(listed, "text")))
        .text("body", alerts.iter().map(|listed| listed.alert.body.to_string()))
}

fn read(request: Request) -> Lines {
    try_stream! {
        let sources = whole_sources(&request).await?;
        let named = request.equal("source").map(|wanted| {
            sources.iter().find(|(_, name)| name.as_str() == wanted).map(|(id, _)| *id)
        });
        let mut alerts = match named {
            None => request.catalog.alerts(None, NEWEST).await?,
            Some(Some(source)) => request.catalog.alerts(Some(source), NEWEST).await?,
            Some(None) => Vec::new(),
        };
        alerts.retain(|listed| sources.contains_key(&listed.alert.source));
        yield sheet(&alerts, &sources).batch()?;
    }
    .boxed()
}
