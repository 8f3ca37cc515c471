//! `GET [type]/[id]` and `GET [type]/[id]/_history/[version]` (R4, "http.html", sections "read" and "vread").

use axum::{
    Extension,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use mavis_fhir::ResourceType;
use mavis_sql::Session;
use mavis_types::Principal;

use super::{
    conditional,
    negotiate::Format,
    outcome::Outcome,
    rows::{self, Stored, is_id},
};
use crate::App;

pub(super) use super::rows::unplanned;

pub(super) async fn read(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path((resource, id)): Path<(String, String)>,
    Query(parameters): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, Outcome> {
    let format = format(&headers, &parameters)?;
    let resource: ResourceType = resource.parse().map_err(|_| Outcome::unknown_type(&resource))?;
    if !is_id(&id) {
        return Err(missing(resource));
    }
    let session = app.engine.session(&principal, None).await?;
    if let Some(stored) = rows::by_id(&session, &rows::current(resource), &id).await?.pop() {
        return Ok(answer(format, &headers, stored));
    }
    // Not there: never, or not any more?
    let versions = rows::by_id(&session, &rows::history(resource), &id).await?;
    match versions.iter().filter(|stored| stored.json.is_none()).max_by_key(|stored| stored.version) {
        Some(deletion) => Ok(gone(resource, deletion)),
        None => Err(missing(resource)),
    }
}

/// A resource as it is now, for whoever has just written it.
pub(super) async fn current_text(
    app: &App,
    principal: &Principal,
    resource: ResourceType,
    id: &str,
) -> Result<Option<String>, mavis_sql::Error> {
    let session = app.engine.session(principal, None).await?;
    Ok(rows::by_id(&session, &rows::current(resource), id).await?.pop().and_then(|stored| stored.json))
}

/// R4, "read": a deleted resource is gone, and the version that says so is told.
fn gone(resource: ResourceType, deletion: &Stored) -> Response {
    let mut response =
        Outcome::new(StatusCode::GONE, "deleted", format!("this {resource} was deleted")).into_response();
    conditional::stamp(response.headers_mut(), deletion.version, deletion.last_updated);
    response
}

/// Of an id that no resource of this type has or had.
pub(super) fn missing(resource: ResourceType) -> Outcome {
    Outcome::new(StatusCode::NOT_FOUND, "not-found", format!("there is no such {resource}"))
}

pub(super) async fn vread(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path((resource, id, version)): Path<(String, String, String)>,
    Query(parameters): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, Outcome> {
    let format = format(&headers, &parameters)?;
    let resource: ResourceType = resource.parse().map_err(|_| Outcome::unknown_type(&resource))?;
    let missing =
        || Outcome::new(StatusCode::NOT_FOUND, "not-found", format!("there is no such version of a {resource}"));
    let version: i64 = version.parse().map_err(|_| missing())?;
    if !is_id(&id) {
        return Err(missing());
    }
    let session = app.engine.session(&principal, None).await?;
    let versions = rows::by_id(&session, &rows::history(resource), &id).await?;
    match versions.into_iter().find(|stored| stored.version == version) {
        None => Err(missing()),
        Some(Stored { json: None, .. }) => {
            Err(Outcome::new(StatusCode::GONE, "deleted", format!("with this version the {resource} was deleted")))
        }
        Some(stored) => Ok(answer(format, &headers, stored)),
    }
}

/// The format of a request whose only parameters may be those of the format.
fn format(headers: &HeaderMap, parameters: &[(String, String)]) -> Result<Format, Outcome> {
    if let Some((name, _)) = parameters.iter().find(|(name, _)| name != "_format" && name != "_pretty") {
        let name: String = name.chars().take(64).collect();
        return Err(Outcome::new(
            StatusCode::BAD_REQUEST,
            "not-supported",
            format!("parameter `{name}` is not supported when one resource is read"),
        ));
    }
    Format::of(headers, parameters)
}

fn answer(format: Format, headers: &HeaderMap, stored: Stored) -> Response {
    let (version, last_updated) = (stored.version, stored.last_updated);
    let mut response = if conditional::is_known(headers, version, last_updated) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        format.answer(StatusCode::OK, stored.json.unwrap_or_default())
    };
    conditional::stamp(response.headers_mut(), version, last_updated);
    response
}

/// What to say of an id that is not there: that it never was, or not any more.
pub(super) async fn absent(session: &Session, resource: ResourceType, id: &str) -> Result<Outcome, mavis_sql::Error> {
    if rows::by_id(session, &rows::history(resource), id).await?.is_empty() {
        return Ok(missing(resource));
    }
    Ok(Outcome::new(StatusCode::GONE, "deleted", format!("this {resource} was deleted")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("a-1.B", true)]
    #[case("", false)]
    #[case("../etc", false)]
    #[case("a b", false)]
    fn ids_are_what_r4_says(#[case] text: &str, #[case] is: bool) {
        assert_eq!(is_id(text), is);
        assert!(!is_id(&"x".repeat(65)));
    }
}
