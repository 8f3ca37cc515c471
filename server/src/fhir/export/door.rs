//! The requests of an export of resources: begin, ask, cancel, fetch. Parameters come in the query, in a body, or in both.

use axum::{
    extract::Path,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use chrono::{SecondsFormat, Utc};
use mavis_fhir::search::compile;
use serde_json::json;
use uuid::Uuid;

use super::{
    asked::{Asked, Level, posted},
    job::{Job, Kind, Known, State as Stage},
    poll,
    run::run,
    work::{export, request, whose},
};
use crate::fhir::{base::base, call::Call, outcome::Outcome, read, rows::is_id, write::prefers_async};

pub(in crate::fhir) async fn system(call: Call) -> Result<Response, Outcome> {
    begin(call, Level::System).await
}

pub(in crate::fhir) async fn patients(call: Call) -> Result<Response, Outcome> {
    begin(call, Level::Patients).await
}

pub(in crate::fhir) async fn group(Path(id): Path<String>, call: Call) -> Result<Response, Outcome> {
    begin(call, Level::Group(id)).await
}

async fn begin(call: Call, level: Level) -> Result<Response, Outcome> {
    let Call { app, principal, query: mut parameters, headers, uri, body } = call;
    if !prefers_async(&headers) {
        let message = "an export is asynchronous: send `Prefer: respond-async`";
        return Err(Outcome::new(StatusCode::BAD_REQUEST, "invalid", message));
    }
    if !body.is_empty() {
        parameters.extend(posted(&body)?);
    }
    let asked = Asked::read(level, &parameters)?;
    for (resource, filters) in &asked.filters {
        for filter in filters {
            // What cannot be compiled without a table cannot be with one.
            compile(*resource, request(filter), &mavis_fhir::search::Schemas::new())?;
        }
    }
    let text = match &asked.level {
        Level::Group(id) => {
            let missing = || Outcome::new(StatusCode::NOT_FOUND, "not-found", "there is no such Group");
            let resource = "Group".parse().map_err(|_| missing())?;
            if !is_id(id) {
                return Err(missing());
            }
            Some(read::current_text(&app, &principal, resource, id).await?.ok_or_else(missing)?)
        }
        _ => None,
    };
    let (snapshot, transaction_time) = poll::newest(&app, &principal).await?;
    let base = base(&app, &headers);
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    let id = Uuid::new_v4();
    let job = Job {
        id,
        request: format!("{base}{path}"),
        owner: poll::owner(&principal),
        transaction_time,
        began_at: Utc::now(),
        kind: Kind::Resources,
        state: Stage::Running,
    };
    let live = poll::begin(&app, &job).await?;
    tracing::info!(export = %id, by = %principal.name, "an export began");
    let whose = whose(&asked.level, text.as_deref());
    tokio::spawn(async move {
        let (work_app, work_live) = (app.clone(), live.clone());
        let work = export(&work_app, &principal, snapshot, &asked, &whose, id, &work_live);
        Box::pin(run(app, job, live, work)).await;
    });
    Ok(poll::accepted(&format!("{base}/_export/{id}"), ()))
}

/// `GET _export/[id]`: 202 while it goes on, then what came of it.
pub(in crate::fhir) async fn status(Path(id): Path<String>, call: Call) -> Result<Response, Outcome> {
    let job = match poll::find(&call.app, &call.principal, &id, false).await? {
        (_, Known::Running(job, live)) => return Ok(poll::going_on(&live.progress(&job.kind), ())),
        (_, Known::Ended(job)) => job,
        (_, Known::Nothing) => return Err(Outcome::new(StatusCode::NOT_FOUND, "not-found", "there is no such export")),
    };
    match &job.state {
        Stage::Done { outputs, .. } => {
            let base = base(&call.app, &call.headers);
            let outputs: Vec<_> = outputs
                .iter()
                .map(|output| {
                    json!({
                        "type": output.resource,
                        "url": format!("{base}/_export/{}/{}", job.id, output.file),
                        "count": output.rows,
                    })
                })
                .collect();
            let manifest = json!({
                "transactionTime": job.transaction_time.to_rfc3339_opts(SecondsFormat::Millis, true),
                "request": job.request,
                "requiresAccessToken": true,
                "output": outputs,
                "error": [],
            });
            Ok(poll::expiring(axum::Json(manifest).into_response(), &job))
        }
        Stage::Failed { reason, .. } => {
            Err(Outcome::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", format!("the export failed: {reason}")))
        }
        Stage::Running => Err(Outcome::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", "the server failed")),
    }
}

/// `DELETE _export/[id]`: ends it and deletes its files.
pub(in crate::fhir) async fn cancel(Path(id): Path<String>, call: Call) -> Result<Response, Outcome> {
    poll::cancel(&call.app, &call.principal, &id, false).await
}

/// `GET _export/[id]/[file]`.
pub(in crate::fhir) async fn file(Path((id, name)): Path<(String, String)>, call: Call) -> Result<Response, Outcome> {
    poll::file(&call.app, &call.principal, &id, &name, false).await
}
