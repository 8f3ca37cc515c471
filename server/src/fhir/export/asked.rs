//! The parameters of an export.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use mavis_fhir::{ResourceType, bundle::Condition, definitions::patient_compartment, temporal};
use serde_json::Value;

use crate::fhir::outcome::Outcome;

/// Filters of one type, at most.
const MAX_FILTERS: usize = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    Ndjson,
    Parquet,
}

/// Whose resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Level {
    System,
    Patients,
    Group(String),
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) level: Level,
    pub(super) types: Option<BTreeSet<ResourceType>>,
    /// Microseconds of the Unix epoch: changed at or after, and before.
    pub(super) since: Option<i64>,
    pub(super) until: Option<i64>,
    /// Searches by type; a resource that one of its type's finds is exported.
    pub(super) filters: BTreeMap<ResourceType, Vec<Vec<(String, String)>>>,
    pub(super) elements: Vec<(Option<ResourceType>, String)>,
    pub(super) output: Output,
}

fn refused(code: &'static str, message: String) -> Outcome {
    Outcome::new(StatusCode::BAD_REQUEST, code, message)
}

impl Asked {
    pub(super) fn read(level: Level, parameters: &[(String, String)]) -> Result<Self, Outcome> {
        let mut asked = Self {
            level,
            types: None,
            since: None,
            until: None,
            filters: BTreeMap::new(),
            elements: Vec::new(),
            output: Output::Ndjson,
        };
        for (name, value) in parameters {
            let time = || {
                // A `+` that was not encoded has become a blank.
                let period = temporal::parse(&value.replace(' ', "+"));
                period
                    .map(|period| period.start)
                    .ok_or_else(|| refused("value", format!("`{name}` is no time that exists")))
            };
            match name.as_str() {
                "_format" | "_pretty" => {}
                "_outputFormat" => {
                    asked.output = match value.as_str() {
                        "ndjson" | "application/ndjson" | "application/fhir+ndjson" | "application/fhir ndjson" => {
                            Output::Ndjson
                        }
                        "parquet" | "application/vnd.apache.parquet" | "application/x-parquet" => Output::Parquet,
                        _ => return Err(refused("not-supported", "`_outputFormat` is ndjson or parquet".to_owned())),
                    };
                }
                "_since" => asked.since = Some(time()?),
                "_until" => asked.until = Some(time()?),
                "_type" => {
                    let types = asked.types.get_or_insert_default();
                    for name in value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                        types.insert(name.parse().map_err(|_| unknown(name))?);
                    }
                }
                "_typeFilter" => {
                    for filter in filters(value) {
                        let condition = Condition::parse(filter).ok_or_else(|| {
                            refused("value", "`_typeFilter` is a search such as `Type?name=value`".to_owned())
                        })?;
                        let of_type = asked.filters.entry(condition.resource).or_default();
                        if of_type.len() >= MAX_FILTERS {
                            return Err(refused("too-costly", format!("more than {MAX_FILTERS} filters of one type")));
                        }
                        of_type.push(condition.criteria);
                    }
                }
                "_elements" => {
                    for element in value.split(',').map(str::trim).filter(|element| !element.is_empty()) {
                        let (resource, name) = match element.split_once('.') {
                            Some((resource, name)) => (Some(resource.parse().map_err(|_| unknown(resource))?), name),
                            None => (None, element),
                        };
                        asked.elements.push((resource, name.to_owned()));
                    }
                }
                other => {
                    let other: String = other.chars().take(64).collect();
                    return Err(refused("not-supported", format!("$export has no parameter `{other}` here")));
                }
            }
        }
        asked.check()?;
        Ok(asked)
    }

    fn check(&self) -> Result<(), Outcome> {
        if self.level != Level::System
            && let Some(outside) = self.types.iter().flatten().find(|resource| !of_patients(**resource))
        {
            return Err(refused("invalid", format!("no {outside} is in a patient's compartment: export the system")));
        }
        if let Some(types) = &self.types
            && let Some(stray) = self.filters.keys().find(|resource| !types.contains(resource))
        {
            return Err(refused("invalid", format!("`_typeFilter` is about {stray}, which `_type` does not name")));
        }
        if self.output == Output::Parquet && !self.elements.is_empty() {
            return Err(refused(
                "not-supported",
                "`_elements` goes with ndjson: columns of Parquet can be left unread".to_owned(),
            ));
        }
        Ok(())
    }

    /// The elements of a type that are asked for; `None`: all of them.
    pub(super) fn elements_of(&self, resource: ResourceType) -> Option<Vec<String>> {
        let of_type = |(of, _): &&(Option<ResourceType>, String)| of.is_none_or(|of| of == resource);
        let names: Vec<String> = self.elements.iter().filter(of_type).map(|(_, name)| name.clone()).collect();
        (!names.is_empty()).then_some(names)
    }

    pub(super) fn takes(&self, resource: ResourceType) -> bool {
        self.types.as_ref().is_none_or(|types| types.contains(&resource))
            && (self.level == Level::System || of_patients(resource))
    }
}

