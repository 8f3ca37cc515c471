use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::CHECK;
use crate::{App, app::Phase};

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `live`, `ready` or `not ready`.
    status: &'static str,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// Whether the process runs
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 200, body = Health)))]
pub(super) async fn live() -> Json<Health> {
    Json(Health { status: "live", reason: None })
}

/// Whether the server takes requests and its catalog answers
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "health",
    responses((status = 200, body = Health), (status = 503, body = Health, description = "Not now; the reason says why"))
)]
pub(super) async fn ready(State(app): State<App>) -> (StatusCode, Json<Health>) {
    let not_ready =
        |reason| (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "not ready", reason: Some(reason) }));
    match app.readiness.phase() {
        Phase::Starting => return not_ready("the server is starting"),
        Phase::Stopping => return not_ready("the server is stopping"),
        Phase::Ready => {}
    }
    match tokio::time::timeout(CHECK, app.catalog.latest_snapshot()).await {
        Ok(Ok(_)) => (StatusCode::OK, Json(Health { status: "ready", reason: None })),
        Ok(Err(_)) => not_ready("the catalog does not answer"),
        Err(_) => not_ready("the catalog takes too long to answer"),
    }
}
