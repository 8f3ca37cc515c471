//! The HTTP door: health without a token, everything else with one.
//!
//! One file per resource: [`sql`] answers queries, [`queries`] long ones, [`rows`] rows by key, [`sources`], [`tables`], [`runs`] and [`events`] tell what there is and
//! what ran, [`metrics`] and [`health`] are for operators. [`openapi`] describes them all from the handlers themselves.
//! [`error`] is the one place that turns errors into statuses. A request gets a number, a span and a count in [`request`].

mod error;
mod events;
mod extract;
mod health;
mod index;
mod metrics;
mod openapi;
mod page;
mod queries;
mod request;
mod rows;
mod runs;
mod sources;
mod sql;
mod tables;

use std::time::Duration;

use axum::{Router, extract::DefaultBodyLimit, middleware, routing::get};
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer,
        predicate::{DefaultPredicate, NotForContentType, Predicate},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use error::pointer;
pub(crate) use error::{ApiError, ErrorBody};
pub(crate) use sql::{Written, encoder_factory, send, text_keys};

use crate::{App, auth::require_token, fhir};

/// How long the readiness check waits for the catalog.
const CHECK: Duration = Duration::from_secs(2);

/// Every route of the door.
pub(crate) fn router(app: &App) -> Router {
    let (open, guarded, description) = described();
    let guarded = guarded
        .route("/openapi.json", get(async move || axum::Json(description)))
        .layer(middleware::from_fn_with_state(app.auth.clone(), require_token));
    let compressed = DefaultPredicate::new().and(NotForContentType::const_new(sql::PARQUET));
    open.merge(guarded)
        .with_state(app.clone())
        .route("/", get(index::index))
        .nest("/fhir", fhir::router(app))
        // The same door, called with a slash at the end of its URL.
        .route_service("/fhir/", fhir::root(app))
        .fallback(error::not_found)
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(middleware::from_fn(request::trace))
        .layer(CompressionLayer::new().compress_when(compressed))
        .layer(DefaultBodyLimit::max(app.config.http.max_body_bytes))
}

/// The routes without a token, those with one, and their description.
fn described() -> (Router<App>, Router<App>, utoipa::openapi::OpenApi) {
    let open = OpenApiRouter::new().routes(routes!(health::live)).routes(routes!(health::ready));
    let guarded = OpenApiRouter::new()
        .routes(routes!(sql::query))
        .routes(routes!(queries::submit, queries::list))
        .routes(routes!(queries::show, queries::remove))
        .routes(routes!(queries::rows))
        .routes(routes!(sources::list))
        .routes(routes!(tables::list))
        .routes(routes!(rows::range::list, rows::read::batch))
        .routes(routes!(rows::past::one))
        .routes(routes!(runs::list, runs::start))
        .routes(routes!(runs::show))
        .routes(routes!(events::watch))
        .routes(routes!(metrics::render));
    let (open, mut described) = open.split_for_parts();
    let (guarded, api) = guarded.split_for_parts();
    described.merge(openapi::guarded(api));
    (open, guarded, openapi::titled(described))
}
