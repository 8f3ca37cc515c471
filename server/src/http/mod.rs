//! The HTTP door: health without a token, everything else with one.

mod error;
mod health;

use std::time::Duration;

use axum::{Router, extract::DefaultBodyLimit, middleware};
use tower_http::{catch_panic::CatchPanicLayer, compression::CompressionLayer};

pub use error::ApiError;

use crate::{App, auth::require_token, fhir};

/// How long the readiness check waits for the catalog.
const CHECK: Duration = Duration::from_secs(2);

/// Every route of the door.
pub fn router(app: &App) -> Router {
    let open = health::router(app);
    let guarded = Router::new().layer(middleware::from_fn_with_state(app.auth.clone(), require_token));
    open.merge(guarded)
        .nest("/fhir", fhir::router(app))
        .fallback(error::not_found)
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(CompressionLayer::new())
        .layer(DefaultBodyLimit::max(app.config.http.max_body_bytes))
}
