//! Searches (R4, "search.html"): of one type, of several (`GET /fhir?_type=...`), of a compartment, by GET and POST.
//!
//! Two steps: first the keys of the page, from the columns that filter and sort; then the texts of those few resources, and
//! of what is included with them. All tables are of one published snapshot.

mod asked;
mod concepts;
mod explain;
mod included;
mod matches;
mod of_patient;
pub(super) mod tables;

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    Extension,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use chrono::Utc;
use mavis_fhir::{
    ResourceType,
    search::{self, KnownCodes, Request, Schemas, Search, SearchError, View, compartments, in_compartment_of},
    shape::base_schema,
};
use mavis_types::{Principal, Role, SnapshotId};
use url::form_urlencoded;

use self::{
    asked::{Asked, Scope},
    matches::Part,
    tables::Tables,
};
use super::{
    audit::Answered,
    bundle::{Entry, Mode, Searchset},
    outcome::{self, Outcome},
    page::Place,
    query,
    rows::is_id,
};
use crate::App;

type Parameters = Vec<(String, String)>;

/// `GET [type]?...`
pub(super) async fn get(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(resource): Path<String>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, Outcome> {
    answer(&app, &principal, of_type(&resource)?, parameters, &headers).await
}

/// `POST [type]/_search`
pub(super) async fn post(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(resource): Path<String>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Outcome> {
    let parameters = posted(parameters, &headers, &body)?;
    answer(&app, &principal, of_type(&resource)?, parameters, &headers).await
}

/// `GET /?...`
pub(super) async fn get_system(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, Outcome> {
    answer(&app, &principal, of_system(), parameters, &headers).await
}

/// `POST /_search`
pub(super) async fn post_system(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Outcome> {
    let parameters = posted(parameters, &headers, &body)?;
    answer(&app, &principal, of_system(), parameters, &headers).await
}

/// `GET Patient/[id]/[type]?...`, `GET Encounter/[id]/*?...` and their like
pub(super) async fn get_compartment(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path((compartment, id, resource)): Path<(String, String, String)>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, Outcome> {
    answer(&app, &principal, of_compartment(&compartment, &id, &resource)?, parameters, &headers).await
}

/// `POST Patient/[id]/[type]/_search`
pub(super) async fn post_compartment(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path((compartment, id, resource)): Path<(String, String, String)>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Outcome> {
    let parameters = posted(parameters, &headers, &body)?;
    answer(&app, &principal, of_compartment(&compartment, &id, &resource)?, parameters, &headers).await
}

fn of_type(name: &str) -> Result<Scope, Outcome> {
    let resource: ResourceType = name.parse().map_err(|_| Outcome::unknown_type(name))?;
    Ok(Scope { path: name.to_owned(), types: Some(vec![resource]), compartment: None })
}

fn of_system() -> Scope {
    Scope { path: String::new(), types: None, compartment: None }
}

fn of_compartment(compartment: &str, id: &str, resource: &str) -> Result<Scope, Outcome> {
    let of: ResourceType = compartment.parse().map_err(|_| Outcome::unknown_type(compartment))?;
    if !compartments().any(|known| known == of) {
        let known: Vec<&str> = compartments().map(ResourceType::name).collect();
        let message = format!("there are no compartments of a {of}: there are those of {}", known.join(", "));
        return Err(Outcome::new(StatusCode::NOT_FOUND, "not-supported", message));
    }
    if !is_id(id) {
        return Err(Outcome::new(StatusCode::NOT_FOUND, "not-found", format!("there is no such {of}")));
    }
    let types = match resource {
        "*" => None,
        name => {
            let resource: ResourceType = name.parse().map_err(|_| Outcome::unknown_type(name))?;
            if in_compartment_of(of, resource, id, &base_schema(resource)).is_none() {
                let message = format!("no {resource} is in the compartment of a {of}");
                return Err(Outcome::new(StatusCode::NOT_FOUND, "not-found", message));
            }
            Some(vec![resource])
        }
    };
    Ok(Scope { path: format!("{of}/{id}/{resource}"), types, compartment: Some((of, id.to_owned())) })
}

fn posted(mut parameters: Parameters, headers: &HeaderMap, body: &Bytes) -> Result<Parameters, Outcome> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !body.is_empty() && !content_type.starts_with("application/x-www-form-urlencoded") {
        let message = "a search is posted as `application/x-www-form-urlencoded`";
        return Err(Outcome::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-supported", message));
    }
    query::check(body)?;
    parameters.extend(form_urlencoded::parse(body).into_owned());
    Ok(parameters)
}

async fn answer(
    app: &App,
    principal: &Principal,
    scope: Scope,
    parameters: Parameters,
    headers: &HeaderMap,
) -> Result<Response, Outcome> {
    let asked = Asked::read(scope, parameters, headers)?;
    if asked.explain && principal.role != Role::Admin {
        let message = "`__explain` is for administrators";
        return Err(Outcome::new(StatusCode::FORBIDDEN, "forbidden", message));
    }
    let place = match &asked.page {
        None => None,
        Some(text) => {
            let place = Place::verify(text, &app.page_key(principal), &asked.identity(&asked.parameters));
            Some(place.ok_or_else(|| {
                Outcome::invalid("`_page` was not made by this server for you and this search: start again without it")
            })?)
        }
    };
    // every table of the search is read at one snapshot, whatever is published in the meantime
    let newest = app.engine.session(principal, place.as_ref().map(|place| place.snapshot)).await?;
    let session = match newest.snapshot() {
        Some(snapshot) => app.engine.session(principal, Some(snapshot)).await?,
        None => newest,
    };
    let mut types = match &asked.scope.types {
        Some(types) => types.clone(),
        None => tables::all(&app.engine, &session).await?,
    };
    if let Some((of, id)) = &asked.scope.compartment {
        types.retain(|resource| in_compartment_of(*of, *resource, id, &base_schema(*resource)).is_some());
    }

    let mut tables = Tables::new(&session);
    let Compiled { parts, applied, ignored } = compile(&asked, &types, &mut tables).await?;
    if asked.explain {
        return explain::explain(&asked, &tables, &parts).await;
    }
    let view = View::read(&asked.parameters, &types)?;
    let found = matches::find(&tables, &parts, place.as_ref()).await?;
    let mut entries = Vec::with_capacity(found.matches.len());
    entries.extend(found.matches.into_iter().map(|(resource, stored)| Entry { resource, stored, mode: Mode::Match }));
    let mut warnings: Vec<String> =
        ignored.iter().map(|(name, reason)| format!("left out of the search: `{name}`: {reason}")).collect();
    if let Some(part) = parts.first().filter(|part| !part.search.includes.is_empty()) {
        let keys = entries.iter().map(|entry| (entry.resource, entry.stored.id.clone())).collect();
        let of_any = part.search.includes.iter().any(|include| include.reverse && include.source.is_none());
        let all = if of_any { tables::all(&app.engine, &session).await? } else { Vec::new() };
        let included = included::find(&mut tables, &part.search.includes, &all, keys).await?;
        let of = |(resource, stored)| Entry { resource, stored, mode: Mode::Include };
        entries.extend(included.resources.into_iter().map(of));
        if included.is_cut {
            warnings.push(format!(
                "more than {} resources would be included: the rest is left out; ask for smaller pages",
                included::MAX_INCLUDED
            ));
        }
    }
    for entry in &mut entries {
        if let Some(cut) = entry.stored.json.as_deref().and_then(|json| view.cut(entry.resource, json)) {
            entry.stored.json = Some(cut);
        }
    }

    let mut links = vec![("self", asked.link(&applied, None))];
    if let (Some(next), Some(snapshot)) = (found.next, session.snapshot()) {
        let next = Place { offset: next.offset, after_id: next.after_id, snapshot: SnapshotId(snapshot.0) };
        let text = next.sign(&app.page_key(principal), &asked.identity(&applied));
        links.push(("next", asked.link(&applied, Some(&text))));
    }
    let outcome = (!warnings.is_empty()).then(|| outcome::issue("warning", "not-supported", &warnings.join("; ")));
    let bundle = Searchset { base: &asked.base, total: found.total, links, entries: &entries, outcome };
    let answer = asked.format.answer(StatusCode::OK, bundle.to_json());
    Ok(Answered::mark_search(answer, entries.len(), &asked.parameters))
}

/// A search of each type, and what of the request became of it.
struct Compiled {
    parts: Vec<Part>,
    applied: Parameters,
    ignored: Parameters,
}

async fn compile(asked: &Asked, types: &[ResourceType], tables: &mut Tables<'_>) -> Result<Compiled, Outcome> {
    let now = Utc::now();
    let base = Some(asked.base.as_str());
    let mut parameters = asked.parameters.clone();
    let mut ignored: Parameters = Vec::new();
    let mut known = KnownCodes::new();
    // what one type does not know is left out for all of them, so that the answer is to one question
    loop {
        let request = Request { parameters: &parameters, handling: asked.handling, now, base, types, codes: None };
        let mut wanted = BTreeMap::new();
        for resource in types {
            wanted.extend(search::codes(*resource, request)?);
        }
        concepts::find(tables.session, wanted, &mut known).await?;
        let request = Request { codes: Some(&known), ..request };
        let mut needed = BTreeSet::new();
        for resource in types {
            needed.extend(search::tables(*resource, request)?);
        }
        tables.open(needed).await?;
        let schemas = tables.schemas();
        let searches: Vec<Search> = types
            .iter()
            .map(|resource| search::compile(*resource, request, &schemas))
            .collect::<Result<_, SearchError>>()?;
        // by name: the reasons differ between types
        let left: BTreeMap<&str, &str> = searches
            .iter()
            .flat_map(|search| &search.ignored)
            .map(|(name, reason)| (name.as_str(), reason.as_str()))
            .collect();
        let same = |search: &Search| {
            let own: BTreeSet<&str> = search.ignored.iter().map(|(name, _)| name.as_str()).collect();
            own.len() == left.len()
        };
        if !searches.iter().all(same) {
            for (name, reason) in &left {
                ignored.push(((*name).to_owned(), (*reason).to_owned()));
            }
            parameters.retain(|(name, _)| !left.contains_key(name.as_str()));
            continue;
        }
        let (mut applied, more) = match searches.first() {
            Some(search) => (search.applied.clone(), search.ignored.clone()),
            None => (parameters.clone(), Vec::new()),
        };
        ignored.extend(more);
        if asked.scope.compartment.is_none()
            && asked.scope.path.is_empty()
            && let Some(types) = &asked.scope.types
        {
            let names: Vec<&str> = types.iter().map(|resource| resource.name()).collect();
            applied.insert(0, ("_type".to_owned(), names.join(",")));
        }
        let parts = types.iter().zip(searches).map(|(resource, search)| part(asked, *resource, search, &schemas));
        return Ok(Compiled { parts: parts.collect(), applied, ignored });
    }
}

fn part(asked: &Asked, resource: ResourceType, mut search: Search, schemas: &Schemas) -> Part {
    if let Some((of, id)) = &asked.scope.compartment
        && let Some(within) =
            in_compartment_of(*of, resource, id, schemas.get(&resource).unwrap_or(&base_schema(resource)))
    {
        search.criteria.filter = Some(match search.criteria.filter.take() {
            Some(filter) => within.and(filter),
            None => within,
        });
    }
    Part { resource, search }
}
