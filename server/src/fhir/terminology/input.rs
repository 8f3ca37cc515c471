//! The parameters of an operation: of a query, or of Parameters that are posted.

use axum::body::Bytes;
use serde_json::Value;

use crate::fhir::outcome::Outcome;

/// Named values; a Coding's parts stand as `coding.system`, `coding.code` and so on.
#[derive(Debug, Default)]
pub(super) struct Input {
    values: Vec<(String, String)>,
    /// A resource that came along, by the parameter's name.
    pub(super) resources: Vec<(String, String)>,
    /// Codings of a CodeableConcept: system, code, display.
    pub(super) codings: Vec<(Option<String>, String, Option<String>)>,
}

impl Input {
    /// # Errors
    /// 400 for a body that is no Parameters, and for a parameter that the operation does not have.
    pub(super) fn read(query: Vec<(String, String)>, body: &Bytes, known: &[&str]) -> Result<Self, Outcome> {
        let mut input = Self { values: query, ..Self::default() };
        input.values.retain(|(name, _)| name != "_format" && name != "_pretty");
        if !body.is_empty() {
            input.add(body)?;
        }
        let names = input.values.iter().map(|(name, _)| name).chain(input.resources.iter().map(|(name, _)| name));
        for name in names {
            let name = name.split('.').next().unwrap_or_default();
            if !known.contains(&name) {
                let name: String = name.chars().take(64).collect();
                let message =
                    format!("the parameter `{name}` is not supported: this operation takes {}", known.join(", "));
                return Err(Outcome::new(axum::http::StatusCode::BAD_REQUEST, "not-supported", message));
            }
        }
        Ok(input)
    }

    fn add(&mut self, body: &Bytes) -> Result<(), Outcome> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|_| Outcome::invalid("the body is no JSON: Parameters are expected"))?;
        if value["resourceType"] != "Parameters" {
            return Err(Outcome::invalid("a resource of type Parameters is expected"));
        }
        for parameter in value["parameter"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().ok_or_else(|| Outcome::invalid("a parameter has no name"))?;
            if parameter["resource"].is_object() {
                self.resources.push((name.to_owned(), parameter["resource"].to_string()));
                continue;
            }
            let members = parameter.as_object().into_iter().flatten();
            for (member, value) in members.filter(|(member, _)| member.starts_with("value")) {
                match (member.as_str(), value) {
                    ("valueCoding", coding) => self.coding(name, coding),
                    ("valueCodeableConcept", concept) => {
                        for coding in concept["coding"].as_array().into_iter().flatten() {
                            self.coding("coding", coding);
                        }
                    }
                    (_, Value::String(text)) => self.values.push((name.to_owned(), text.clone())),
                    (_, value @ (Value::Bool(_) | Value::Number(_))) => {
                        self.values.push((name.to_owned(), value.to_string()));
                    }
                    _ => return Err(Outcome::invalid("a parameter has a value of another type")),
                }
            }
        }
        Ok(())
    }

    fn coding(&mut self, name: &str, coding: &Value) {
        let text = |member: &str| coding[member].as_str().map(str::to_owned);
        if let Some(code) = text("code") {
            self.codings.push((text("system"), code, text("display")));
        }
        let _name = name;
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        self.values.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn resource(&self, name: &str) -> Option<&str> {
        self.resources.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }

    /// The codes that are asked about: of `coding` or `codeableConcept`, else `code` with `system`.
    pub(super) fn codes(&self, system: Option<&str>) -> Vec<(Option<String>, String, Option<String>)> {
        if !self.codings.is_empty() {
            return self.codings.clone();
        }
        let display = self.get("display").map(str::to_owned);
        let system = self.get("system").or(system).map(str::to_owned);
        self.get("code").map(|code| (system, code.to_owned(), display)).into_iter().collect()
    }

    /// A number from 0; `None` where it is not there.
    pub(super) fn number(&self, name: &str) -> Result<Option<usize>, Outcome> {
        self.get(name)
            .map(|text| text.parse().map_err(|_| Outcome::invalid(format!("`{name}` is a whole number from 0"))))
            .transpose()
    }
}
