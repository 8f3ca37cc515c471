//! The operations' requests and answers.

use axum::{extract::Path, http::StatusCode, response::Response};
use chrono::{SecondsFormat, Utc};
use mavis_fhir::{
    json,
    terminology::{self, CodeSystem, Property, TerminologyError, ValueSet},
};
use mavis_sql::Session;
use serde_json::{Value, json};

use super::{
    MAX_CODES, Unanswered,
    input::Input,
    shelf::{Shelf, read_value_set},
};
use crate::fhir::{call::Call, negotiate::Format, outcome::Outcome, rows::is_id};

/// Codes on a page of an expansion where the request does not say.
const PAGE: usize = 1_000;

impl From<Unanswered> for Outcome {
    fn from(unanswered: Unanswered) -> Self {
        let error = match unanswered {
            Unanswered::Query(error) => return error.into(),
            Unanswered::Terminology(error) => error,
        };
        let (status, code) = match &error {
            TerminologyError::UnknownSystem(_) | TerminologyError::UnknownValueSet(_) => {
                (StatusCode::NOT_FOUND, "not-found")
            }
            TerminologyError::Unsupported(_) => (StatusCode::UNPROCESSABLE_ENTITY, "not-supported"),
            TerminologyError::Cycle => (StatusCode::UNPROCESSABLE_ENTITY, "processing"),
            TerminologyError::TooMany(_) => (StatusCode::UNPROCESSABLE_ENTITY, "too-costly"),
            TerminologyError::Missing(_) => (StatusCode::INTERNAL_SERVER_ERROR, "exception"),
        };
        Self::new(status, code, error.to_string())
    }
}

/// What every operation begins with.
async fn begin(call: &Call, known: &[&str]) -> Result<(Format, Input, Session), Outcome> {
    let format = Format::of(&call.headers, &call.query)?;
    let input = Input::read(call.query.clone(), &call.body, known)?;
    let snapshot = call.app.engine.session(&call.principal, None).await?.snapshot();
    let session = call.app.engine.session(&call.principal, snapshot).await?;
    Ok((format, input, session))
}

fn required(what: &str) -> Outcome {
    Outcome::new(StatusCode::BAD_REQUEST, "required", format!("{what} is needed"))
}

fn not_there(what: &str) -> Outcome {
    Outcome::new(StatusCode::NOT_FOUND, "not-found", format!("there is no such {what}"))
}

/// The resource that an operation is about: by its id, else what came along, else by its URL.
async fn about(
    shelf: &Shelf<'_>,
    name: &str,
    id: Option<&str>,
    given: Option<&str>,
    url: Option<&str>,
) -> Result<Option<String>, Outcome> {
    if let Some(id) = id {
        if !is_id(id) {
            return Err(not_there(name));
        }
        return Ok(Some(shelf.by_id(name, id).await?.ok_or_else(|| not_there(name))?));
    }
    if let Some(given) = given {
        return Ok(Some(given.to_owned()));
    }
    match url {
        Some(url) => Ok(Some(shelf.by_url(name, url).await?.ok_or_else(|| not_there(name))?)),
        None => Ok(None),
    }
}

