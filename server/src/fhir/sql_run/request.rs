//! The parameters of `$sql-run`, from a query string and from a Parameters resource.

use axum::http::{HeaderMap, StatusCode, header};
use mavis_fhir::json::{self, Value};

use super::{patients::Narrow, subject::Which};
use crate::{fhir::outcome::Outcome, http::Written};

/// What one call asks for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) which: Which,
    /// Values for the parameters of a query, by name, as the JSON of `value[x]`.
    pub(super) values: Vec<(String, Given)>,
    /// JSON of the resources that a view runs over in the place of those stored.
    pub(super) resources: Vec<String>,
    pub(super) narrow: Narrow,
    pub(super) limit: Option<usize>,
    format: Option<String>,
    header: Option<bool>,
}

/// The value of a parameter of a query.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::fhir) enum Given {
    Boolean(bool),
    /// As written.
    Number(String),
    Text(String),
}

impl Asked {
    /// # Errors
    /// 400 for an unknown parameter or a value that is none.
    pub(super) fn of_query(parameters: &[(String, String)]) -> Result<Self, Outcome> {
        let mut asked = Self::default();
        for (name, value) in parameters {
            asked.set(name, value)?;
        }
        Ok(asked)
    }

    /// Adds what a Parameters resource says.
    ///
    /// # Errors
    /// 415 for another media type, 400 for what is no Parameters resource.
    pub(super) fn read_body(&mut self, headers: &HeaderMap, body: &[u8]) -> Result<(), Outcome> {
        if body.is_empty() {
            return Ok(());
        }
        let json = parameters(headers, body)?;
        for (name, parameter) in named(json.get("parameter"))? {
            self.read(name, parameter)?;
        }
        Ok(())
    }

