//! What the audit says of a request: who, which interaction, of what, by which parameters, how many resources, allowed or
//! not. Values of parameters are patient data and are never in it; the id of a resource that is read by it is.

use axum::{
    extract::{MatchedPath, Request, State},
    http::{Method, StatusCode},
    middleware::Next,
    response::Response,
};
use mavis_catalog::NewAudit;
use mavis_types::Principal;
use url::form_urlencoded;

use crate::{App, auth::Door};

/// Parameters that are named at most, and bytes of one name.
const MOST_NAMES: usize = 20;
const LONGEST_NAME: usize = 64;

/// What a handler knows of its answer beside its bytes; it lies in the extensions of the response.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    /// Resources in the answer.
    pub(super) rows: u64,
    /// Names of the parameters, where they came in a body.
    pub(super) names: Option<String>,
}

impl Answered {
    /// Marks an answer.
    pub(super) fn mark(mut response: Response, rows: usize) -> Response {
        response.extensions_mut().insert(Self { rows: rows as u64, names: None });
        response
    }

    /// Marks the answer to a search whose parameters are known.
    pub(super) fn mark_search(mut response: Response, rows: usize, parameters: &[(String, String)]) -> Response {
        let names = names(given(parameters));
        response.extensions_mut().insert(Self { rows: rows as u64, names: Some(names) });
        response
    }
}

/// Audits a request once it is answered. What stands further out has found out who asks.
pub(super) async fn noted(State(app): State<App>, request: Request, next: Next) -> Response {
    let principal = request.extensions().get::<Principal>().map(|principal| principal.name.clone());
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let response = next.run(request).await;
    let (Some(actor), Some(action)) = (principal, route.and_then(|route| action(&method, &route))) else {
        return response;
    };
    let status = response.status();
    let answered = response.extensions().get::<Answered>();
    let rows = match answered {
        Some(answered) => Some(answered.rows),
        None if matches!(action, "fhir.read" | "fhir.vread") => Some(u64::from(status == StatusCode::OK)),
        None => None,
    };
    let query = uri.query().unwrap_or_default().as_bytes();
    let names = match answered.and_then(|answered| answered.names.clone()) {
        Some(names) => names,
        None => {
            let pairs: Vec<(String, String)> = form_urlencoded::parse(query).into_owned().collect();
            names(given(&pairs))
        }
    };
    let path = uri.path().trim_start_matches('/');
    let path: String = path.chars().take(200).collect();
    let object = if names.is_empty() { path } else { format!("{path}?{names}") };
    let allowed = status != StatusCode::FORBIDDEN;
    let door = Door::Fhir.as_str().to_owned();
    app.reads.line(NewAudit { actor, action: action.to_owned(), object, allowed, door, rows }).await;
    response
}

/// Names of parameters that have a value: a name alone may be a value that lost its name.
fn given(parameters: &[(String, String)]) -> impl Iterator<Item = &str> {
    parameters.iter().filter(|(_, value)| !value.is_empty()).map(|(name, _)| name.as_str())
}

/// Names of parameters, each once. What cannot be a name is somebody's value at the wrong place.
fn names<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let is_name = |name: &&str| {
        !name.is_empty()
            && name.len() <= LONGEST_NAME
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b':' | b'.'))
    };
    let mut found: Vec<&str> = Vec::new();
    for name in names.filter(is_name).filter(|name| *name != "_page") {
        if !found.contains(&name) && found.len() < MOST_NAMES {
            found.push(name);
        }
    }
    found.join("&")
}

/// The interaction of a route; `None` for what is audited elsewhere (rows of views and queries, as other queries are) or
/// tells nothing about anybody.
fn action(method: &Method, route: &str) -> Option<&'static str> {
    // The door itself is called with a slash at its end too.
    let route = route.trim_start_matches("/fhir").trim_end_matches('/');
    let operation = route.rsplit('/').next().filter(|last| last.starts_with('$'));
    if let Some(operation) = operation {
        return Some(match operation {
            "$everything" => "fhir.everything",
            "$export" => "fhir.export",
            "$import" => "fhir.import",
            "$expand" => "fhir.expand",
            "$validate-code" => "fhir.validate_code",
            "$lookup" => "fhir.lookup",
            "$translate" => "fhir.translate",
            "$erase" => "fhir.erase",
            _ => return None,
        });
    }
    let get = *method == Method::GET || *method == Method::HEAD;
    Some(match route {
        "" if get => "fhir.search",
        "" => "fhir.bundle",
        route if route.ends_with("/_search") => "fhir.search",
        route if route.ends_with("/_history/{version}") => "fhir.vread",
        route if route.ends_with("_history") => "fhir.history",
        "/_export/{id}/{file}" | "/_sql-export/{id}/{file}" => "fhir.export.file",
        route if route.starts_with("/_") => return None,
        route if route.starts_with("/ViewDefinition") => {
            return (!get).then_some("fhir.view");
        }
        "/{type}/{id}/{of}" => "fhir.search",
        "/{type}" if get => "fhir.search",
        "/{type}/{id}" if get => "fhir.read",
        _ if *method == Method::POST => "fhir.create",
        _ if *method == Method::PUT => "fhir.update",
        _ if *method == Method::DELETE => "fhir.delete",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Method::GET, "/fhir/{type}/{id}", Some("fhir.read"))]
    #[case(Method::GET, "/{type}/{id}/_history/{version}", Some("fhir.vread"))]
    #[case(Method::GET, "/{type}", Some("fhir.search"))]
    #[case(Method::POST, "/{type}/_search", Some("fhir.search"))]
    #[case(Method::GET, "/_history", Some("fhir.history"))]
    #[case(Method::GET, "/Patient/{id}/$everything", Some("fhir.everything"))]
    #[case(Method::POST, "/", Some("fhir.bundle"))]
    #[case(Method::GET, "/fhir//", Some("fhir.search"))]
    #[case(Method::DELETE, "/{type}/{id}", Some("fhir.delete"))]
    #[case(Method::GET, "/_export/{id}", None)]
    #[case(Method::GET, "/_export/{id}/{file}", Some("fhir.export.file"))]
    #[case(Method::POST, "/$sql-run", None)]
    fn interactions_are_told_by_their_routes(
        #[case] method: Method,
        #[case] route: &str,
        #[case] expected: Option<&str>,
    ) {
        assert_eq!(action(&method, route), expected);
    }

    #[rstest]
    #[case(&["name", "birthdate:missing", "name"], "name&birthdate:missing")]
    #[case(&["Jean Dupont", "_has:Observation:patient:code"], "_has:Observation:patient:code")]
    #[case(&["_page"], "")]
    fn only_names_are_named(#[case] given: &[&str], #[case] expected: &str) {
        assert_eq!(names(given.iter().copied()), expected);
    }
}
