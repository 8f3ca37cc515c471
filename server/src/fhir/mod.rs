//! The FHIR door, below `/fhir` of the HTTP door.

use axum::Router;

use crate::App;

/// Every route of the door, relative to `/fhir`. It puts [`crate::auth::require_token`] before all of them but
/// `metadata`.
pub fn router(app: &App) -> Router {
    Router::new().with_state(app.clone())
}
