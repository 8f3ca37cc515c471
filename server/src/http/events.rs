use std::{convert::Infallible, time::Duration};

use axum::{
    Extension,
    extract::{Path, State},
    http::HeaderMap,
    response::sse::{Event, KeepAlive, Sse},
};
use futures::{Stream, StreamExt};
use mavis_pipeline::RunEvent;
use mavis_sql::knows_counts;
use mavis_types::{Principal, TableName};
use serde_json::json;

use super::{
    ApiError, ErrorBody,
    runs::{RowCounts, Unit, find, state_word, word},
};
use crate::App;

/// Proxies close connections on which nothing comes for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A run as it goes on, from its beginning until it ends
///
/// Server-sent events: `state` (`{state, counts, error}`), `unit` (how far a table is), `log` (`{sequence, at, level,
/// message}`), and `end` as the last. An event's id is the sequence of the newest log line told; a client that comes back
/// with `Last-Event-ID` is not told older lines again. Who does not read every table of the source with all rows is told
/// no log, no counts and no error of the run.
#[utoipa::path(
    get,
    path = "/api/v1/runs/{id}/events",
    tag = "runs",
    params(("id" = String, Path, description = "The run's id"),
        ("Last-Event-ID" = Option<String>, Header, description = "Id of the last event that was seen")),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody))
)]
pub(super) async fn watch(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let (known, run) = find(&app, &principal, &id).await?;
    let sized = known.is_sized(&run);
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<i64>().ok());
    let mut events = app.pipeline.watch(run.id).await?;
    let stream = async_stream::stream! {
        let mut newest = seen.unwrap_or(0);
        let stopping = app.readiness.stopping();
        tokio::pin!(stopping);
        loop {
            // A server that stops ends the stream without `end`: the client comes back and goes on.
            let event = tokio::select! {
                biased;
                event = events.next() => event,
                () = &mut stopping => return,
            };
            let Some(event) = event else { break };
            if let Some(event) = told(event, &principal, sized, seen, &mut newest) {
                yield Ok(event);
            }
        }
        yield Ok(Event::default().event("end").data("{}"));
    };
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// The event as it is sent; `None` for what the caller has seen, or may not see. `sized`: whether the run's sizes, error and log
/// are told.
fn told(event: RunEvent, principal: &Principal, sized: bool, seen: Option<i64>, newest: &mut i64) -> Option<Event> {
    let counted = knows_counts(principal);
    let (name, data) = match event {
        RunEvent::State { state, counts, error } => (
            "state",
            json!({
                "state": state_word(state),
                "counts": sized.then(|| RowCounts::from(counts)),
                "error": error.filter(|_| sized),
            }),
        ),
        RunEvent::Unit(progress) => {
            let may_read = progress.table.parse::<TableName>().is_ok_and(|table| principal.may_read(&table));
            if !may_read {
                return None;
            }
            ("unit", json!(Unit::new(progress.table, progress.unit, progress.expected, counted)))
        }
        RunEvent::Log(line) => {
            if !sized || seen.is_some_and(|seen| line.sequence <= seen) {
                return None;
            }
            *newest = line.sequence.max(*newest);
            let level = word(&line.level);
            ("log", json!({"sequence": line.sequence, "at": line.at, "level": level, "message": line.message}))
        }
    };
    Some(Event::default().event(name).id(newest.to_string()).data(data.to_string()))
}
