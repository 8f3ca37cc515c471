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
    search::{answered, compartments, includes, reverse_includes},
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
            "documentation": "Data arrives through ingestion and through writes of administrators and of tokens whose SMART scopes allow them. A search and all its pages see one state of the lake.",
            "security": security(),
            "resource": resources,
            "operation": operations(),
            "interaction": [
                { "code": "transaction" },
                { "code": "batch" },
                { "code": "history-system" },
                { "code": "search-system" },
            ],
            "compartment": compartments().map(definition_of_compartment).collect::<Vec<_>>(),
        }],
    })
}

fn security() -> Value {
    json!({
        "service": [{
            "coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
                "code": "SMART-on-FHIR",
                "display": "SMART-on-FHIR",
            }],
            "text": "Bearer tokens, limited by SMART 2 scopes where they have any",
        }],
        "description": "Every request but this one and `.well-known/smart-configuration` carries a bearer token, of this server or of an OpenID Connect issuer that it trusts. A token with SMART scopes (`patient/`, `user/`, `system/`; `.cruds`, `.read`, `.write`; with search parameters) reaches nothing beyond them, and nothing that is not granted to it otherwise.",
    })
}

/// Its URL ends in the type's name in camel case.
fn definition_of_compartment(of: ResourceType) -> String {
    let mut name = of.name().to_owned();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    format!("http://hl7.org/fhir/CompartmentDefinition/{name}")
}

/// Operations of the whole system.
fn operations() -> Value {
    let definition = |name: &str| format!("http://sql-on-fhir.org/OperationDefinition/{name}");
    json!([
        operation("export", "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export"),
        { "name": "sql-run", "definition": definition("$sql-run") },
        { "name": "sql-export", "definition": definition("$sql-export") },
        { "name": "viewdefinition-run", "definition": definition("$viewdefinition-run") },
        { "name": "sqlquery-run", "definition": definition("$sqlquery-run") },
    ])
}

fn operation(name: &str, definition: &str) -> Value {
    json!({ "name": name, "definition": definition })
}

/// The operations of a type.
fn type_operations(resource: ResourceType) -> Vec<Value> {
    let own = |name: &str| operation(name, &format!("http://hl7.org/fhir/OperationDefinition/{resource}-{name}"));
    let bulk = |level: &str| {
        operation("export", &format!("http://hl7.org/fhir/uv/bulkdata/OperationDefinition/{level}-export"))
    };
    match resource.name() {
        "Patient" => vec![own("everything"), bulk("patient")],
        "Group" => vec![bulk("group")],
        "ValueSet" => vec![own("expand"), own("validate-code")],
        "CodeSystem" => vec![own("lookup"), own("validate-code")],
        "ConceptMap" => vec![own("translate")],
        _ => Vec::new(),
    }
}

fn resource(resource: ResourceType) -> Value {
    let mut parameters: Vec<Value> =
        answered(resource).map(|parameter| json!({ "name": parameter.code, "type": kind(parameter.kind) })).collect();
    parameters.extend(["_has", "_list"].map(|name| json!({ "name": name, "type": "special" })));
    let mut include = includes(resource);
    include.push("*".to_owned());
    let mut described = json!({
        "type": resource.name(),
        "interaction": [
            { "code": "read" },
            { "code": "vread" },
            { "code": "update" },
            { "code": "delete" },
            { "code": "history-instance" },
            { "code": "history-type" },
            { "code": "create" },
            { "code": "search-type" },
        ],
        "versioning": "versioned-update",
        "readHistory": true,
        "updateCreate": true,
        "conditionalCreate": true,
        "conditionalRead": "full-support",
        "conditionalUpdate": true,
        "conditionalDelete": "single",
        "searchInclude": include,
        "searchRevInclude": REVERSE.get(&resource).map_or(&[][..], Vec::as_slice).iter().map(String::as_str).chain(["*"]).collect::<Vec<_>>(),
        "searchParam": parameters,
    });
    // An empty array is no FHIR: the element is left out.
    let operations = type_operations(resource);
    if !operations.is_empty() {
        described["operation"] = Value::Array(operations);
    }
    described
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