    fn read(&mut self, name: &str, parameter: &Value<'_>) -> Result<(), Outcome> {
        match (name, parameter.get("resource")) {
            ("resource", Some(resource)) => {
                self.resources.push(resource.to_json());
                return Ok(());
            }
            ("parameters", _) => {
                self.values.extend(values(parameter)?);
                return Ok(());
            }
            (name, Some(resource)) if self.which.set_resource(name, resource)? => return Ok(()),
            _ => {}
        }
        self.set(name, &text(name, parameter)?)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Outcome> {
        if self.which.set(name, value)? || self.narrow.set(name, value)? {
            return Ok(());
        }
        let wrong = |needs: &str| Outcome::invalid(format!("`{name}` is {needs}"));
        match name {
            "_format" | "format" => once(name, &mut self.format, value.to_owned()),
            "header" => {
                let header = value.parse().map_err(|_| wrong("true or false"))?;
                once(name, &mut self.header, header)
            }
            "_limit" => {
                let limit = value.parse().map_err(|_| wrong("a number of rows"))?;
                once(name, &mut self.limit, limit)
            }
            other => {
                let other: String = other.chars().take(64).collect();
                let message = format!("there is no parameter `{other}` here, or it has a value of another kind");
                Err(Outcome::new(StatusCode::BAD_REQUEST, "not-supported", message))
            }
        }
    }

    /// Names a stored subject.
    ///
    /// # Errors
    /// 400 where the request names another one.
    pub(super) fn refer(&mut self, reference: String) -> Result<(), Outcome> {
        once("subjectReference", &mut self.which.reference, reference)
    }

    /// What the rows are written as: `_format`, or what `Accept` asks for; JSON where neither says.
    ///
    /// # Errors
    /// 406 for a format that is not offered.
    pub(super) fn written(&self, headers: &HeaderMap) -> Result<Written, Outcome> {
        let header = self.header.unwrap_or(true);
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        let wanted: Vec<&str> = match (&self.format, accept) {
            (Some(format), _) => vec![format],
            (None, Some(accept)) => accept.split(',').collect(),
            (None, None) => vec!["json"],
        };
        let found = wanted.iter().find_map(|word| written(word, header));
        found.ok_or_else(|| {
            let message = "the formats are json, ndjson, csv, parquet and fhir";
            Outcome::new(StatusCode::NOT_ACCEPTABLE, "not-supported", message)
        })
    }
}

/// How rows are written for the word of a format or a media type; `None` for one that is not offered.
pub(in crate::fhir) fn written(word: &str, header: bool) -> Option<Written> {
    let word = word.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    // a `+` in a query that was not encoded has become a blank
    match word.replace(' ', "+").as_str() {
        "json" | "application/json" | "text/json" | "*/*" | "application/*" | "" => Some(Written::Objects),
        "ndjson" | "application/x-ndjson" | "application/ndjson" | "application/fhir+ndjson" | "application/jsonl" => {
            Some(Written::Lines)
        }
        "csv" | "text/csv" | "text/*" => Some(Written::Csv { header }),
        "parquet" | "application/vnd.apache.parquet" | "application/octet-stream" => Some(Written::Parquet),
        "fhir" | "application/fhir+json" => Some(Written::Parameters),
        _ => None,
    }
}

/// The Parameters resource of a body.
///
/// # Errors
/// 415 for another media type, 400 for what is no Parameters resource.
pub(in crate::fhir) fn parameters<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<Value<'a>, Outcome> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = content_type.and_then(|text| text.split(';').next()).unwrap_or("application/json").trim();
    if !matches!(media, "application/fhir+json" | "application/json" | "application/json+fhir" | "text/json") {
        let message = "the parameters are posted as `application/fhir+json`";
        return Err(Outcome::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-supported", message));
    }
    let json = json::parse(body).map_err(|error| Outcome::invalid(error.to_string()))?;
    if json.get_str("resourceType") != Some("Parameters") {
        return Err(Outcome::invalid("the body is not a Parameters resource"));
    }
    Ok(json)
}

/// A list of parameters, or of parts of one, with their names.
pub(in crate::fhir) fn named<'v, 'a>(list: Option<&'v Value<'a>>) -> Result<Vec<(&'v str, &'v Value<'a>)>, Outcome> {
    let parameters = list.into_iter().flat_map(Value::items);
    let no_name = || Outcome::invalid("a parameter has no name");
    parameters.map(|parameter| Ok((parameter.get_str("name").ok_or_else(no_name)?, parameter))).collect()
}

/// The text of a parameter's value; of a Reference, what it refers to.
pub(in crate::fhir) fn text(name: &str, parameter: &Value<'_>) -> Result<String, Outcome> {
    let value = parameter.members().find(|(name, _)| name.starts_with("value")).map(|(_, value)| value);
    match value {
        Some(Value::String(text)) => Ok(text.clone().into_owned()),
        Some(Value::Bool(value)) => Ok(value.to_string()),
        Some(Value::Number(number)) => Ok((*number).to_owned()),
        Some(object) => object.get_str("reference").map(str::to_owned).ok_or_else(|| no_value(name)),
        None => Err(no_value(name)),
    }
}

/// Values for the parameters of a query: a Parameters resource with one for each of them, or the same as parts.
pub(in crate::fhir) fn values(parameter: &Value<'_>) -> Result<Vec<(String, Given)>, Outcome> {
    let given = match parameter.get("resource") {
        Some(resource) => resource.get("parameter"),
        None => parameter.get("part"),
    };
    named(given)?.into_iter().map(|(name, value)| Ok((name.to_owned(), given_value(name, value)?))).collect()
}

fn no_value(name: &str) -> Outcome {
    let name: String = name.chars().take(64).collect();
    Outcome::invalid(format!("parameter `{name}` has no value that can be read"))
}

/// Sets what can be said once; the same again says nothing new.
pub(in crate::fhir) fn once<T: PartialEq>(name: &str, place: &mut Option<T>, value: T) -> Result<(), Outcome> {
    if place.as_ref().is_some_and(|known| *known != value) {
        return Err(Outcome::invalid(format!("`{name}` is given twice, differently")));
    }
    *place = Some(value);
    Ok(())
}

fn given_value(name: &str, parameter: &Value<'_>) -> Result<Given, Outcome> {
    let value = parameter.members().find(|(name, _)| name.starts_with("value")).map(|(_, value)| value);
    match value {
        Some(Value::Bool(value)) => Ok(Given::Boolean(*value)),
        Some(Value::Number(number)) => Ok(Given::Number((*number).to_owned())),
        Some(Value::String(text)) => Ok(Given::Text(text.clone().into_owned())),
        _ => Err(no_value(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(None, None, Ok(Written::Objects))]
    #[case(Some("csv"), Some("application/json"), Ok(Written::Csv { header: true }))]
    #[case(None, Some("application/fhir+json, application/json"), Ok(Written::Parameters))]
    #[case(None, Some("text/html, application/x-ndjson;q=0.9"), Ok(Written::Lines))]
    #[case(Some("application/vnd.apache.parquet"), None, Ok(Written::Parquet))]
    #[case(Some("xml"), Some("*/*"), Err(()))]
    fn the_format_is_the_one_asked_for(
        #[case] format: Option<&str>,
        #[case] accept: Option<&str>,
        #[case] expected: Result<Written, ()>,
    ) {
        let asked = Asked { format: format.map(str::to_owned), ..Asked::default() };
        let headers = accept.map(|accept| (header::ACCEPT, accept.parse().unwrap())).into_iter().collect();
        assert_eq!(asked.written(&headers).map_err(drop), expected);
    }
}
