//! `GET [type]?...` and `POST [type]/_search` (R4, "search.html").
//!
//! Two steps: first the ids of the page, from the columns that filter and sort; then the texts of those few resources.

use std::collections::HashMap;

use arrow::{array::AsArray, datatypes::DataType};
use axum::{
    Extension,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use chrono::Utc;
use datafusion::{dataframe::DataFrame, functions_aggregate::expr_fn::count, logical_expr::lit, prelude::ident};
use futures::TryStreamExt;
use mavis_fhir::{
    ResourceType,
    search::{Handling, Search, Total, compile},
    shape::base_schema,
};
use mavis_sql::Session;
use mavis_types::{Principal, SnapshotId};
use url::form_urlencoded;

use super::{
    bundle::Searchset,
    negotiate::Format,
    outcome::{self, Outcome},
    page::Place,
    read::unplanned,
    rows::{self, Stored, columns, fetch, frame},
};
use crate::App;

/// The parameter that carries a [`Place`].
const PAGE: &str = "_page";

pub(super) async fn get(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(resource): Path<String>,
    Query(parameters): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, Outcome> {
    search(&app, &principal, &resource, parameters, &headers).await
}

pub(super) async fn post(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(resource): Path<String>,
    Query(mut parameters): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Outcome> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !body.is_empty() && !content_type.starts_with("application/x-www-form-urlencoded") {
        let message = "a search is posted as `application/x-www-form-urlencoded`";
        return Err(Outcome::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-supported", message));
    }
    parameters.extend(form_urlencoded::parse(&body).into_owned());
    search(&app, &principal, &resource, parameters, &headers).await
}

async fn search(
    app: &App,
    principal: &Principal,
    resource: &str,
    mut parameters: Vec<(String, String)>,
    headers: &HeaderMap,
) -> Result<Response, Outcome> {
    let format = Format::of(headers, &parameters)?;
    let resource: ResourceType = resource.parse().map_err(|_| Outcome::unknown_type(resource))?;
    let page = take(&mut parameters, PAGE);
    let count_only = counts_only(&mut parameters)?;
    let base = base(headers);

    let place = match &page {
        None => None,
        Some(text) => {
            let place = Place::verify(text, &app.signing_key, &asked(resource, &parameters));
            Some(place.ok_or_else(|| {
                Outcome::invalid("`_page` was not made by this server for this search: start again without it")
            })?)
        }
    };
    let session = app.engine.session(principal, place.as_ref().map(|place| place.snapshot)).await?;
    let table = frame(&session, &rows::current(resource)).await?;
    let schema = match &table {
        Some(frame) => frame.schema().inner().clone(),
        None => base_schema(resource),
    };
    let mut search = compile(resource, &parameters, &schema, handling(headers), Utc::now())?;
    if count_only {
        search.count = 0;
        search.applied.push(("_summary".to_owned(), "count".to_owned()));
    }

    let found = match table {
        None => Found { total: Some(0), ..Found::default() },
        Some(table) => find(&session, table, &search, place.as_ref()).await?,
    };
    let mut links = vec![("self", link(&base, resource, &search.applied, None))];
    if let (Some(last), Some(snapshot)) = (found.next, session.snapshot()) {
        let next = Place { offset: last.offset, after_id: last.after_id, snapshot: SnapshotId(snapshot.0) };
        let text = next.sign(&app.signing_key, &asked(resource, &search.applied));
        links.push(("next", link(&base, resource, &search.applied, Some(&text))));
    }
    let ignored: Vec<String> = search.ignored.iter().map(|(name, reason)| format!("`{name}`: {reason}")).collect();
    let outcome = (!ignored.is_empty()).then(|| {
        outcome::issue("warning", "not-supported", &format!("left out of the search: {}", ignored.join("; ")))
    });
    let bundle = Searchset {
        base: &base,
        resource: resource.name(),
        total: found.total,
        links,
        matches: &found.matches,
        outcome,
    };
    Ok(format.answer(StatusCode::OK, bundle.to_json()))
}

/// A page of matches.
#[derive(Debug, Default)]
struct Found {
    matches: Vec<Stored>,
    total: Option<i64>,
    next: Option<Next>,
}

#[derive(Debug)]
struct Next {
    offset: usize,
    after_id: Option<String>,
}

async fn find(
    session: &Session,
    table: DataFrame,
    search: &Search,
    place: Option<&Place>,
) -> Result<Found, mavis_sql::Error> {
    let matching = match &search.filter {
        Some(filter) => table.clone().filter(filter.clone()).map_err(unplanned)?,
        None => table.clone(),
    };
    let total = if search.count == 0 || search.total == Total::Accurate {
        let counted = matching.clone().aggregate(vec![], vec![count(lit(1)).alias("total")]).map_err(unplanned)?;
        Some(rows::count(session, counted).await?)
    } else {
        None
    };
    if search.count == 0 {
        return Ok(Found { total, ..Found::default() });
    }

    // Ordered by id alone, a page begins after the last id of the one before; else after so many rows.
    let by_id = search.sort.len() == 1 && search.sort.first().is_some_and(|key| key.asc);
    let offset = place.map_or(0, |place| place.offset);
    let mut page = matching;
    let mut skip = offset;
    if let (true, Some(after)) = (by_id, place.and_then(|place| place.after_id.as_deref())) {
        page = page.filter(ident("id").gt(lit(after))).map_err(unplanned)?;
        skip = 0;
    }
    let page = page
        .sort(search.sort.clone())
        .and_then(|frame| frame.limit(skip, Some(search.count + 1)))
        .and_then(|frame| frame.select(vec![ident("id")]))
        .map_err(unplanned)?;
    let mut ids = ids(session, page).await?;
    let more = ids.len() > search.count;
    ids.truncate(search.count);

    let matches = texts(session, table, &ids).await?;
    let next =
        more.then(|| Next { offset: offset + ids.len(), after_id: by_id.then(|| ids.last().cloned()).flatten() });
    let total = total.or_else(|| {
        // The last page knows how many there were.
        let seen = i64::try_from(offset + ids.len()).ok()?;
        (!more && (offset == 0 || !ids.is_empty())).then_some(seen)
    });
    Ok(Found { matches, total, next })
}

async fn ids(session: &Session, frame: DataFrame) -> Result<Vec<String>, mavis_sql::Error> {
    let answer = session.run(frame, None).await?;
    let batches: Vec<_> = answer.batches.try_collect().await?;
    let mut ids = Vec::new();
    for batch in &batches {
        let column = arrow::compute::cast(batch.column(0), &DataType::Utf8)
            .map_err(|_| mavis_sql::Error::Execution { message: "ids are not text".to_owned() })?;
        ids.extend(column.as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    Ok(ids)
}

/// The resources of these ids, in their order.
async fn texts(session: &Session, table: DataFrame, ids: &[String]) -> Result<Vec<Stored>, mavis_sql::Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let wanted = ident("id").in_list(ids.iter().map(|id| lit(id.as_str())).collect(), false);
    let frame = table.filter(wanted).and_then(|frame| frame.select(columns())).map_err(unplanned)?;
    let mut found: HashMap<String, Stored> =
        fetch(session, frame).await?.into_iter().map(|stored| (stored.id.clone(), stored)).collect();
    Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
}

/// `Prefer: handling=strict|lenient` (R4, "search.html", section "Handling errors"); lenient where nothing is said.
fn handling(headers: &HeaderMap) -> Handling {
    let strict = headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split([',', ';']).any(|part| part.trim().eq_ignore_ascii_case("handling=strict")));
    if strict { Handling::Strict } else { Handling::Lenient }
}

fn take(parameters: &mut Vec<(String, String)>, name: &str) -> Option<String> {
    let at = parameters.iter().position(|(known, _)| known == name)?;
    Some(parameters.remove(at).1)
}

/// Takes `_summary=count` out; the other summaries are refused by name rather than answered wrongly.
fn counts_only(parameters: &mut Vec<(String, String)>) -> Result<bool, Outcome> {
    match take(parameters, "_summary").as_deref() {
        None | Some("false") => Ok(false),
        Some("count") => Ok(true),
        Some("true" | "text" | "data") => Err(Outcome::new(
            StatusCode::BAD_REQUEST,
            "not-supported",
            "of `_summary` this server supports `count` and `false`",
        )),
        Some(_) => Err(Outcome::invalid("`_summary` is one of count, false, true, text, data")),
    }
}

/// What a page belongs to.
fn asked(resource: ResourceType, parameters: &[(String, String)]) -> String {
    let kept = parameters.iter().filter(|(name, _)| name != PAGE && name != "_format" && name != "_pretty");
    format!("{resource}?{}", query(kept))
}

fn query<'a>(parameters: impl Iterator<Item = &'a (String, String)>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

fn link(base: &str, resource: ResourceType, applied: &[(String, String)], page: Option<&str>) -> String {
    let mut parameters = applied.to_vec();
    parameters.extend(page.map(|page| (PAGE.to_owned(), page.to_owned())));
    let query = query(parameters.iter());
    if query.is_empty() { format!("{base}/{resource}") } else { format!("{base}/{resource}?{query}") }
}

/// The URL of this door as the caller sees it, a proxy's word taken for it.
fn base(headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let host = text("x-forwarded-host").or_else(|| text("host")).unwrap_or_else(|| "localhost".to_owned());
    let scheme = text("x-forwarded-proto").filter(|scheme| scheme == "https").unwrap_or_else(|| "http".to_owned());
    format!("{scheme}://{host}/fhir")
}
