//! `_history` of a resource, of a type, and of the whole server (R4, "http.html", section "history").
//!
//! The pages of a history see one published snapshot, as those of a search do. Newest versions come first; versions of one
//! moment by type and id. A deletion is an entry without a resource.

mod bundle;
mod query;

use axum::{
    Extension,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use mavis_fhir::{ResourceType, temporal};
use mavis_types::Principal;
use url::form_urlencoded;

use self::query::{Asked, Mark};
use super::{
    audit::Answered, base::base, negotiate::Format, outcome::Outcome, page::Place, read::missing, rows::is_id,
};
use crate::App;

/// Versions on a page where the request does not say, and at most.
const DEFAULT_COUNT: usize = 50;
const MAX_COUNT: usize = 1_000;

const PAGE: &str = "_page";

type Parameters = Vec<(String, String)>;

pub(super) async fn of_instance(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path((resource, id)): Path<(String, String)>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, Outcome> {
    let resource: ResourceType = resource.parse().map_err(|_| Outcome::unknown_type(&resource))?;
    if !is_id(&id) {
        return Err(missing(resource));
    }
    let place = format!("{resource}/{id}");
    answer(&app, &principal, &headers, parameters, Level { place, resource: Some(resource), id: Some(id) }).await
}

pub(super) async fn of_type(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(resource): Path<String>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, Outcome> {
    let resource: ResourceType = resource.parse().map_err(|_| Outcome::unknown_type(&resource))?;
    let level = Level { place: resource.to_string(), resource: Some(resource), id: None };
    answer(&app, &principal, &headers, parameters, level).await
}

pub(super) async fn of_system(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, Outcome> {
    answer(&app, &principal, &headers, parameters, Level { place: String::new(), resource: None, id: None }).await
}

/// What the history is of.
struct Level {
    /// `Patient/7`, `Patient`, or nothing.
    place: String,
    resource: Option<ResourceType>,
    id: Option<String>,
}

async fn answer(
    app: &App,
    principal: &Principal,
    headers: &HeaderMap,
    parameters: Parameters,
    level: Level,
) -> Result<Response, Outcome> {
    let format = Format::of(headers, &parameters)?;
    let mut wanted = Wanted::read(&parameters)?;
    let path = if level.place.is_empty() { "_history".to_owned() } else { format!("{}/_history", level.place) };
    let signed_for = format!("{path}?{}", query_text(&wanted.applied));
    let place = match wanted.page.take() {
        None => None,
        Some(text) => Some(Place::verify(&text, &app.page_key(principal), &signed_for).ok_or_else(|| {
            Outcome::invalid("`_page` was not made by this server for you and this history: start again without it")
        })?),
    };
    let after = match place.as_ref().and_then(|place| place.after_id.as_deref()) {
        None => None,
        Some(text) => Some(Mark::read(text).ok_or_else(|| Outcome::invalid("`_page` cannot be read"))?),
    };
    let snapshot = match &place {
        Some(place) => Some(place.snapshot),
        None => app.engine.session(principal, None).await?.snapshot(),
    };
    let session = app.engine.session(principal, snapshot).await?;
    let asked = Asked { resource: level.resource, id: level.id.as_deref(), since: wanted.since, at: wanted.at, after };
    let found = query::find(app, &session, &asked, wanted.count).await?;
    if let (Some(resource), Some(id), 0, None) = (level.resource, &level.id, found.total, &place)
        && !query::was_ever(&session, resource, id).await?
    {
        return Err(missing(resource));
    }
    let base = base(app, headers);
    let link = |page: Option<&str>| {
        let mut parameters = wanted.applied.clone();
        parameters.extend(page.map(|page| (PAGE.to_owned(), page.to_owned())));
        let query = query_text(&parameters);
        if query.is_empty() { format!("{base}/{path}") } else { format!("{base}/{path}?{query}") }
    };
    let mut links = vec![("self", link(None))];
    if let (Some(mark), Some(snapshot)) = (&found.next, snapshot) {
        let offset = place.as_ref().map_or(0, |place| place.offset) + found.versions.len();
        let next = Place { snapshot, offset, after_id: Some(mark.write()) };
        links.push(("next", link(Some(&next.sign(&app.page_key(principal), &signed_for)))));
    }
    let bundle = bundle::History { base: &base, total: found.total, links, versions: &found.versions };
    let answer = format.answer(StatusCode::OK, bundle.to_json());
    Ok(Answered::mark(answer, found.versions.len()))
}

/// The parameters of a history.
struct Wanted {
    since: Option<i64>,
    at: Option<(i64, i64)>,
    count: usize,
    page: Option<String>,
    /// As they stand in the links.
    applied: Parameters,
}

impl Wanted {
    fn read(parameters: &[(String, String)]) -> Result<Self, Outcome> {
        let mut wanted = Self { since: None, at: None, count: DEFAULT_COUNT, page: None, applied: Vec::new() };
        for (name, value) in parameters {
            let time = || {
                // A `+` that was not encoded has become a blank.
                temporal::parse(&value.replace(' ', "+")).ok_or_else(|| {
                    Outcome::new(StatusCode::BAD_REQUEST, "value", format!("`{name}` is no time that exists"))
                })
            };
            let mut shown = value.clone();
            match name.as_str() {
                "_format" | "_pretty" => continue,
                PAGE => {
                    wanted.page = Some(value.clone());
                    continue;
                }
                "_since" => wanted.since = Some(time()?.start),
                "_at" => {
                    let period = time()?;
                    wanted.at = Some((period.start, period.end));
                }
                "_count" => {
                    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                    if !digits {
                        return Err(Outcome::new(
                            StatusCode::BAD_REQUEST,
                            "value",
                            "`_count` is not a whole number from 0",
                        ));
                    }
                    wanted.count = value.parse().unwrap_or(MAX_COUNT).min(MAX_COUNT);
                    shown = wanted.count.to_string();
                }
                other => {
                    let other: String = other.chars().take(64).collect();
                    let message = format!("a history has no parameter `{other}` here: it takes _since, _at and _count");
                    return Err(Outcome::new(StatusCode::BAD_REQUEST, "not-supported", message));
                }
            }
            if wanted.applied.iter().any(|(known, _)| known == name) {
                return Err(Outcome::invalid(format!("`{name}` stands twice")));
            }
            wanted.applied.push((name.clone(), shown));
        }
        Ok(wanted)
    }
}

fn query_text(parameters: &[(String, String)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("_since", "2024-13-45")]
    #[case("_at", "yesterday")]
    #[case("_count", "-1")]
    #[case("_list", "List/1")]
    #[case("_sort", "date")]
    fn what_cannot_be_applied_is_refused(#[case] name: &str, #[case] value: &str) {
        assert!(Wanted::read(&[(name.to_owned(), value.to_owned())]).is_err());
    }

    #[test]
    fn a_blank_in_a_time_is_a_plus_that_was_not_encoded() {
        let read = |value: &str| Wanted::read(&[("_since".to_owned(), value.to_owned())]).unwrap().since;
        assert_eq!(read("2024-01-01T00:00:00 01:00"), read("2023-12-31T23:00:00Z"));
    }
}
