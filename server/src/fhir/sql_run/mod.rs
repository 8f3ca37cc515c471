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
use axum::{
    Extension,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use futures::StreamExt;
use mavis_fhir::view::{Plan, View, ViewError};
use mavis_sql::QueryStream;
use mavis_types::Principal;

use self::{request::Asked, subject::Subject};
use super::outcome::Outcome;
use crate::{
    App,
    auth::Door,
    http::{ApiError, send},
    query_log::QueryLog,
};

/// GET, when all parameters are primitive.
pub(super) async fn get(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Query(parameters): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, Outcome> {
    run(&app, &principal, Asked::of_query(&parameters)?, &headers).await
}

pub(super) async fn post(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Query(parameters): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Outcome> {
    let mut asked = Asked::of_query(&parameters)?;
    asked.read_body(&headers, &body)?;
    run(&app, &principal, asked, &headers).await
}

/// `ViewDefinition/[id]/$viewdefinition-run`, of version 2.
pub(super) async fn get_stored(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
    Query(parameters): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, Outcome> {
    let mut asked = Asked::of_query(&parameters)?;
    asked.refer(format!("ViewDefinition/{id}"))?;
    run(&app, &principal, asked, &headers).await
}

/// As [`get_stored`].
pub(super) async fn post_stored(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
    Query(parameters): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Outcome> {
    let mut asked = Asked::of_query(&parameters)?;
    asked.read_body(&headers, &body)?;
    asked.refer(format!("ViewDefinition/{id}"))?;
    run(&app, &principal, asked, &headers).await
}

async fn run(app: &App, principal: &Principal, asked: Asked, headers: &HeaderMap) -> Result<Response, Outcome> {
    let written = asked.written(headers)?;
    let asked = Arc::new(asked);
    let session = app.engine.session(principal, None).await?;
    let subject = subject::find(app, &session, &asked).await?;
    if !asked.resources.is_empty() && !matches!(subject, Subject::View(_)) {
        return Err(Outcome::invalid("`resource` goes with a ViewDefinition: a query runs over what is stored"));
    }
    let patients = patients::named(&session, &asked).await?;
    // The text in the audit: no SQL, and nothing of the request's resources.
    let log = QueryLog::begin(app, principal, Door::Fhir, subject.audited());
    let queried = match &subject {
        Subject::View(plan) if !asked.resources.is_empty() => {
            // Much work may come with a request: it is done beside the threads that answer.
            let (plan, asked) = (Arc::clone(plan), Arc::clone(&asked));
            let made = tokio::task::spawn_blocking(move || inline::rows(plan, &asked, patients.as_deref())).await;
            Ok(made.map_err(|error| told(&ApiError::internal(&error)))??)
        }
        Subject::View(plan) => {
            let only = patients::conditions(&asked, patients.as_deref());
            match session.view(Arc::clone(plan), only).await {
                Ok(frame) => session.run(frame, None).await,
                Err(error) => Err(error),
            }
        }
        Subject::Query(query) => {
            let only = patients::conditions(&asked, patients.as_deref());
            let values = query.values(&asked.values)?;
            session.query_views(&query.sql, &query.views, &only, &values, None).await
        }
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
fn refused(error: mavis_sql::Error) -> Outcome {
    match &error {
        mavis_sql::Error::Invalid { .. } | mavis_sql::Error::Refused { .. } => {
            Outcome::new(StatusCode::UNPROCESSABLE_ENTITY, "processing", error.to_string())
        }
        mavis_sql::Error::NoSuchTable { .. } => Outcome::new(StatusCode::NOT_FOUND, "not-found", error.to_string()),
        _ => Outcome::from(error),
    }
}

fn told(error: &ApiError) -> Outcome {
    match error.status {
        StatusCode::BAD_REQUEST => Outcome::new(StatusCode::UNPROCESSABLE_ENTITY, "processing", error.message.clone()),
        status => Outcome::new(status, "exception", error.message.clone()),
    }
}

/// A view that is not valid, or that has no answer for the data: 422.
pub(super) fn unprocessable(error: &ViewError) -> Outcome {
    let message = match error {
        ViewError::Arrow(_) => "the view could not be computed".to_owned(),
        error => format!("the view is not valid: {error}"),
    };
    Outcome::new(StatusCode::UNPROCESSABLE_ENTITY, "processing", message)
}

/// Plans a ViewDefinition.
fn planned(json: &mavis_fhir::json::Value<'_>) -> Result<Arc<Plan>, Outcome> {
    let plan = View::parse(json).and_then(|view| Plan::new(&view));
    plan.map(Arc::new).map_err(|error| unprocessable(&error))
}

/// Planned views by the names that a query gives them.
type Views = HashMap<String, Arc<Plan>>;
