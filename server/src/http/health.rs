use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use serde_json::{Value, json};

use super::CHECK;
use crate::{App, app::Phase};

/// `/health/live` (the process runs) and `/health/ready` (it takes requests and its catalog answers).
pub(super) fn router(app: &App) -> Router {
    Router::new()
        .route("/health/live", get(async || Json(json!({"status": "live"}))))
        .route("/health/ready", get(ready))
        .with_state(app.clone())
}

async fn ready(State(app): State<App>) -> (StatusCode, Json<Value>) {
    let not_ready =
        |reason: &str| (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "not ready", "reason": reason})));
    match app.readiness.phase() {
        Phase::Starting => return not_ready("the server is starting"),
        Phase::Stopping => return not_ready("the server is stopping"),
        Phase::Ready => {}
    }
    match tokio::time::timeout(CHECK, app.catalog.latest_snapshot()).await {
        Ok(Ok(_)) => (StatusCode::OK, Json(json!({"status": "ready"}))),
        Ok(Err(_)) => not_ready("the catalog does not answer"),
        Err(_) => not_ready("the catalog takes too long to answer"),
    }
}
