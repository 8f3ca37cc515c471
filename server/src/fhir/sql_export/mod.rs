//! `$sql-export` (SQL on FHIR 3.0), with `$viewdefinition-export` and `$sqlquery-export` as aliases: the rows of views and
//! queries as files, asynchronously.
//!
//! The request is answered with 202 and a place to ask at. Asking there says 202 while the work goes on, then 303 to the
//! result, whatever came of it: a manifest as a Parameters resource, or the OperationOutcome that a request which waited
//! would have got. What can be told at once (an unknown or invalid subject) is told at once. All subjects are read at one
//! snapshot. Deleting the place ends the work and deletes its files, which otherwise live a day.

mod asked;
mod result;
mod work;

use axum::{
    extract::Path,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::Utc;
use uuid::Uuid;

use self::{asked::Asked, work::Task};
use super::{
    base::base,
    call::Call,
    export::{
        job::{Job, Kind, Known, State},
        poll,
        run::run,
    },
    outcome::Outcome,
    sql_run::find,
    write::prefers_async,
};

/// Where exports of rows are asked for, below the base.
const PLACE: &str = "_sql-export";

/// `POST $sql-export`
pub(super) async fn begin(call: Call) -> Result<Response, Outcome> {
    let Call { app, principal, headers, uri, body, .. } = call;
    if !prefers_async(&headers) {
        let message = "an export is asynchronous: send `Prefer: respond-async`";
        return Err(Outcome::new(StatusCode::BAD_REQUEST, "invalid", message));
    }
    let asked = Asked::read(&call.query, &headers, &body)?;
    let (snapshot, transaction_time) = poll::newest(&app, &principal).await?;
    let session = app.engine.session(&principal, snapshot).await?;
    let mut tasks: Vec<Task> = Vec::new();
    for wanted in asked.subjects {
        let (subject, own) = find(&app, &session, &wanted.which).await?;
        let name = wanted.name.or(own).unwrap_or_else(|| format!("output_{}", tasks.len() + 1));
        if tasks.iter().any(|task| task.name == name) {
            return Err(Outcome::invalid("two outputs would have the same name: give them `name`s of their own"));
        }
        tasks.push(Task::new(name, subject, wanted.values)?);
    }
    let only = asked.narrow.only(&session).await?;

    let base = base(&app, &headers);
    let id = Uuid::new_v4();
    let job = Job {
        id,
        request: format!("{base}{}", uri.path()),
        owner: poll::owner(&principal),
        transaction_time,
        began_at: Utc::now(),
        kind: Kind::Rows {
            format: asked.format.name.to_owned(),
            media_type: asked.format.media_type().to_owned(),
            tracking: asked.tracking,
        },
        state: State::Running,
    };
    let live = poll::begin(&app, &job).await?;
    tracing::info!(export = %id, by = %principal.name, "an export of rows began");
    let body = result::begun(&job, &base);
    let format = asked.format;
    tokio::spawn(async move {
        let (work_app, work_live) = (app.clone(), live.clone());
        let work = work::write(&work_app, &principal, &session, tasks, &only, format, id, &work_live);
        Box::pin(run(app, job, live, work)).await;
    });
    Ok(poll::accepted(&format!("{base}/{PLACE}/{id}"), body))
}

/// `GET _sql-export/[id]`: 202 while it goes on, then 303.
pub(super) async fn status(Path(id): Path<String>, call: Call) -> Result<Response, Outcome> {
    let base = base(&call.app, &call.headers);
    match poll::find(&call.app, &call.principal, &id, true).await? {
        (_, Known::Running(job, live)) => Ok(poll::going_on(&live.progress(&job.kind), result::begun(&job, &base))),
        (id, _) => {
            let mut response = StatusCode::SEE_OTHER.into_response();
            if let Ok(place) = HeaderValue::from_str(&format!("{base}/{PLACE}/{id}/result")) {
                response.headers_mut().insert(header::LOCATION, place);
            }
            Ok(response)
        }
    }
}

/// `GET _sql-export/[id]/result`: the manifest, or why there is none.
pub(super) async fn result(Path(id): Path<String>, call: Call) -> Result<Response, Outcome> {
    match poll::find(&call.app, &call.principal, &id, true).await? {
        (_, Known::Ended(job)) => result::of(&job, &base(&call.app, &call.headers)),
        _ => Err(Outcome::new(StatusCode::NOT_FOUND, "not-found", "the export goes on: its result is not there yet")),
    }
}

/// `DELETE _sql-export/[id]`: ends it and deletes its files.
pub(super) async fn cancel(Path(id): Path<String>, call: Call) -> Result<Response, Outcome> {
    poll::cancel(&call.app, &call.principal, &id, true).await
}

/// `GET _sql-export/[id]/[file]`
pub(super) async fn file(Path((id, name)): Path<(String, String)>, call: Call) -> Result<Response, Outcome> {
    poll::file(&call.app, &call.principal, &id, &name, true).await
}