/// `ValueSet/$expand` and `ValueSet/[id]/$expand`.
pub(in crate::fhir) async fn expand(id: Option<Path<String>>, call: Call) -> Result<Response, Outcome> {
    let known =
        ["url", "valueSetVersion", "valueSet", "filter", "offset", "count", "includeDesignations", "activeOnly"];
    let (format, input, session) = begin(&call, &known).await?;
    if input.get("includeDesignations") == Some("true") || input.get("activeOnly") == Some("true") {
        let message = "`includeDesignations` and `activeOnly` are not supported";
        return Err(Outcome::new(StatusCode::BAD_REQUEST, "not-supported", message));
    }
    let mut shelf = Shelf::new(&session);
    let url = versioned(&input, "valueSetVersion");
    let text =
        about(&shelf, "ValueSet", id.as_ref().map(|Path(id)| id.as_str()), input.resource("valueSet"), url.as_deref())
            .await?;
    let text = text.ok_or_else(|| required("`url`, or a ValueSet"))?;
    let set = read_value_set(&text)?;
    let mut codes = shelf.expand(&set, MAX_CODES).await?;
    if let Some(filter) = input.get("filter") {
        let words: Vec<String> = filter.split_whitespace().map(str::to_lowercase).collect();
        codes.retain(|coded| {
            let text = format!("{} {}", coded.code, coded.display.as_deref().unwrap_or_default()).to_lowercase();
            words.iter().all(|word| text.contains(word.as_str()))
        });
    }
    let (offset, count) = (input.number("offset")?.unwrap_or(0), input.number("count")?.unwrap_or(PAGE));
    let page: Vec<Value> = codes
        .iter()
        .skip(offset)
        .take(count)
        .map(|coded| {
            let mut one = json!({ "system": coded.system, "code": coded.code });
            if let Some(display) = &coded.display {
                one["display"] = json!(display);
            }
            one
        })
        .collect();
    let mut expansion = json!({
        "identifier": format!("urn:uuid:{}", uuid::Uuid::new_v4()),
        "timestamp": Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true),
        "total": codes.len(),
        "offset": offset,
    });
    let mut parameters = vec![];
    for name in ["filter", "offset", "count"] {
        if let Some(value) = input.get(name) {
            parameters.push(match value.parse::<i64>() {
                Ok(number) if name != "filter" => json!({ "name": name, "valueInteger": number }),
                _ => json!({ "name": name, "valueString": value }),
            });
        }
    }
    if !parameters.is_empty() {
        expansion["parameter"] = Value::Array(parameters);
    }
    if !page.is_empty() {
        expansion["contains"] = Value::Array(page);
    }
    let mut answer: Value = serde_json::from_str(&text).unwrap_or_default();
    if let Some(members) = answer.as_object_mut() {
        for name in ["compose", "text", "contained"] {
            members.remove(name);
        }
        members.insert("expansion".to_owned(), expansion);
    }
    Ok(format.answer(StatusCode::OK, answer.to_string()))
}

/// `url` with the version that another parameter names.
fn versioned(input: &Input, version: &str) -> Option<String> {
    let url = input.get("url")?;
    Some(match input.get(version) {
        Some(version) if !url.contains('|') => format!("{url}|{version}"),
        _ => url.to_owned(),
    })
}

fn parameters(parameters: Vec<Value>) -> String {
    json!({ "resourceType": "Parameters", "parameter": parameters }).to_string()
}

fn named(name: &str, kind: &str, value: impl Into<Value>) -> Value {
    json!({ "name": name, kind: value.into() })
}

