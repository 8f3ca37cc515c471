//! From the beginning of an export to its end, whatever it writes.

use std::sync::Arc;

use axum::http::StatusCode;
use chrono::Utc;

use super::job::{Job, Live, State, Written};
use crate::{App, fhir::outcome::Outcome};

/// Why an export came to nothing, as its owner is told.
#[derive(Debug)]
pub(in crate::fhir) struct Failure {
    pub(in crate::fhir) status: StatusCode,
    pub(in crate::fhir) reason: String,
}

impl Failure {
    /// What went wrong here, not in what was asked for.
    pub(in crate::fhir) fn server(reason: impl ToString) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, reason: reason.to_string() }
    }
}

impl From<Outcome> for Failure {
    fn from(outcome: Outcome) -> Self {
        let reason = outcome.to_json()["issue"][0]["diagnostics"].as_str().unwrap_or_default().to_owned();
        Self { status: outcome.status(), reason }
    }
}

impl From<mavis_sql::Error> for Failure {
    fn from(error: mavis_sql::Error) -> Self {
        Outcome::from(error).into()
    }
}

/// Waits for a turn, works, and notes what came of it; ends when the export is deleted or the server stops.
pub(in crate::fhir) async fn run(
    app: App,
    mut job: Job,
    live: Arc<Live>,
    work: impl Future<Output = Result<Vec<Written>, Failure>>,
) {
    let exports = app.exports.clone();
    let in_turn = async {
        let _turn = exports.turns().acquire_owned().await;
        work.await
    };
    let stopping = app.readiness.stopping();
    let outcome = tokio::select! {
        // Its folder is gone already.
        () = live.cancel.cancelled() => return exports.end(job.id),
        // The folder says that it went on, and that nobody does any more.
        () = stopping => return exports.end(job.id),
        outcome = in_turn => outcome,
    };
    let at = Utc::now();
    job.state = match outcome {
        Ok(outputs) => State::Done { at, outputs },
        Err(Failure { status, reason }) => {
            tracing::warn!(export = %job.id, status = status.as_u16(), "an export failed");
            State::Failed { at, reason, status: status.as_u16() }
        }
    };
    if !live.cancel.is_cancelled()
        && let Err(error) = exports.store(&job).await
    {
        tracing::error!(export = %job.id, %error, "the end of an export was not noted");
    }
    exports.end(job.id);
}
