//! Resources that clients write (R4, "http.html", sections "create", "update", "delete" and their conditional forms).
//!
//! All of them go through the pipeline ([`mavis_pipeline::Pipeline::write`]), which answers when everybody can see the
//! outcome. Writing needs the right to administer, or SMART scopes that allow it.

mod answer;
mod body;
mod refused;
pub(super) mod transaction;

use axum::{
    Extension,
    body::Bytes,
    extract::{Path, Query, RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use mavis_fhir::ResourceType;
use mavis_pipeline::{Operation, Together, Which, Write, Written};
use mavis_types::Principal;

use self::answer::{Asked, answer};
use super::{conditional::if_match, negotiate::Format, outcome::Outcome, smart};
use crate::App;

type Parameters = Vec<(String, String)>;

/// Largest answer to a read within a batch, in bytes.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// For what is not done to one resource: erasing, importing.
pub(super) fn may_administer(principal: &Principal) -> Result<(), Outcome> {
    if principal.may_administer() {
        return Ok(());
    }
    Err(Outcome::new(StatusCode::FORBIDDEN, "forbidden", "this needs the role `admin`"))
}

/// The letters of scopes that an interaction needs.
fn letters(operation: &Operation) -> &'static str {
    match operation {
        Operation::Create { if_none_exist: None, .. } => "c",
        Operation::Create { if_none_exist: Some(_), .. } => "cs",
        Operation::Update { which: Which::Id(_), .. } => "u",
        Operation::Update { which: Which::Query(_), .. } => "us",
        Operation::Delete { which: Which::Id(_), .. } => "d",
        Operation::Delete { which: Which::Query(_), .. } => "ds",
    }
}

/// Whether the caller may do this at all.
fn may_write(principal: &Principal, write: &Write) -> Result<(), Outcome> {
    smart::may_write(principal, write.resource, letters(&write.operation))
}

fn known_type(name: &str) -> Result<ResourceType, Outcome> {
    name.parse().map_err(|_| Outcome::unknown_type(name))
}

/// The format of an answer; the other parameters are none of a write.
fn format(headers: &HeaderMap, parameters: &Parameters) -> Result<Format, Outcome> {
    match parameters.iter().find(|(name, _)| name != "_format" && name != "_pretty") {
        Some((name, _)) => {
            let name: String = name.chars().take(64).collect();
            Err(Outcome::new(StatusCode::BAD_REQUEST, "not-supported", format!("a write has no parameter `{name}`")))
        }
        None => Format::of(headers, parameters),
    }
}

/// A query without the parameters that are about the answer: the condition of a conditional interaction.
fn condition(query: Option<&str>) -> (Parameters, String) {
    let mut about = Vec::new();
    let mut kept = Vec::new();
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some((name @ ("_format" | "_pretty"), value)) => about.push((name.to_owned(), value.replace("%2B", "+"))),
            _ => kept.push(pair),
        }
    }
    (about, kept.join("&"))
}

fn version_wanted(headers: &HeaderMap) -> Result<Option<i64>, Outcome> {
    if_match(headers).map_err(|reason| Outcome::invalid(format!("If-Match: {reason}")))
}

/// What a client calls one resource when it writes.
struct Call<'a> {
    app: &'a App,
    principal: &'a Principal,
    headers: &'a HeaderMap,
    format: Format,
}

impl Call<'_> {
    async fn write(self, resource: ResourceType, operation: Operation) -> Result<Response, Outcome> {
        let write = Write { resource, operation, full_url: None };
        may_write(self.principal, &write)?;
        let asked = Asked::of(self.headers)?;
        let written = one(self.app, self.principal, write).await?;
        answer(&self, asked, written).await
    }
}

async fn one(app: &App, principal: &Principal, write: Write) -> Result<Written, Outcome> {
    let mut answers = app.pipeline.write(principal, vec![write], Together::Each).await.map_err(refused::failed)?;
    match answers.pop() {
        Some(Ok(written)) => Ok(written),
        Some(Err(refusal)) => Err(refused::refused(&refusal, None)),
        None => Err(Outcome::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", "the server failed")),
    }
}

/// `POST [type]`, and with `If-None-Exist` its conditional form.
pub(super) async fn create(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(resource): Path<String>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Outcome> {
    let format = format(&headers, &parameters)?;
    let resource = known_type(&resource)?;
    let body = body::resource(&headers, body)?;
    let if_none_exist = match headers.get("if-none-exist") {
        Some(value) => Some(
            value
                .to_str()
                .map_err(|_| Outcome::invalid("If-None-Exist cannot be read: encode it as a URL"))?
                .to_owned(),
        ),
        None => None,
    };
    let call = Call { app: &app, principal: &principal, headers: &headers, format };
    call.write(resource, Operation::Create { body, if_none_exist }).await
}

/// `PUT [type]/[id]`.
pub(super) async fn update(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path((resource, id)): Path<(String, String)>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Outcome> {
    let format = format(&headers, &parameters)?;
    let resource = known_type(&resource)?;
    let body = body::resource(&headers, body)?;
    let operation = Operation::Update { which: Which::Id(id), body, if_match: version_wanted(&headers)? };
    Call { app: &app, principal: &principal, headers: &headers, format }.write(resource, operation).await
}

/// `PUT [type]?[condition]`.
pub(super) async fn update_where(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(resource): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Outcome> {
    let (about, condition) = condition(query.as_deref());
    let format = format(&headers, &about)?;
    let resource = known_type(&resource)?;
    let body = body::resource(&headers, body)?;
    let operation = Operation::Update { which: Which::Query(condition), body, if_match: version_wanted(&headers)? };
    Call { app: &app, principal: &principal, headers: &headers, format }.write(resource, operation).await
}

/// `DELETE [type]/[id]`.
pub(super) async fn delete(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path((resource, id)): Path<(String, String)>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, Outcome> {
    let format = format(&headers, &parameters)?;
    let resource = known_type(&resource)?;
    let operation = Operation::Delete { which: Which::Id(id), if_match: version_wanted(&headers)? };
    Call { app: &app, principal: &principal, headers: &headers, format }.write(resource, operation).await
}

/// `DELETE [type]?[condition]`: of one resource; where several match, none is deleted.
pub(super) async fn delete_where(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(resource): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Outcome> {
    let (about, condition) = condition(query.as_deref());
    let format = format(&headers, &about)?;
    let resource = known_type(&resource)?;
    let operation = Operation::Delete { which: Which::Query(condition), if_match: version_wanted(&headers)? };
    Call { app: &app, principal: &principal, headers: &headers, format }.write(resource, operation).await
}

/// The status that tells of an effect.
fn status(effect: mavis_pipeline::Effect) -> StatusCode {
    use mavis_pipeline::Effect;
    match effect {
        Effect::Created => StatusCode::CREATED,
        Effect::Updated | Effect::Unchanged | Effect::Existing => StatusCode::OK,
        Effect::Deleted | Effect::Nothing => StatusCode::NO_CONTENT,
    }
}

/// The value of `Prefer: return=`.
fn prefers<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .filter_map(|part| part.trim().split_once('='))
        .find(|(known, _)| known.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().trim_matches('"'))
}

/// `Prefer: respond-async`.
pub(super) fn prefers_async(headers: &HeaderMap) -> bool {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split([',', ';'])).any(|part| part.trim().eq_ignore_ascii_case("respond-async"))
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"))
}