/// `CodeSystem/$lookup`.
pub(in crate::fhir) async fn lookup(call: Call) -> Result<Response, Outcome> {
    let known = ["system", "version", "code", "coding", "property"];
    let (format, input, session) = begin(&call, &known).await?;
    let (system, code, _) =
        input.codes(None).into_iter().next().ok_or_else(|| required("`code` with `system`, or `coding`"))?;
    let system = system.ok_or_else(|| required("`system`"))?;
    let canonical = match input.get("version") {
        Some(version) => format!("{system}|{version}"),
        None => system.clone(),
    };
    let mut shelf = Shelf::new(&session);
    let found = shelf.code_system(&canonical).await?;
    let found = found.ok_or_else(|| {
        Outcome::from(Unanswered::from(TerminologyError::UnknownSystem(system.chars().take(200).collect())))
    })?;
    let concept = found
        .find(&code)
        .ok_or_else(|| Outcome::new(StatusCode::NOT_FOUND, "not-found", "the code system has no such code"))?;
    let mut out = vec![named("name", "valueString", found.name.clone().unwrap_or_else(|| found.url.clone()))];
    out.extend(found.version.as_ref().map(|version| named("version", "valueString", version.clone())));
    out.push(named("display", "valueString", concept.display.clone().unwrap_or_else(|| concept.code.clone())));
    out.extend(concept.definition.as_ref().map(|text| named("definition", "valueString", text.clone())));
    let wanted: Vec<&str> = input.all("property").collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.contains(&name) || wanted.contains(&"*");
    if is_wanted("designation") {
        for (language, usage, value) in &concept.designations {
            let mut parts = vec![];
            parts.extend(language.as_ref().map(|language| named("language", "valueCode", language.clone())));
            parts.extend(usage.as_ref().map(|usage| json!({ "name": "use", "valueCoding": { "code": usage } })));
            parts.push(named("value", "valueString", value.clone()));
            out.push(json!({ "name": "designation", "part": parts }));
        }
    }
    let property =
        |code: &str, value: Value| json!({ "name": "property", "part": [named("code", "valueCode", code), value] });
    if is_wanted("parent") {
        out.extend(
            concept.parents.iter().map(|parent| property("parent", named("value", "valueCode", parent.clone()))),
        );
    }
    if is_wanted("child") {
        let children = found.concepts().filter(|other| other.parents.contains(&concept.code));
        out.extend(children.map(|child| property("child", named("value", "valueCode", child.code.clone()))));
    }
    for (name, value) in concept.properties.iter().filter(|(name, _)| name != "parent" && is_wanted(name)) {
        let value = match value {
            Property::Code(text) => named("value", "valueCode", text.clone()),
            Property::Text(text) => named("value", "valueString", text.clone()),
            Property::Bool(value) => named("value", "valueBoolean", *value),
            Property::DateTime(text) => named("value", "valueDateTime", text.clone()),
            Property::Number(text) => match text.parse::<i64>() {
                Ok(number) => named("value", "valueInteger", number),
                Err(_) => named("value", "valueDecimal", serde_json::from_str::<Value>(text).unwrap_or_default()),
            },
            Property::Coding { system, code } => {
                json!({ "name": "value", "valueCoding": { "system": system, "code": code } })
            }
        };
        out.push(property(name, value));
    }
    Ok(format.answer(StatusCode::OK, parameters(out)))
}

/// What `$validate-code` says.
fn verdict(format: Format, outcome: Result<Option<String>, String>) -> Response {
    let out = match outcome {
        Ok(display) => {
            let mut out = vec![named("result", "valueBoolean", true)];
            out.extend(display.map(|display| named("display", "valueString", display)));
            out
        }
        Err(message) => vec![named("result", "valueBoolean", false), named("message", "valueString", message)],
    };
    format.answer(StatusCode::OK, parameters(out))
}

fn display_fits(given: Option<&str>, known: Option<&str>, others: &[&str]) -> bool {
    let Some(given) = given else { return true };
    known.is_none_or(|known| known.eq_ignore_ascii_case(given))
        || others.iter().any(|other| other.eq_ignore_ascii_case(given))
}

/// `CodeSystem/$validate-code` and `CodeSystem/[id]/$validate-code`.
pub(in crate::fhir) async fn validate_in_system(id: Option<Path<String>>, call: Call) -> Result<Response, Outcome> {
    let known = ["url", "codeSystem", "version", "code", "display", "coding", "codeableConcept", "system"];
    let (format, input, session) = begin(&call, &known).await?;
    let shelf = Shelf::new(&session);
    let url = versioned(&input, "version");
    let of_coding = input.codings.first().and_then(|(system, _, _)| system.clone());
    let url = url.or(of_coding);
    let text = about(
        &shelf,
        "CodeSystem",
        id.as_ref().map(|Path(id)| id.as_str()),
        input.resource("codeSystem"),
        url.as_deref(),
    )
    .await?;
    let text = text.ok_or_else(|| required("`url`, `coding`, or a CodeSystem"))?;
    let value = json::parse(text.as_bytes()).map_err(|error| Outcome::invalid(error.to_string()))?;
    let system = CodeSystem::read(&value).ok_or_else(|| Outcome::invalid("the CodeSystem has no url"))?;
    let codes = input.codes(Some(&system.url));
    if codes.is_empty() {
        return Err(required("`code`, `coding` or `codeableConcept`"));
    }
    let mut wrong = "the code system has no such code".to_owned();
    for (of, code, display) in codes {
        if of.as_deref().is_some_and(|of| of != system.url) {
            continue;
        }
        let Some(concept) = system.find(&code) else { continue };
        let others: Vec<&str> = concept.designations.iter().map(|(_, _, value)| value.as_str()).collect();
        if display_fits(display.as_deref(), concept.display.as_deref(), &others) {
            return Ok(verdict(format, Ok(concept.display.clone())));
        }
        wrong = "the display is not one of the code's".to_owned();
    }
    if !system.is_complete() {
        wrong.push_str("; not all of the code system is here");
    }
    Ok(verdict(format, Err(wrong)))
}

