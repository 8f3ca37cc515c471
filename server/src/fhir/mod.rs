//! The FHIR door, below `/fhir` of the HTTP door: FHIR R4 (4.0.1) REST.
//!
//! A request pins one published snapshot of the lake; the pages of a search carry it, signed, so that a walk over them sees
//! one state ([`page`]). Resources are answered as they came: their text is stored, not made again. Every error is an
//! OperationOutcome ([`outcome`]).

mod access;
mod audit;
mod base;
mod bundle;
mod call;
mod capability;
mod conditional;
mod erase;
mod everything;
mod export;
mod history;
mod import;
mod negotiate;
mod outcome;
mod page;
mod query;
mod read;
mod rows;
mod search;
mod smart;
mod sql_export;
mod sql_run;
mod terminology;
mod views;
mod write;

use axum::{
    Router, middleware,
    routing::{MethodRouter, get, post},
};
use tower_http::catch_panic::CatchPanicLayer;

use crate::App;

pub use export::Exports;

/// Content type and body for a request that is too long to be read.
pub(crate) fn too_long(message: &str) -> (&'static str, String) {
    (outcome::FHIR_JSON, outcome::issue("error", "too-long", message).to_string())
}

/// Every route of the door, relative to `/fhir`. A token is asked for before all of them but `metadata` and
/// `.well-known/smart-configuration`.
pub fn router(app: &App) -> Router {
    let guarded = audited(app).layer(middleware::from_fn_with_state(app.auth.clone(), access::require_token));
    Router::new()
        .route("/metadata", get(capability::metadata))
        .route("/.well-known/smart-configuration", get(smart::configuration))
        .merge(guarded)
        .layer(middleware::from_fn(query::is_text))
        .layer(CatchPanicLayer::custom(outcome::panicked))
        .layer(middleware::from_fn(outcome::always))
        .with_state(app.clone())
}

/// `/fhir/` itself, for a path that ends there.
pub fn root(
    app: &App,
) -> impl tower::Service<
    axum::extract::Request,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send,
> + Clone
+ Send
+ Sync
+ 'static {
    let door = router(app);
    tower::service_fn(move |mut request: axum::extract::Request| {
        let query = request.uri().query().map(|query| format!("/?{query}"));
        if let Ok(uri) = query.as_deref().unwrap_or("/").parse() {
            *request.uri_mut() = uri;
        }
        tower::ServiceExt::oneshot(door.clone(), request)
    })
}

/// The routes that need a token, for whoever has shown one: entries of a batch.
fn unguarded(app: &App) -> Router {
    let open = Router::new().route("/metadata", get(capability::metadata));
    open.merge(audited(app)).layer(middleware::from_fn(outcome::always)).with_state(app.clone())
}

/// Every route but the open ones; what is done through them is held against SMART scopes and audited.
fn audited(app: &App) -> Router<App> {
    routes().layer(middleware::from_fn(smart::scoped)).layer(middleware::from_fn_with_state(app.clone(), audit::noted))
}

fn routes() -> Router<App> {
    Router::new()
        .route("/", get(search::get_system).post(write::transaction::bundle))
        .route("/_search", post(search::post_system))
        .route("/{type}", get(search::get).post(write::create).put(write::update_where).delete(write::delete_where))
        .route("/{type}/_search", post(search::post))
        .route("/{type}/{id}", get(read::read).put(write::update).delete(write::delete))
        .route("/{type}/{id}/{of}", get(search::get_compartment))
        .route("/{type}/{id}/{of}/_search", post(search::post_compartment))
        .route("/Patient/{id}/$everything", get(everything::everything))
        .route("/Patient/{id}/$erase", post(erase::patient))
        .route("/$export", get(export::system).post(export::system))
        .route("/Patient/$export", get(export::patients).post(export::patients))
        .route("/Group/{id}/$export", get(export::group).post(export::group))
        .route("/_export/{id}", get(export::status).delete(export::cancel))
        .route("/_export/{id}/{file}", get(export::file))
        .route("/$import", post(import::begin))
        .route("/_import/{id}", get(import::status).delete(import::cancel))
        .route("/ValueSet/$expand", get(terminology::expand).post(terminology::expand))
        .route("/ValueSet/{id}/$expand", get(terminology::expand).post(terminology::expand))
        .route("/ValueSet/$validate-code", in_value_set())
        .route("/ValueSet/{id}/$validate-code", in_value_set())
        .route("/CodeSystem/$lookup", get(terminology::lookup).post(terminology::lookup))
        .route("/CodeSystem/$validate-code", in_system())
        .route("/CodeSystem/{id}/$validate-code", in_system())
        .route("/ConceptMap/$translate", get(terminology::translate).post(terminology::translate))
        .route("/ConceptMap/{id}/$translate", get(terminology::translate).post(terminology::translate))
        .route("/_history", get(history::of_system))
        .route("/{type}/_history", get(history::of_type))
        .route("/{type}/{id}/_history", get(history::of_instance))
        .route("/{type}/{id}/_history/{version}", get(read::vread))
        .route("/$sql-run", get(sql_run::run).post(sql_run::run))
        .route("/$viewdefinition-run", get(sql_run::run).post(sql_run::run))
        .route("/$sqlquery-run", get(sql_run::run).post(sql_run::run))
        .route("/$sql-export", post(sql_export::begin))
        .route("/$viewdefinition-export", post(sql_export::begin))
        .route("/$sqlquery-export", post(sql_export::begin))
        .route("/_sql-export/{id}", get(sql_export::status).delete(sql_export::cancel))
        .route("/_sql-export/{id}/result", get(sql_export::result))
        .route("/_sql-export/{id}/{file}", get(sql_export::file))
        .route("/ViewDefinition", get(views::search).post(views::create))
        .route("/ViewDefinition/{id}", get(views::read).put(views::update).delete(views::delete))
        .route("/ViewDefinition/$viewdefinition-run", get(sql_run::run).post(sql_run::run))
        .route("/ViewDefinition/$run", get(sql_run::run).post(sql_run::run))
        .route("/ViewDefinition/{id}/$viewdefinition-run", get(sql_run::run_stored).post(sql_run::run_stored))
        .route("/ViewDefinition/{id}/$run", get(sql_run::run_stored).post(sql_run::run_stored))
        .fallback(outcome::not_found)
        .method_not_allowed_fallback(outcome::not_allowed)
}

fn in_value_set() -> MethodRouter<App> {
    get(terminology::validate_in_value_set).post(terminology::validate_in_value_set)
}

fn in_system() -> MethodRouter<App> {
    get(terminology::validate_in_system).post(terminology::validate_in_system)
}
