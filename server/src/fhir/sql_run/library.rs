//! SQLQuery and SQLView: a Library that holds SQL over views.

use axum::http::StatusCode;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use datafusion::scalar::ScalarValue;
use mavis_fhir::json::{self, Value};
use mavis_sql::Session;

use super::{Views, planned, request::Given, subject::of_canonical};
use crate::{App, fhir::outcome::Outcome};

/// A query and the views that it reads, by the names that it gives them.
#[derive(Debug)]
pub(in crate::fhir) struct SqlQuery {
    pub(in crate::fhir) sql: String,
    pub(in crate::fhir) views: Views,
    /// Names of its parameters.
    parameters: Vec<String>,
}

fn unprocessable(message: impl Into<String>) -> Outcome {
    Outcome::new(StatusCode::UNPROCESSABLE_ENTITY, "processing", message)
}

impl SqlQuery {
    /// # Errors
    /// 422 where the Library is no query, or a view that it depends on is not there.
    pub(super) async fn read(app: &App, session: &Session, library: &Value<'_>) -> Result<Self, Outcome> {
        let codes = library.at(&["type", "coding"]).into_iter().flat_map(Value::items);
        if !codes.filter_map(|coding| coding.get_str("code")).any(|code| matches!(code, "sql-query" | "sql-view")) {
            return Err(unprocessable("the Library is not of type `sql-query` or `sql-view`"));
        }
        let parameters = library.get("parameter").into_iter().flat_map(Value::items);
        let parameters = parameters.filter(|parameter| parameter.get_str("use") != Some("out"));
        Ok(Self {
            sql: sql(library)?,
            views: views(app, session, library).await?,
            parameters: parameters.filter_map(|parameter| parameter.get_str("name").map(str::to_owned)).collect(),
        })
    }

    /// The values of the query's parameters.
    ///
    /// # Errors
    /// 400 for a value whose parameter the query does not have.
    pub(in crate::fhir) fn values(&self, given: &[(String, Given)]) -> Result<Vec<(String, ScalarValue)>, Outcome> {
        let mut values = Vec::new();
        for (name, value) in given {
            if !self.parameters.is_empty() && !self.parameters.contains(name) {
                let name: String = name.chars().take(64).collect();
                return Err(Outcome::invalid(format!("the query has no parameter `{name}`")));
            }
            let value = match value {
                Given::Boolean(value) => ScalarValue::Boolean(Some(*value)),
                Given::Text(text) => ScalarValue::Utf8(Some(text.clone())),
                Given::Number(text) => match text.parse() {
                    Ok(number) => ScalarValue::Int64(Some(number)),
                    Err(_) => ScalarValue::Float64(text.parse().ok()),
                },
            };
            values.push((name.clone(), value));
        }
        // a declared parameter without a value is null
        for name in &self.parameters {
            if !values.iter().any(|(known, _)| known == name) {
                values.push((name.clone(), ScalarValue::Utf8(None)));
            }
        }
        Ok(values)
    }
}

/// The SQL of the first attachment that holds some.
fn sql(library: &Value<'_>) -> Result<String, Outcome> {
    let contents = library.get("content").into_iter().flat_map(Value::items);
    let mut contents = contents.filter(|content| {
        let media = content.get_str("contentType").and_then(|text| text.split(';').next());
        matches!(media.map(str::trim), None | Some("application/sql" | "text/sql" | "text/x-sql"))
    });
    let data = contents.find_map(|content| content.get_str("data"));
    let data = data.ok_or_else(|| unprocessable("the Library has no content of type `application/sql`"))?;
    let data: String = data.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let bytes = STANDARD.decode(data).map_err(|_| unprocessable("the content of the Library is not base64"))?;
    String::from_utf8(bytes).map_err(|_| unprocessable("the content of the Library is not UTF-8"))
}

async fn views(app: &App, session: &Session, library: &Value<'_>) -> Result<Views, Outcome> {
    let mut views = Views::new();
    let artifacts = library.get("relatedArtifact").into_iter().flat_map(Value::items);
    for artifact in artifacts.filter(|artifact| artifact.get_str("type") == Some("depends-on")) {
        let (Some(label), Some(canonical)) = (artifact.get_str("label"), artifact.get_str("resource")) else {
            continue;
        };
        let shown: String = canonical.chars().take(200).collect();
        let missing = || unprocessable(format!("the view `{shown}` is not there"));
        let text = of_canonical(app, session, canonical).await?.ok_or_else(missing)?;
        let json = json::parse(text.as_bytes()).map_err(|error| unprocessable(error.to_string()))?;
        // SQL compares names that are not quoted in lower case
        views.insert(label.to_lowercase(), planned(&json)?);
    }
    Ok(views)
}
