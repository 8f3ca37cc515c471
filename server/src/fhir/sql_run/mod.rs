//! `$sql-run` (SQL on FHIR 3.0), with `$viewdefinition-run` and `$sqlquery-run` as aliases: the rows of a view or of an SQL
//! query over views, streamed as they come.
//!
//! [`request`] reads the parameters, [`subject`] finds what shall run, [`library`] reads queries, [`patients`] narrows the
//! resources, [`inline`] runs a view over resources that came with the request. A caller gets the rows that SQL would give
//! him: the view is planned over the tables that he may read.

mod inline;
mod library;
mod patients;
mod request;
mod subject;

use std::{collections::HashMap, sync::Arc};

use arrow::array::RecordBatch;
use axum::{extract::Path, http::StatusCode, response::Response};
use futures::StreamExt;
use mavis_fhir::view::{Plan, View};
use mavis_sql::{Limits, Only, QueryStream, Session};

use self::request::Asked;
pub(super) use self::{
    patients::Narrow,
    request::{Given, named, once, parameters, text, values, written},
    subject::{Subject, Which, find},
};
use super::{call::Call, outcome::Outcome};
use crate::{
    auth::Door,
    http::{ApiError, send},
    query_log::QueryLog,
};

/// By GET, when all parameters are primitive, or by POST.
pub(super) async fn run(call: Call) -> Result<Response, Outcome> {
    let mut asked = Asked::of_query(&call.query)?;
    asked.read_body(&call.headers, &call.body)?;
    answer(call, asked).await
}

/// `ViewDefinition/[id]/$viewdefinition-run`, of version 2.
pub(super) async fn run_stored(Path(id): Path<String>, call: Call) -> Result<Response, Outcome> {
    let mut asked = Asked::of_query(&call.query)?;
    asked.read_body(&call.headers, &call.body)?;
    asked.refer(format!("ViewDefinition/{id}"))?;
    answer(call, asked).await
}

async fn answer(call: Call, asked: Asked) -> Result<Response, Outcome> {
    let Call { app, principal, headers, .. } = call;
    let written = asked.written(&headers)?;
    let asked = Arc::new(asked);
    let session = app.engine.session(&principal, None).await?;
    let (subject, _) = find(&app, &session, &asked.which).await?;
    if !asked.resources.is_empty() && !matches!(subject, Subject::View(_)) {
        return Err(Outcome::invalid("`resource` goes with a ViewDefinition: a query runs over what is stored"));
    }
    let only = asked.narrow.only(&session).await?;
    // The text in the audit: no SQL, and nothing of the request's resources.
    let log = QueryLog::begin(&app, &principal, Door::Fhir, subject.audited());
    let queried = match &subject {
        Subject::View(plan) if !asked.resources.is_empty() => {
            // Much work may come with a request: it is done beside the threads that answer.
            let (plan, asked) = (Arc::clone(plan), Arc::clone(&asked));
            let made = tokio::task::spawn_blocking(move || inline::rows(plan, &asked.resources, &only)).await;
            Ok(made.map_err(|error| told(&ApiError::internal(&error)))??)
        }
        subject => stored(&session, subject, &asked.values, &only, None).await?,
    };
    let stream = match queried {
        Ok(stream) => log.follow(limited(stream, asked.limit)),
        Err(error) => {
            log.failed(&error);
            return Err(refused(error));
        }
    };
    send(stream, written).await.map_err(|error| told(&error))
}

/// Runs a subject over what is stored. The outer error is the caller's: a value that the query has no parameter for.
pub(super) async fn stored(
    session: &Session,
    subject: &Subject,
    values: &[(String, Given)],
    only: &Only,
    limits: Option<Limits>,
) -> Result<Result<QueryStream, mavis_sql::Error>, Outcome> {
    Ok(match subject {
        Subject::View(plan) => match session.view(Arc::clone(plan), only).await {
            Ok(frame) => session.run(frame, limits).await,
            Err(error) => Err(error),
        },
        Subject::Query(query) => {
            let values = query.values(values)?;
            session.query_views(&query.sql, &query.views, only, &values, limits).await
        }
    })
}

/// The first rows of a stream; then it is dropped, which stops the work.
fn limited(mut stream: QueryStream, limit: Option<usize>) -> QueryStream {
    let Some(mut left) = limit else { return stream };
    let mut batches = stream.batches;
    stream.batches = async_stream::stream! {
        while left > 0 {
            let Some(batch) = batches.next().await else { break };
            yield batch.map(|batch: RecordBatch| {
                let kept = batch.slice(0, batch.num_rows().min(left));
                left -= kept.num_rows();
                kept
            });
        }
    }
    .boxed();
    stream
}

/// What the caller's own SQL or view did wrong is unprocessable; the rest as everywhere.
pub(super) fn refused(error: mavis_sql::Error) -> Outcome {
    match &error {
        mavis_sql::Error::Invalid { .. } | mavis_sql::Error::Refused { .. } | mavis_sql::Error::Value { .. } => {
            Outcome::new(StatusCode::UNPROCESSABLE_ENTITY, "processing", error.to_string())
        }
        mavis_sql::Error::NoSuchTable { .. } => Outcome::new(StatusCode::NOT_FOUND, "not-found", error.to_string()),
        _ => Outcome::from(error),
    }
}

pub(super) fn told(error: &ApiError) -> Outcome {
    match error.status {
        StatusCode::BAD_REQUEST => Outcome::new(StatusCode::UNPROCESSABLE_ENTITY, "processing", error.message.clone()),
        status => Outcome::new(status, "exception", error.message.clone()),
    }
}

/// Plans a ViewDefinition.
fn planned(json: &mavis_fhir::json::Value<'_>) -> Result<Arc<Plan>, Outcome> {
    let plan = View::parse(json).and_then(|view| Plan::new(&view));
    plan.map(Arc::new).map_err(|error| Outcome::from(&error))
}

/// Planned views by the names that a query gives them.
type Views = HashMap<String, Arc<Plan>>;
