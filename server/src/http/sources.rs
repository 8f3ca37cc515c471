use axum::{Extension, Json, extract::State};
use chrono::{DateTime, Utc};
use mavis_catalog::RunState;
use mavis_sql::knows_source;
use mavis_types::Principal;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{ApiError, ErrorBody, runs::state_word};
use crate::App;

/// Where data comes from.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Source {
    id: String,
    name: String,
    /// The connector's kind, such as `postgres` or `files`.
    kind: String,
    /// The connector's parameters, without secrets; told to engineers only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    params: Option<Value>,
    /// Whether resources keep the ids that the source gives them.
    authoritative: bool,
    /// Tables that were discovered.
    tables: u64,
    last_run: Option<LastRun>,
    #[schema(value_type = String, format = DateTime)]
    created_at: DateTime<Utc>,
    #[schema(value_type = String, format = DateTime)]
    updated_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
struct LastRun {
    state: String,
    #[schema(value_type = String, format = DateTime)]
    at: DateTime<Utc>,
}

impl From<(RunState, DateTime<Utc>)> for LastRun {
    fn from((state, at): (RunState, DateTime<Utc>)) -> Self {
        Self { state: state_word(state), at }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Sources {
    sources: Vec<Source>,
}

/// Registered sources
#[utoipa::path(
    get,
    path = "/api/v1/sources",
    tag = "lake",
    responses((status = 200, body = Sources), (status = 401, body = ErrorBody))
)]
pub(super) async fn list(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
) -> Result<Json<Sources>, ApiError> {
    let mut sources = app.pipeline.sources().await?;
    sources.retain(|summary| knows_source(&principal, summary.source.name.as_str()));
    let shows_params = principal.may_engineer();
    let sources = sources.into_iter().map(|summary| Source {
        id: summary.source.id.to_string(),
        name: summary.source.name.to_string(),
        kind: summary.source.kind,
        params: shows_params.then_some(summary.source.params),
        authoritative: summary.source.authoritative,
        tables: summary.tables,
        last_run: summary.last_run.map(LastRun::from),
        created_at: summary.source.created_at,
        updated_at: summary.source.updated_at,
    });
    Ok(Json(Sources { sources: sources.collect() }))
}
