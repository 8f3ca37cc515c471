use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    App,
    http::{ErrorBody, sql::Column},
    results::{Job, Phase},
};

/// A long query, as its owner is told of it. Never its text, nor a value.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Query {
    id: String,
    /// `queued`, `running`, `completed`, `failed` or `cancelled`.
    #[schema(example = "running")]
    state: &'static str,
    #[schema(value_type = String, format = DateTime)]
    submitted_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime)]
    ended_at: Option<DateTime<Utc>>,
    /// When its rows are deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime)]
    expires_at: Option<DateTime<Utc>>,
    /// Between 0 and 1, as far as it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<f64>,
    /// Rows so far.
    rows: u64,
    /// Bytes on the disk so far.
    bytes: u64,
    /// Once they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    columns: Option<Vec<Column>>,
    /// What went wrong, as a request that waited would have been told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    failure: Option<ErrorBody>,
    /// Where its rows are, once it completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows_at: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Queries {
    pub(super) queries: Vec<Query>,
}

impl Query {
    pub(super) fn of(app: &App, job: &Job) -> Self {
        let phase = job.phase();
        let (state, progress, failure) = match &phase {
            Phase::Queued => ("queued", None, None),
            Phase::Running => ("running", job.query().and_then(|query| app.engine.progress(query)), None),
            Phase::Done { .. } => ("completed", Some(1.0), None),
            Phase::Failed { error, .. } => ("failed", None, Some(error.body())),
            Phase::Cancelled { .. } => ("cancelled", None, None),
        };
        Self {
            id: job.id.to_string(),
            state,
            submitted_at: job.submitted_at,
            ended_at: phase.ended(),
            expires_at: job.expires_at(),
            progress,
            rows: job.rows(),
            bytes: job.bytes(),
            columns: job.schema().map(Column::of),
            failure,
            rows_at: matches!(phase, Phase::Done { .. }).then(|| format!("/api/v1/queries/{}/rows", job.id)),
        }
    }
}