/// `ValueSet/$validate-code` and `ValueSet/[id]/$validate-code`.
pub(in crate::fhir) async fn validate_in_value_set(id: Option<Path<String>>, call: Call) -> Result<Response, Outcome> {
    let known = ["url", "valueSetVersion", "valueSet", "code", "system", "display", "coding", "codeableConcept"];
    let (format, input, session) = begin(&call, &known).await?;
    let mut shelf = Shelf::new(&session);
    let url = versioned(&input, "valueSetVersion");
    let text =
        about(&shelf, "ValueSet", id.as_ref().map(|Path(id)| id.as_str()), input.resource("valueSet"), url.as_deref())
            .await?;
    let set: ValueSet = read_value_set(&text.ok_or_else(|| required("`url`, or a ValueSet"))?)?;
    let codes = input.codes(None);
    if codes.is_empty() {
        return Err(required("`code`, `coding` or `codeableConcept`"));
    }
    let mut wrong = "the value set has no such code".to_owned();
    for (system, code, display) in codes {
        let found = shelf.ask(|library| terminology::contains(&set, library, system.as_deref(), &code)).await?;
        let Some(coded) = found else { continue };
        if display_fits(display.as_deref(), coded.display.as_deref(), &[]) {
            return Ok(verdict(format, Ok(coded.display)));
        }
        wrong = "the display is not the code's".to_owned();
    }
    Ok(verdict(format, Err(wrong)))
}

/// `ConceptMap/$translate` and `ConceptMap/[id]/$translate`.
pub(in crate::fhir) async fn translate(id: Option<Path<String>>, call: Call) -> Result<Response, Outcome> {
    let known =
        ["url", "conceptMap", "conceptMapVersion", "code", "system", "coding", "codeableConcept", "targetsystem"];
    let (format, input, session) = begin(&call, &known).await?;
    let shelf = Shelf::new(&session);
    let url = versioned(&input, "conceptMapVersion");
    let text = about(
        &shelf,
        "ConceptMap",
        id.as_ref().map(|Path(id)| id.as_str()),
        input.resource("conceptMap"),
        url.as_deref(),
    )
    .await?;
    let text = text.ok_or_else(|| required("`url`, or a ConceptMap"))?;
    let map = json::parse(text.as_bytes()).map_err(|error| Outcome::invalid(error.to_string()))?;
    let mut found = Vec::new();
    let codes = input.codes(None);
    if codes.is_empty() {
        return Err(required("`code` with `system`, `coding` or `codeableConcept`"));
    }
    for (system, code, _) in codes {
        let system = system.ok_or_else(|| required("`system`"))?;
        found.extend(terminology::translate(&map, &system, &code, input.get("targetsystem")));
    }
    let matched = found.iter().any(terminology::Translation::is_match);
    let mut out = vec![named("result", "valueBoolean", matched)];
    if !matched {
        out.push(named("message", "valueString", "the map says nothing of this code"));
    }
    for one in found {
        let mut parts = vec![named("equivalence", "valueCode", one.equivalence)];
        if let Some(code) = one.code {
            let mut concept = json!({ "code": code });
            if let Some(system) = one.system {
                concept["system"] = json!(system);
            }
            if let Some(display) = one.display {
                concept["display"] = json!(display);
            }
            parts.push(json!({ "name": "concept", "valueCoding": concept }));
        }
        parts.extend(one.map.map(|map| named("source", "valueUri", map)));
        out.push(json!({ "name": "match", "part": parts }));
    }
    Ok(format.answer(StatusCode::OK, parameters(out)))
}
