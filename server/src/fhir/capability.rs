//! `GET metadata`: what this server really does, made from the definitions that search itself uses.

use axum::{
    extract::Query,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use mavis_fhir::{
    ResourceType,
    definitions::{ParameterKind, search_parameters},
};
use serde_json::{Value, json};

use super::{negotiate::Format, outcome::Outcome};
pub(super) async fn metadata(
    Query(parameters): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, Outcome> {
    let format = Format::of(&headers, &parameters)?;
    Ok(format.answer(StatusCode::OK, statement(chrono::Utc::now()).to_string()))
}

fn statement(date: chrono::DateTime<chrono::Utc>) -> Value {
    let resources: Vec<Value> = ResourceType::all().map(resource).collect();
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": date.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        "kind": "instance",
        "software": { "name": "Mavis", "version": env!("CARGO_PKG_VERSION") },
        "implementation": { "description": "Mavis: a lakehouse for health data" },
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [{
            "mode": "server",
            "documentation": "Read-only: data arrives through ingestion. A search and all its pages see one state of the lake.",
            "security": { "description": "Every request but this one carries a bearer token." },
            "resource": resources,
            "operation": operations(),
        }],
    })
}

/// Operations of the whole system.
fn operations() -> Value {
    let definition = |name: &str| format!("http://sql-on-fhir.org/OperationDefinition/{name}");
    json!([
        { "name": "sql-run", "definition": definition("$sql-run") },
        { "name": "viewdefinition-run", "definition": definition("$viewdefinition-run") },
        { "name": "sqlquery-run", "definition": definition("$sqlquery-run") },
    ])
}

fn resource(resource: ResourceType) -> Value {
    let parameters: Vec<Value> = search_parameters(resource)
        .iter()
        .filter_map(|parameter| Some(json!({ "name": parameter.code, "type": kind(parameter.kind)? })))
        .collect();
    json!({
        "type": resource.name(),
        "interaction": [{ "code": "read" }, { "code": "vread" }, { "code": "search-type" }],
        "versioning": "versioned",
        "readHistory": true,
        "conditionalRead": "not-match",
        "searchParam": parameters,
    })
}

/// The kinds that search answers; parameters of other kinds are refused by name, and not listed here.
fn kind(kind: ParameterKind) -> Option<&'static str> {
    match kind {
        ParameterKind::Number => Some("number"),
        ParameterKind::Date => Some("date"),
        ParameterKind::String => Some("string"),
        ParameterKind::Token => Some("token"),
        ParameterKind::Reference => Some("reference"),
        ParameterKind::Quantity => Some("quantity"),
        ParameterKind::Uri => Some("uri"),
        ParameterKind::Composite | ParameterKind::Special => None,
    }
}
