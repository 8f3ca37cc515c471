//! ViewDefinitions: stored in the catalog by an administrator, since R4 has no such type; each is a table `fhir.views.<name>`
//! in SQL. Whoever may read the resources that a view is about sees it.

use axum::{
    extract::Path,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use mavis_catalog::{NewView, ViewRow};
use mavis_fhir::{
    json::{self, Value},
    shape::with_meta,
    view::{Plan, View},
};
use mavis_types::{Principal, TableName, Zone};

use super::{call::Call, negotiate::Format, outcome::Outcome, rows::is_id};

/// The type's name in FHIR.
const KIND: &str = "ViewDefinition";

/// Whether a principal sees that a view exists.
pub(super) fn is_seen(principal: &Principal, row: &ViewRow) -> bool {
    let table = row.resource.as_ref().map(|resource| resource.to_ascii_lowercase());
    table.is_some_and(|table| principal.may_read(&TableName::new(Zone::Fhir, "r4", &table)))
}

fn missing() -> Outcome {
    Outcome::new(StatusCode::NOT_FOUND, "not-found", "there is no such ViewDefinition")
}

fn failed(error: mavis_catalog::Error) -> Outcome {
    match error {
        mavis_catalog::Error::NotFound { .. } => missing(),
        mavis_catalog::Error::Exists { name, .. } => {
            let message = format!("another ViewDefinition has the name `{name}`: it would be the same table");
            Outcome::new(StatusCode::CONFLICT, "duplicate", message)
        }
        error => mavis_sql::Error::from(error).into(),
    }
}

fn only_administrators(principal: &Principal) -> Result<(), Outcome> {
    if principal.may_administer() {
        return Ok(());
    }
    Err(Outcome::new(StatusCode::FORBIDDEN, "forbidden", "only an administrator changes ViewDefinitions"))
}

/// `GET ViewDefinition`: all, or those of a `name`, `url` or `resource`.
pub(super) async fn search(call: Call) -> Result<Response, Outcome> {
    let Call { app, principal, query: parameters, headers, .. } = call;
    let format = Format::of(&headers, &parameters)?;
    let known = ["name", "url", "resource", "_id", "_format", "_pretty"];
    if let Some((name, _)) = parameters.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        let name: String = name.chars().take(64).collect();
        let message = format!("ViewDefinitions are searched by name, url, resource and _id, not by `{name}`");
        return Err(Outcome::new(StatusCode::BAD_REQUEST, "not-supported", message));
    }
    let wanted = |row: &ViewRow| {
        parameters.iter().all(|(name, value)| match name.as_str() {
            "_id" => row.id == *value,
            "name" => row.name.as_ref().is_some_and(|name| name.starts_with(&value.to_lowercase())),
            "url" => row.url.as_ref() == Some(value),
            "resource" => row.resource.as_ref() == Some(value),
            _ => true,
        })
    };
    let rows = app.catalog.views().await.map_err(failed)?;
    let rows: Vec<_> =
        rows.into_iter().filter(|row| row.kind == KIND && is_seen(&principal, row) && wanted(row)).collect();
    let entries = rows.iter().map(|row| {
        format!(r#"{{"fullUrl":"{KIND}/{}","resource":{},"search":{{"mode":"match"}}}}"#, row.id, resource(row))
    });
    let entries: Vec<String> = entries.collect();
    let list = if entries.is_empty() { String::new() } else { format!(r#","entry":[{}]"#, entries.join(",")) };
    let bundle = format!(r#"{{"resourceType":"Bundle","type":"searchset","total":{}{list}}}"#, rows.len());
    Ok(format.answer(StatusCode::OK, bundle))
}

/// `GET ViewDefinition/[id]`
pub(super) async fn read(Path(id): Path<String>, call: Call) -> Result<Response, Outcome> {
    let format = Format::of(&call.headers, &call.query)?;
    let row = call.app.catalog.view(KIND, &id).await.map_err(failed)?;
    if !is_seen(&call.principal, &row) {
        return Err(missing());
    }
    Ok(tagged(format.answer(StatusCode::OK, resource(&row)), &row))
}

/// `POST ViewDefinition`: stored under an id of the server's choice.
pub(super) async fn create(call: Call) -> Result<Response, Outcome> {
    Box::pin(store(call, uuid::Uuid::new_v4().to_string(), false)).await
}

/// `PUT ViewDefinition/[id]`
pub(super) async fn update(Path(id): Path<String>, call: Call) -> Result<Response, Outcome> {
    Box::pin(store(call, id, true)).await
}

/// `DELETE ViewDefinition/[id]`
pub(super) async fn delete(Path(id): Path<String>, call: Call) -> Result<Response, Outcome> {
    only_administrators(&call.principal)?;
    call.app.catalog.remove_view(KIND, &id).await.map_err(failed)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `named`: whether the client says the id.
async fn store(call: Call, id: String, named: bool) -> Result<Response, Outcome> {
    only_administrators(&call.principal)?;
    let format = Format::of(&call.headers, &call.query)?;
    if !is_id(&id) {
        return Err(Outcome::invalid("an id has 1 to 64 letters, digits, `-` and `.`"));
    }
    let mut json = json::parse(&call.body).map_err(|error| Outcome::invalid(error.to_string()))?;
    if json.get_str("resourceType") != Some(KIND) {
        return Err(Outcome::invalid("the body is not a ViewDefinition"));
    }
    if named && json.get_str("id") != Some(id.as_str()) {
        return Err(Outcome::invalid("the `id` in the body is not the one in the address"));
    }
    let view = View::parse(&json).map_err(|error| Outcome::from(&error))?;
    let plan = Plan::new(&view).map_err(|error| Outcome::from(&error))?;
    let name = view.name.as_ref().map(|name| name.to_lowercase()).ok_or_else(|| {
        let message = "a stored ViewDefinition has a `name`: it is its table's";
        Outcome::new(StatusCode::UNPROCESSABLE_ENTITY, "required", message)
    })?;
    json.set("id", Value::String(id.clone().into()));
    let new = NewView {
        kind: KIND.to_owned(),
        id,
        name: Some(name),
        url: view.url.clone(),
        resource: Some(plan.resource().name().to_owned()),
        text: json.to_json(),
    };
    let (row, is_new) = call.app.catalog.put_view(new).await.map_err(failed)?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = tagged(format.answer(status, resource(&row)), &row);
    if let Ok(location) = HeaderValue::from_str(&format!("/fhir/{KIND}/{}", row.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// The stored text with its version.
fn resource(row: &ViewRow) -> String {
    with_meta(&row.text, &row.id, row.version, row.updated_at)
}

fn tagged(mut response: Response, row: &ViewRow) -> Response {
    if let Ok(etag) = HeaderValue::from_str(&format!("W/\"{}\"", row.version)) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    let modified = row.updated_at.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(modified) = HeaderValue::from_str(&modified) {
        response.headers_mut().insert(header::LAST_MODIFIED, modified);
    }
    response
}