fn unknown(name: &str) -> Outcome {
    let name: String = name.chars().take(64).collect();
    refused("not-supported", format!("`{name}` is not a resource type of FHIR R4"))
}

fn of_patients(resource: ResourceType) -> bool {
    resource.name() == "Patient" || !patient_compartment(resource).is_empty()
}

/// Several filters with commas between them: a comma is one only before the next `Type?`.
fn filters(value: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, _) in value.match_indices(',') {
        let rest = &value[at + 1..];
        let begins = rest.split_once('?').is_some_and(|(name, _)| name.parse::<ResourceType>().is_ok());
        if begins {
            parts.push(&value[start..at]);
            start = at + 1;
        }
    }
    parts.push(&value[start..]);
    parts
}

/// The parameters of a request that is posted: each one's name, and its value as text.
pub(super) fn posted(body: &[u8]) -> Result<Vec<(String, String)>, Outcome> {
    let value: Value =
        serde_json::from_slice(body).map_err(|_| Outcome::invalid("the body is no JSON: Parameters are expected"))?;
    if value["resourceType"] != "Parameters" {
        return Err(Outcome::invalid("a resource of type Parameters is expected"));
    }
    let mut parameters = Vec::new();
    for parameter in value["parameter"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().ok_or_else(|| Outcome::invalid("a parameter has no name"))?;
        let members = parameter.as_object().into_iter().flatten();
        let value = members.filter(|(key, _)| key.starts_with("value")).map(|(_, value)| value).next();
        let text = match value {
            Some(Value::String(text)) => text.clone(),
            Some(value @ (Value::Bool(_) | Value::Number(_))) => value.to_string(),
            _ => return Err(Outcome::invalid("a parameter has no primitive value")),
        };
        parameters.push((name.to_owned(), text));
    }
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn read(level: Level, name: &str, value: &str) -> Result<Asked, Outcome> {
        Asked::read(level, &[(name.to_owned(), value.to_owned())])
    }

    #[rstest]
    #[case(Level::System, "_type", "Patient,Observation", true)]
    #[case(Level::System, "_type", "Nonsense", false)]
    #[case(Level::System, "_since", "2024-13-45", false)]
    #[case(Level::System, "_until", "2024-01-01T00:00:00Z", true)]
    #[case(Level::System, "_outputFormat", "application/fhir+ndjson", true)]
    #[case(Level::System, "_outputFormat", "csv", false)]
    #[case(Level::System, "_typeFilter", "Patient", false)]
    #[case(Level::System, "patient", "Patient/1", false)]
    #[case(Level::Patients, "_type", "Observation", true)]
    #[case(Level::Patients, "_type", "Medication", false)]
    #[case(Level::System, "_type", "Medication", true)]
    fn what_cannot_be_applied_is_refused(
        #[case] level: Level,
        #[case] name: &str,
        #[case] value: &str,
        #[case] taken: bool,
    ) {
        assert_eq!(read(level, name, value).is_ok(), taken);
    }

    #[test]
    fn a_comma_within_a_filter_does_not_end_it() {
        let asked = read(Level::System, "_typeFilter", "Observation?code=a,b,Patient?gender=male").unwrap();
        let names: Vec<String> = asked.filters.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["Observation", "Patient"]);
        let observation: ResourceType = "Observation".parse().unwrap();
        assert_eq!(asked.filters[&observation], [vec![("code".to_owned(), "a,b".to_owned())]]);
    }

    #[test]
    fn parameters_are_read_from_a_body() {
        let body = br#"{"resourceType":"Parameters","parameter":[{"name":"_type","valueString":"Patient"},{"name":"_since","valueInstant":"2024-01-01T00:00:00Z"}]}"#;
        assert_eq!(posted(body).unwrap().len(), 2);
        assert!(posted(b"{}").is_err());
    }
}
