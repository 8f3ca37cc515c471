//! The parameters of an export of rows: they are posted, since subjects have parts.

use axum::http::{HeaderMap, StatusCode};
use mavis_fhir::json::Value;

use crate::{
    fhir::{
        outcome::Outcome,
        sql_run::{Given, Narrow, Which, named, once, parameters, text, values, written},
    },
    http::Written,
};

/// Subjects of one export, at most.
const MAX_SUBJECTS: usize = 100;

/// What is asked for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) subjects: Vec<Wanted>,
    pub(super) narrow: Narrow,
    pub(super) format: Format,
    /// The client's own name for the export.
    pub(super) tracking: Option<String>,
}

/// One output.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) name: Option<String>,
    pub(super) which: Which,
    pub(super) values: Vec<(String, Given)>,
}

/// How the rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) name: &'static str,
    pub(super) written: Written,
}

impl Format {
    fn of(word: &str, header: bool) -> Option<Self> {
        let written = written(word, header)?;
        let name = match written {
            Written::Objects => "json",
            Written::Lines => "ndjson",
            Written::Csv { .. } => "csv",
            Written::Parquet => "parquet",
            Written::Parameters => return None,
        };
        Some(Self { name, written })
    }

    pub(super) fn media_type(self) -> &'static str {
        match self.written {
            Written::Objects => "application/json",
            Written::Lines => "application/x-ndjson",
            Written::Csv { header: true } => "text/csv; charset=utf-8; header=present",
            Written::Csv { header: false } => "text/csv; charset=utf-8; header=absent",
            Written::Parquet => "application/vnd.apache.parquet",
            Written::Parameters => "application/fhir+json",
        }
    }
}

impl Asked {
    /// # Errors
    /// 400 for what cannot be applied, 406 for a format that is not offered, 415 for a body of another media type.
    pub(super) fn read(query: &[(String, String)], headers: &HeaderMap, body: &[u8]) -> Result<Self, Outcome> {
        let (mut subjects, mut narrow) = (Vec::new(), Narrow::default());
        let (mut format, mut header, mut tracking) = (None, None, None);
        let mut set = |name: &str, value: &str| match name {
            "_format" => once(name, &mut format, value.to_owned()),
            "header" => {
                let header_wanted = value.parse::<bool>().map_err(|_| Outcome::invalid("`header` is true or false"))?;
                once(name, &mut header, header_wanted)
            }
            "clientTrackingId" => once(name, &mut tracking, value.to_owned()),
            _ if narrow.set(name, value)? => Ok(()),
            other => {
                let other: String = other.chars().take(64).collect();
                let message = format!("there is no parameter `{other}` here, or it has a value of another kind");
                Err(Outcome::new(StatusCode::BAD_REQUEST, "not-supported", message))
            }
        };
        for (name, value) in query {
            set(name, value)?;
        }
        let json = parameters(headers, body)?;
        for (name, parameter) in named(json.get("parameter"))? {
            match name {
                "subject" | "view" | "query" => subjects.push(Wanted::read(parameter)?),
                name => set(name, &text(name, parameter)?)?,
            }
        }
        if subjects.is_empty() {
            return Err(Outcome::invalid("`subject` says which views and queries are exported: name one at least"));
        }
        if subjects.len() > MAX_SUBJECTS {
            let message = format!("more than {MAX_SUBJECTS} subjects in one export");
            return Err(Outcome::new(StatusCode::BAD_REQUEST, "too-costly", message));
        }
        let format = Format::of(format.as_deref().unwrap_or("ndjson"), header.unwrap_or(true)).ok_or_else(|| {
            let message = "the formats are ndjson, csv, parquet and json";
            Outcome::new(StatusCode::NOT_ACCEPTABLE, "not-supported", message)
        })?;
        Ok(Self { subjects, narrow, format, tracking })
    }
}

impl Wanted {
    fn read(parameter: &Value<'_>) -> Result<Self, Outcome> {
        let mut wanted = Self::default();
        for (name, part) in named(parameter.get("part"))? {
            match (name, part.get("resource")) {
                ("parameters", _) => wanted.values.extend(values(part)?),
                ("name", None) => once(name, &mut wanted.name, text(name, part)?)?,
                (name, Some(resource)) if wanted.which.set_resource(name, resource)? => {}
                (name, None) if wanted.which.set(name, &text(name, part)?)? => {}
                (other, _) => {
                    let other: String = other.chars().take(64).collect();
                    let message = format!("a subject has no part `{other}`, or not of this kind");
                    return Err(Outcome::new(StatusCode::BAD_REQUEST, "not-supported", message));
                }
            }
        }
        if wanted.name.as_ref().is_some_and(|name| name.is_empty() || name.len() > 255) {
            return Err(Outcome::invalid("the `name` of an output has 1 to 255 bytes"));
        }
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn subject() -> Value {
        json!({ "name": "subject", "part": [{ "name": "subjectReference", "valueString": "ViewDefinition/a" }] })
    }

    #[rstest]
    #[case(json!([subject()]), Ok(1))]
    #[case(json!([subject(), subject(), { "name": "_format", "valueCode": "parquet" }]), Ok(2))]
    #[case(json!([subject(), { "name": "patient", "valueReference": { "reference": "Patient/a" } }]), Ok(1))]
    #[case(json!([]), Err(400))]
    #[case(json!([subject(), { "name": "_format", "valueCode": "xml" }]), Err(406))]
    #[case(json!([subject(), { "name": "nonsense", "valueString": "x" }]), Err(400))]
    #[case(json!([subject(), { "name": "_since", "valueInstant": "yesterday" }]), Err(400))]
    #[case(json!([{ "name": "subject", "part": [{ "name": "nonsense", "valueString": "x" }] }]), Err(400))]
    fn what_cannot_be_applied_is_refused(#[case] parameters: Value, #[case] expected: Result<usize, u16>) {
        let body = json!({ "resourceType": "Parameters", "parameter": parameters }).to_string();
        let asked = Asked::read(&[], &HeaderMap::new(), body.as_bytes());
        assert_eq!(asked.map(|asked| asked.subjects.len()).map_err(|error| error.status().as_u16()), expected);
    }
}
