//! `GET metadata`: what this server really does, made from the definitions that search itself uses.

use std::{collections::BTreeMap, sync::LazyLock};

use axum::{
    extract::Query,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use mavis_fhir::{
    ResourceType,
    definitions::ParameterKind,
    search::{answered, includes, reverse_includes},
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
            "interaction": [{ "code": "search-system" }],
            "compartment": ["http://hl7.org/fhir/CompartmentDefinition/patient"],
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
    let mut parameters: Vec<Value> =
        answered(resource).map(|parameter| json!({ "name": parameter.code, "type": kind(parameter.kind) })).collect();
    parameters.extend(["_has", "_list"].map(|name| json!({ "name": name, "type": "special" })));
    let mut include = includes(resource);
    include.push("*".to_owned());
    json!({
        "type": resource.name(),
        "interaction": [{ "code": "read" }, { "code": "vread" }, { "code": "search-type" }],
        "versioning": "versioned",
        "readHistory": true,
        "conditionalRead": "not-match",
        "searchInclude": include,
        "searchRevInclude": REVERSE.get(&resource).map_or(&[][..], Vec::as_slice),
        "searchParam": parameters,
    })
}

/// What `_revinclude` takes, by the type of the matches.
static REVERSE: LazyLock<BTreeMap<ResourceType, Vec<String>>> = LazyLock::new(|| {
    let mut by_type: BTreeMap<ResourceType, Vec<String>> = BTreeMap::new();
    for (value, types) in reverse_includes() {
        for resource in types {
            by_type.entry(resource).or_default().push(value.clone());
        }
    }
    by_type
});

fn kind(kind: ParameterKind) -> &'static str {
    match kind {
        ParameterKind::Number => "number",
        ParameterKind::Date => "date",
        ParameterKind::String => "string",
        ParameterKind::Token => "token",
        ParameterKind::Reference => "reference",
        ParameterKind::Quantity => "quantity",
        ParameterKind::Uri => "uri",
        ParameterKind::Composite => "composite",
        ParameterKind::Special => "special",
    }
}
