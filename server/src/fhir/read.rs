//! `GET [type]/[id]` and `GET [type]/[id]/_history/[version]` (R4, "http.html", sections "read" and "vread").

use axum::{
    Extension,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use datafusion::{logical_expr::lit, prelude::ident};
use mavis_fhir::ResourceType;
use mavis_types::Principal;

use super::{
    negotiate::Format,
    outcome::Outcome,
    rows::{self, Stored, columns, fetch, frame},
};
use crate::App;

pub(super) async fn read(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path((resource, id)): Path<(String, String)>,
    Query(parameters): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, Outcome> {
    let format = format(&headers, &parameters)?;
    let resource: ResourceType = resource.parse().map_err(|_| Outcome::unknown_type(&resource))?;
    let missing = || Outcome::new(StatusCode::NOT_FOUND, "not-found", format!("there is no such {resource}"));
    if !is_id(&id) {
        return Err(missing());
    }
    let session = app.engine.session(&principal, None).await?;
    if let Some(frame) = frame(&session, &rows::current(resource)).await? {
        let found = frame
            .filter(ident("id").eq(lit(id.as_str())))
            .and_then(|frame| frame.select(columns()))
            .map_err(unplanned)?;
        if let Some(stored) = fetch(&session, found).await?.pop() {
            return Ok(answer(format, &headers, stored));
        }
    }
    // Not there: never, or not any more?
    if let Some(history) = frame(&session, &rows::history(resource)).await? {
        let was = ident("id").eq(lit(id.as_str())).and(ident("__deleted").eq(lit(true)));
        let found = history.filter(was).and_then(|frame| frame.select(columns())).map_err(unplanned)?;
        if !fetch(&session, found).await?.is_empty() {
            return Err(Outcome::new(StatusCode::GONE, "deleted", format!("this {resource} was deleted")));
        }
    }
    Err(missing())
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
    let Some(history) = frame(&session, &rows::history(resource)).await? else { return Err(missing()) };
    let one = ident("id").eq(lit(id.as_str())).and(ident("__version").eq(lit(version)));
    let found = history.filter(one).and_then(|frame| frame.select(columns())).map_err(unplanned)?;
    match fetch(&session, found).await?.pop() {
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

/// Whether a text can be an id (R4, "datatypes.html#id").
fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

fn answer(format: Format, headers: &HeaderMap, stored: Stored) -> Response {
    let etag = format!("W/\"{}\"", stored.version);
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let unchanged = known.is_some_and(|known| known.split(',').any(|tag| tag.trim() == etag || tag.trim() == "*"));
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        format.answer(StatusCode::OK, stored.json.unwrap_or_default())
    };
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    let modified = stored.last_updated.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(modified) = HeaderValue::from_str(&modified) {
        response.headers_mut().insert(header::LAST_MODIFIED, modified);
    }
    response
}

/// A plan that this door made and that does not hold together: a defect of ours, told as one.
pub(super) fn unplanned(error: datafusion::error::DataFusionError) -> mavis_sql::Error {
    mavis_sql::Error::Execution { message: error.strip_backtrace() }
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
