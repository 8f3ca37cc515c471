//! SMART scopes at the door: which interaction a request is, and whether a scope allows it.
//!
//! The letter of the interaction (SMART App Launch 2, "Scopes for requesting FHIR resources") is looked for among the scopes
//! that are about the type; without one the answer is 403, which says nothing of what is there. Reads and searches go on with
//! only the scopes that have the letter: the guard hides what those are not about, in every table that the request leads to
//! (chains, `_has`, includes). What is written is held against the scopes by the pipeline, before and after.
//!
//! | interaction | letter |
//! |---|---|
//! | read, vread, history of a resource | `r` |
//! | search, history of a type and of everything, `$everything`, `$export`, `$sql-run` and its like | `s` |
//! | create, update, delete | `c`, `u`, `d`; with `s` where a condition says which resource |
//! | terminology (`$expand`, `$lookup`, ...) | `r` or `s` of the type |
//! | `$import`, `$erase`, storing ViewDefinitions | none: not with SMART scopes |

use std::sync::Arc;

use axum::{
    Json,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use mavis_fhir::ResourceType;
use mavis_types::Principal;
use serde_json::{Value, json};

use super::{outcome::Outcome, rows::current};
use crate::App;

/// What a request needs.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Need {
    /// Nothing that scopes are about, or what the handler looks after itself.
    Nothing,
    /// One of these letters, for this type or for any.
    Reading(&'static str, Option<String>),
    /// All of these letters, for this type.
    Writing(&'static str, String),
    /// An administrator, whom scopes do not make.
    Administering,
}

/// Lets a request through whose interaction the caller's scopes allow.
pub(super) async fn scoped(mut request: Request, next: Next) -> Response {
    let limited = request.extensions().get::<Principal>().filter(|principal| principal.smart.is_some());
    let Some(principal) = limited.cloned() else { return next.run(request).await };
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned()).unwrap_or_default();
    let need = need(request.method(), &route, request.uri().path(), request.uri().query(), request.headers());
    match allowed(principal, need) {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(outcome) => outcome.into_response(),
    }
}

/// The principal with the scopes that the interaction needs.
fn allowed(principal: Principal, need: Need) -> Result<Principal, Outcome> {
    let Some(smart) = principal.smart.clone() else { return Ok(principal) };
    match need {
        Need::Nothing => Ok(principal),
        Need::Administering => Err(forbidden("this is not done with a token that SMART scopes limit")),
        Need::Reading(letters, resource) => {
            let only = smart.only(letters);
            let is_about = match &resource {
                Some(resource) => only.about(resource, letters).next().is_some(),
                None => !only.scopes.is_empty(),
            };
            if !is_about {
                return Err(not_allowed(letters, resource.as_deref()));
            }
            Ok(Principal { smart: Some(Arc::new(only)), ..principal })
        }
        Need::Writing(letters, resource) => {
            if let Some(letter) =
                letters.split("").find(|letter| !letter.is_empty() && smart.about(&resource, letter).next().is_none())
            {
                return Err(not_allowed(letter, Some(&resource)));
            }
            Ok(principal)
        }
    }
}

fn forbidden(message: impl Into<String>) -> Outcome {
    Outcome::new(StatusCode::FORBIDDEN, "forbidden", message)
}

fn not_allowed(letters: &str, resource: Option<&str>) -> Outcome {
    let words: Vec<&str> = letters
        .chars()
        .map(|letter| match letter {
            'c' => "create",
            'r' => "read",
            'u' => "update",
            'd' => "delete",
            _ => "search",
        })
        .collect();
    let words = words.join(" or ");
    // The name is the caller's own, and can be anything.
    let of: String = resource.unwrap_or("anything").chars().take(64).collect();
    forbidden(format!("no SMART scope of the token allows to {words} {of}"))
}

/// Whether the caller may write a type at all: an administrator, or whoever has a scope with the letters for it and sees the
/// type's resources as they are. What the scopes do not show is looked after by the pipeline.
pub(super) fn may_write(principal: &Principal, resource: ResourceType, letters: &str) -> Result<(), Outcome> {
    let Some(smart) = &principal.smart else {
        return if principal.may_administer() {
            Ok(())
        } else {
            Err(forbidden("writing resources needs the role `admin`, or SMART scopes that allow it"))
        };
    };
    if let Some(letter) =
        letters.chars().find(|letter| smart.about(resource.name(), letter.encode_utf8(&mut [0; 4])).next().is_none())
    {
        return Err(not_allowed(letter.encode_utf8(&mut [0; 4]), Some(resource.name())));
    }
    let table = current(resource);
    let unlimited = Principal { smart: None, ..principal.clone() };
    if unlimited.sees_whole(&table) {
        return Ok(());
    }
    Err(forbidden(format!("whoever writes {resource} sees all of it: something of it is not granted here, or hidden")))
}

/// What a request needs, by its route.
fn need(method: &Method, route: &str, path: &str, query: Option<&str>, headers: &HeaderMap) -> Need {
    // The door itself is called with a slash at its end too.
    let route = route.strip_prefix("/fhir").unwrap_or(route).trim_end_matches('/');
    let path = path.strip_prefix("/fhir").unwrap_or(path);
    let part = |index: usize| path.trim_matches('/').split('/').nth(index).unwrap_or_default().to_owned();
    let get = *method == Method::GET || *method == Method::HEAD;
    let operation = route.rsplit('/').next().filter(|last| last.starts_with('$'));
    match operation {
        Some("$everything") => return Need::Reading("s", Some("Patient".to_owned())),
        Some("$import" | "$erase") => return Need::Administering,
        Some("$expand" | "$validate-code" | "$lookup" | "$translate") => return Need::Reading("rs", Some(part(0))),
        Some(_) => return Need::Reading("s", None),
        None => {}
    }
    match route {
        "" if get => Need::Reading("s", None),
        // Each entry is held against the scopes for itself.
        "" => Need::Nothing,
        "/_search" | "/_history" => Need::Reading("s", None),
        "/{type}/_search" | "/{type}/_history" => Need::Reading("s", Some(part(0))),
        "/{type}/{id}/{of}" | "/{type}/{id}/{of}/_search" => match part(2).as_str() {
            "*" => Need::Reading("s", None),
            of => Need::Reading("s", Some(of.to_owned())),
        },
        "/{type}/{id}/_history" | "/{type}/{id}/_history/{version}" => Need::Reading("r", Some(part(0))),
        route if route.starts_with("/_import") => Need::Administering,
        // Whose an export is, is asked there.
        route if route.starts_with("/_") => Need::Nothing,
        route if route.starts_with("/ViewDefinition") && !get => Need::Administering,
        // They are shown to whoever may read the resources that they are about.
        route if route.starts_with("/ViewDefinition") => Need::Reading("rs", None),
        "/{type}" | "/{type}/{id}" => {
            let has_condition = query.is_some_and(|query| !query.is_empty());
            let letters = match (method.as_str(), route) {
                ("GET" | "HEAD", "/{type}") => return Need::Reading("s", Some(part(0))),
                ("GET" | "HEAD", _) => return Need::Reading("r", Some(part(0))),
                ("POST", _) if headers.contains_key("if-none-exist") => "cs",
                ("POST", _) => "c",
                ("PUT", "/{type}") if has_condition => "us",
                ("PUT", _) => "u",
                ("DELETE", "/{type}") => "ds",
                ("DELETE", _) => "d",
                _ => return Need::Nothing,
            };
            Need::Writing(letters, part(0))
        }
        // A route that is not known here is not open to scopes.
        _ => Need::Administering,
    }
}

/// `GET .well-known/smart-configuration`: what clients of SMART on FHIR ask first ("Conformance").
pub(super) async fn configuration(State(app): State<App>) -> Json<Value> {
    let mut told = json!({
        "grant_types_supported": ["authorization_code", "client_credentials"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": [
            "patient/*.cruds", "user/*.cruds", "system/*.cruds", "patient/*.read", "user/*.read", "system/*.read",
            "patient/*.write", "user/*.write", "system/*.write", "launch/patient", "openid", "fhirUser",
        ],
        "capabilities": ["permission-patient", "permission-user", "permission-v1", "permission-v2"],
    });
    // Tokens come from the issuer: it tells where to get them. Of several issuers, a client asks the one that it knows.
    if let [issuer] = app.config.oidc.as_slice() {
        told["issuer"] = json!(issuer.issuer);
        if let Some(endpoints) = app.auth.issuers().endpoints(&issuer.issuer) {
            told["jwks_uri"] = json!(endpoints.jwks);
            for (name, place) in [
                ("authorization_endpoint", endpoints.authorization),
                ("token_endpoint", endpoints.token),
                ("introspection_endpoint", endpoints.introspection),
                ("revocation_endpoint", endpoints.revocation),
            ] {
                if let Some(place) = place {
                    told[name] = json!(place);
                }
            }
        }
    }
    Json(told)
}

#[cfg(test)]
mod tests {
    use mavis_types::{Role, Scope, Smart, TokenId};
    use rstest::rstest;

    use super::*;

    fn of(method: &str, route: &str, path: &str) -> Need {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        need(&method.parse().unwrap(), route, path, query, &HeaderMap::new())
    }

    fn reading(letters: &'static str, resource: &str) -> Need {
        Need::Reading(letters, (!resource.is_empty()).then(|| resource.to_owned()))
    }

    #[rstest]
    #[case("GET", "/{type}/{id}", "/Patient/7", reading("r", "Patient"))]
    #[case("GET", "/fhir/{type}/{id}", "/fhir/Patient/7", reading("r", "Patient"))]
    #[case("HEAD", "/{type}/{id}", "/Patient/7", reading("r", "Patient"))]
    #[case("GET", "/{type}/{id}/_history/{version}", "/Patient/7/_history/1", reading("r", "Patient"))]
    #[case("GET", "/{type}/{id}/_history", "/Patient/7/_history", reading("r", "Patient"))]
    #[case("GET", "/{type}/_history", "/Patient/_history", reading("s", "Patient"))]
    #[case("GET", "/_history", "/_history", reading("s", ""))]
    #[case("GET", "/{type}", "/Observation", reading("s", "Observation"))]
    #[case("POST", "/{type}/_search", "/Observation/_search", reading("s", "Observation"))]
    #[case("GET", "/", "/", reading("s", ""))]
    #[case("GET", "/fhir//", "/", reading("s", ""))]
    #[case("POST", "/_search", "/_search", reading("s", ""))]
    #[case("GET", "/{type}/{id}/{of}", "/Patient/7/Observation", reading("s", "Observation"))]
    #[case("GET", "/{type}/{id}/{of}", "/Patient/7/*", reading("s", ""))]
    #[case("GET", "/Patient/{id}/$everything", "/Patient/7/$everything", reading("s", "Patient"))]
    #[case("GET", "/Group/{id}/$export", "/Group/7/$export", reading("s", ""))]
    #[case("POST", "/$sql-run", "/$sql-run", reading("s", ""))]
    #[case("GET", "/ValueSet/$expand", "/ValueSet/$expand", reading("rs", "ValueSet"))]
    #[case("GET", "/ViewDefinition/{id}", "/ViewDefinition/7", reading("rs", ""))]
    #[case("PUT", "/ViewDefinition/{id}", "/ViewDefinition/7", Need::Administering)]
    #[case("POST", "/$import", "/$import", Need::Administering)]
    #[case("POST", "/Patient/{id}/$erase", "/Patient/7/$erase", Need::Administering)]
    #[case("DELETE", "/_import/{id}", "/_import/7", Need::Administering)]
    #[case("GET", "/_export/{id}", "/_export/7", Need::Nothing)]
    #[case("POST", "/", "/", Need::Nothing)]
    #[case("POST", "/{type}", "/Patient", Need::Writing("c", "Patient".to_owned()))]
    #[case("PUT", "/{type}/{id}", "/Patient/7", Need::Writing("u", "Patient".to_owned()))]
    #[case("PUT", "/{type}", "/Patient?identifier=a", Need::Writing("us", "Patient".to_owned()))]
    #[case("DELETE", "/{type}/{id}", "/Patient/7", Need::Writing("d", "Patient".to_owned()))]
    #[case("DELETE", "/{type}", "/Patient?identifier=a", Need::Writing("ds", "Patient".to_owned()))]
    #[case("GET", "/something/new", "/something/new", Need::Administering)]
    fn every_route_has_its_letter(#[case] method: &str, #[case] route: &str, #[case] path: &str, #[case] needs: Need) {
        assert_eq!(of(method, route, path), needs);
    }

    #[rstest]
    #[case("patient/Observation.r", reading("r", "Observation"), Some("patient/Observation.r"))]
    #[case("patient/Observation.r", reading("s", "Observation"), None)]
    #[case("patient/Observation.s", reading("r", "Observation"), None)]
    #[case("patient/Observation.rs", reading("r", "Patient"), None)]
    #[case(
        "patient/Observation.rs?category=a patient/Observation.r",
        reading("s", "Observation"),
        Some("patient/Observation.rs?category=a")
    )]
    #[case("patient/*.cruds", reading("s", ""), Some("patient/*.cruds"))]
    #[case("patient/*.cud", reading("s", ""), None)]
    #[case("patient/*.cruds", Need::Administering, None)]
    #[case("patient/Observation.c", Need::Writing("c", "Observation".to_owned()), Some("patient/Observation.c"))]
    #[case("patient/Observation.c", Need::Writing("cs", "Observation".to_owned()), None)]
    #[case("patient/Observation.cs", Need::Writing("cs", "Observation".to_owned()), Some("patient/Observation.cs"))]
    #[case("patient/Observation.cud", Need::Writing("u", "Patient".to_owned()), None)]
    fn a_request_goes_on_with_the_scopes_that_allow_it(
        #[case] scopes: &str,
        #[case] needs: Need,
        #[case] left: Option<&str>,
    ) {
        let mut principal = Principal::new(TokenId::new(), "app", Role::Reader, Scope::All);
        principal.smart = Some(Arc::new(Smart::parse(scopes, "p").unwrap()));
        let allowed = allowed(principal, needs).map(|principal| principal.smart.unwrap().to_text());
        match (allowed, left) {
            (Ok(allowed), Some(left)) => assert_eq!(allowed, left),
            (Err(outcome), None) => assert_eq!(outcome.status(), StatusCode::FORBIDDEN),
            (allowed, left) => panic!("{:?} in the place of {left:?}", allowed.map_err(|outcome| outcome.to_json())),
        }
    }
}
