//! The FHIR door, below `/fhir` of the HTTP door: FHIR R4 (4.0.1) REST, read-only.
//!
//! A request pins one published snapshot of the lake; the pages of a search carry it, signed, so that a walk over them sees
//! one state ([`page`]). Resources are answered as they came: their text is stored, not made again. Every error is an
//! OperationOutcome ([`outcome`]).

mod access;
mod bundle;
mod capability;
mod negotiate;
mod outcome;
mod page;
mod read;
mod rows;
mod search;
mod sql_run;
mod views;

use axum::{
    Router, middleware,
    routing::{get, post},
};

use crate::App;

/// Every route of the door, relative to `/fhir`. A token is asked for before all of them but `metadata`.
pub fn router(app: &App) -> Router {
    let guarded = Router::new()
        .route("/", get(search::get_system))
        .route("/_search", post(search::post_system))
        .route("/{type}", get(search::get))
        .route("/{type}/_search", post(search::post))
        .route("/{type}/{id}/{of}", get(search::get_compartment))
        .route("/{type}/{id}/{of}/_search", post(search::post_compartment))
        .route("/{type}/{id}", get(read::read))
        .route("/{type}/{id}/_history/{version}", get(read::vread))
        .route("/$sql-run", get(sql_run::get).post(sql_run::post))
        .route("/$viewdefinition-run", get(sql_run::get).post(sql_run::post))
        .route("/$sqlquery-run", get(sql_run::get).post(sql_run::post))
        .route("/ViewDefinition", get(views::search).post(views::create))
        .route("/ViewDefinition/{id}", get(views::read).put(views::update).delete(views::delete))
        .route("/ViewDefinition/$viewdefinition-run", get(sql_run::get).post(sql_run::post))
        .route("/ViewDefinition/$run", get(sql_run::get).post(sql_run::post))
        .route("/ViewDefinition/{id}/$viewdefinition-run", get(sql_run::get_stored).post(sql_run::post_stored))
        .route("/ViewDefinition/{id}/$run", get(sql_run::get_stored).post(sql_run::post_stored))
        .fallback(outcome::not_found)
        .method_not_allowed_fallback(outcome::not_allowed)
        .layer(middleware::from_fn_with_state(app.auth.clone(), access::require_token));
    Router::new().route("/metadata", get(capability::metadata)).merge(guarded).with_state(app.clone())
}
