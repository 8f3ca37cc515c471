//! One declared table: its request, where its records are, and what identifies them.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::paging::{Carrier, Pager, Paging, Place, Spot};
use crate::{
    Error, ReadMode,
    json::{Path, Shape},
    web::{Client, Method, Request, names_a_secret},
};

/// How an answer is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AnswerFormat {
    /// Told by the media type, else by the first bytes.
    #[default]
    Auto,
    Json,
    Ndjson,
    Xml,
    Csv,
}

/// The method of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verb {
    #[default]
    Get,
    /// For servers that want their questions in a body; it must change nothing, since it is tried again.
    Post,
}

/// How a later reading asks only for what is new. The table needs a `key`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Incremental {
    /// The parameter that carries the last value.
    pub parameter: String,
    #[serde(default)]
    pub carrier: Carrier,
    /// The column whose greatest value is the last one (times, or numbers that grow).
    #[serde(default)]
    pub column: Option<String>,
    /// Or: where the answer says it (`meta.serverTime`, `header:X-Sync-Token`); the first answer that does counts.
    #[serde(default)]
    pub answer: Option<String>,
    /// What the first reading asks with; without it, it asks without the parameter.
    #[serde(default)]
    pub initial: Option<String>,
    /// Seconds before the last value that are asked for again, for records that become visible late.
    #[serde(default)]
    pub overlap_seconds: u32,
    /// The server answers in the column's order, so that a long reading may be committed, and gone on with, between pages.
    #[serde(default)]
    pub sorted: bool,
}

/// A table of an HTTP source.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableParams {
    /// Below `api_url`, or an address of its own.
    #[serde(default)]
    pub path: String,
    #[serde(default)]
    pub method: Verb,
    #[serde(default)]
    pub query: BTreeMap<String, Value>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body of a POST: JSON, or a text that is sent as it is.
    #[serde(default)]
    pub body: Option<Value>,
    #[serde(default)]
    pub format: AnswerFormat,
    /// Where the records are: names from the document down (`data.items`; XML: `export/patient`), `.` for the document
    /// itself. Without it: the list that the document is, or the only list in it.
    #[serde(default)]
    pub records: Option<String>,
    #[serde(default)]
    pub paging: Paging,
    /// Columns that identify a record.
    #[serde(default)]
    pub key: Vec<String>,
    #[serde(default)]
    pub incremental: Option<Incremental>,
    /// Columns whose type is not told by the first records: `text`, `integer`, `number`, `boolean`, `json`.
    #[serde(default)]
    pub types: BTreeMap<String, String>,
    /// The character between CSV fields, or `tab`; found out when absent.
    #[serde(default)]
    pub delimiter: Option<String>,
    /// The encoding of CSV; what the answer says, else UTF-8.
    #[serde(default)]
    pub encoding: Option<String>,
    /// The CSV row of the column names, counted from 1; 0: there is none.
    #[serde(default)]
    pub header_row: Option<u64>,
    #[serde(default)]
    pub comment: Option<String>,
}

/// A declared table, checked.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) params: TableParams,
    pub(super) pager: Pager,
    /// Where the answer says what to ask with next time.
    pub(super) told: Option<Spot>,
    pub(super) types: BTreeMap<String, Shape>,
    pub(super) delimiter: Option<u8>,
    pub(super) encoding: Option<&'static encoding_rs::Encoding>,
    headers: HeaderMap,
    /// The values of an answer that are needed.
    pub(super) wanted: BTreeSet<Path>,
}

impl Table {
    /// Checks a declaration; the error says which field is wrong, below `tables.<name>`.
    pub(super) fn new(name: &str, params: TableParams) -> Result<Self, String> {
        let wrong = |field: &str, reason: String| format!("`tables.{name}.{field}`: {reason}");
        let pager = Pager::new(params.paging.clone()).map_err(|reason| wrong("paging", reason))?;
        let mut wanted = pager.paths();
        let mut told = None;
        if let Some(incremental) = &params.incremental {
            if params.key.is_empty() {
                return Err(wrong("incremental", "a table that is read on needs a `key`".to_owned()));
            }
            match (&incremental.column, &incremental.answer) {
                (Some(_), None) => {}
                (None, Some(place)) => {
                    let spot = Spot::parse(place).map_err(|reason| wrong("incremental.answer", reason))?;
                    if let Spot::Path(path) = &spot {
                        wanted.insert(path.clone());
                    }
                    told = Some(spot);
                }
                _ => return Err(wrong("incremental", "declare one of `column` and `answer`".to_owned())),
            }
            if incremental.sorted && incremental.column.is_none() {
                return Err(wrong("incremental.sorted", "only a `column` has an order".to_owned()));
            }
        }
        let types = params
            .types
            .iter()
            .map(|(column, word)| Some((column.clone(), Shape::named(word).filter(|shape| *shape != Shape::Null)?)))
            .collect::<Option<BTreeMap<_, _>>>()
            .ok_or_else(|| wrong("types", "use text, integer, number, boolean or json".to_owned()))?;
        let delimiter = match params.delimiter.as_deref() {
            None => None,
            Some("tab" | "\\t" | "\t") => Some(b'\t'),
            Some(text) => match text.as_bytes() {
                [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Some(*byte),
                _ => return Err(wrong("delimiter", "not one ASCII character or `tab`".to_owned())),
            },
        };
        let encoding = match params.encoding.as_deref() {
            None => None,
            Some(label) => Some(
                encoding_rs::Encoding::for_label(label.as_bytes())
                    .ok_or_else(|| wrong("encoding", format!("there is no encoding `{label}`")))?,
            ),
        };
        let mut headers = HeaderMap::new();
        for (header, value) in &params.headers {
            if let Some(reason) = names_a_secret(header) {
                return Err(wrong(&format!("headers.{header}"), reason.to_owned()));
            }
            let parsed = HeaderName::from_bytes(header.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
            let (header, value) =
                parsed.ok_or_else(|| wrong(&format!("headers.{header}"), "not a header".to_owned()))?;
            headers.insert(header, value);
        }
        for (parameter, value) in &params.query {
            if let Some(reason) = names_a_secret(parameter) {
                return Err(wrong(&format!("query.{parameter}"), reason.to_owned()));
            }
            if value.is_object() || value.is_array() {
                return Err(wrong(&format!("query.{parameter}"), "not a text or a number".to_owned()));
            }
        }
        let needs_body = [pager.argument(&Place::Word(String::new())).map(|(_, carrier, _)| carrier)]
            .into_iter()
            .chain([params.incremental.as_ref().map(|incremental| incremental.carrier)])
            .any(|carrier| carrier == Some(Carrier::Body));
        let has_members = params.body.as_ref().is_none_or(Value::is_object);
        if params.method == Verb::Get && (params.body.is_some() || needs_body) {
            return Err(wrong("body", "a GET has none: declare `method` POST".to_owned()));
        }
        if needs_body && !has_members {
            return Err(wrong("body", "a parameter goes into it, which needs a JSON object".to_owned()));
        }
        Ok(Self { name: name.to_owned(), params, pager, told, types, delimiter, encoding, headers, wanted })
    }

    pub(super) fn mode(&self) -> ReadMode {
        if self.params.incremental.is_some() { ReadMode::Incremental } else { ReadMode::Snapshot }
    }

    /// The request for a piece; `since`: only what came after it.
    pub(super) fn request(&self, client: &Client, place: &Place, since: Option<&str>) -> Result<Request, Error> {
        let url = match place {
            Place::Address(url) => url.clone(),
            _ => client.below(&self.params.path)?,
        };
        let method = if self.params.method == Verb::Post { Method::POST } else { Method::GET };
        let mut request = Request::new(method, url);
        request.headers = self.headers.clone();
        let mut body = self.params.body.clone();
        if !matches!(place, Place::Address(_)) {
            for (name, value) in &self.params.query {
                put(&mut request, &mut body, name, Carrier::Query, &plain(value));
            }
            if let Some((name, size)) = self.pager.size() {
                let carrier = self.pager.argument(place).map_or(Carrier::Query, |(_, carrier, _)| carrier);
                put(&mut request, &mut body, name, carrier, &size.to_string());
            }
            if let (Some(incremental), Some(since)) = (&self.params.incremental, since) {
                put(&mut request, &mut body, &incremental.parameter, incremental.carrier, since);
            }
            if let Some((name, carrier, value)) = self.pager.argument(place) {
                put(&mut request, &mut body, name, carrier, &value);
            }
        }
        if let Some(body) = body {
            let (text, media) = match body {
                Value::String(text) => (text, "text/plain; charset=utf-8"),
                other => (other.to_string(), "application/json"),
            };
            request.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(media));
            request.body = Some(text.into_bytes().into());
        }
        if !request.headers.contains_key("accept") {
            request.header(
                "accept",
                match self.params.format {
                    AnswerFormat::Auto => {
                        "application/json, application/x-ndjson, application/xml, text/csv, */*;q=0.1"
                    }
                    AnswerFormat::Json => "application/json, */*;q=0.1",
                    AnswerFormat::Ndjson => "application/x-ndjson, */*;q=0.1",
                    AnswerFormat::Xml => "application/xml, text/xml, */*;q=0.1",
                    AnswerFormat::Csv => "text/csv, */*;q=0.1",
                },
            );
        }
        if self.pager.not_found_ends() && *place != Place::Start {
            request.accepted.push(404);
        }
        Ok(request)
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn put(request: &mut Request, body: &mut Option<Value>, name: &str, carrier: Carrier, value: &str) {
    match carrier {
        Carrier::Query => {
            // A parameter that stands in the path's own query is replaced.
            let kept: Vec<(String, String)> = request
                .url
                .query_pairs()
                .filter(|(known, _)| known != name)
                .map(|(known, value)| (known.into_owned(), value.into_owned()))
                .collect();
            request.url.query_pairs_mut().clear().extend_pairs(kept).append_pair(name, value);
        }
        Carrier::Header => {
            let parsed = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
            if let Some((name, value)) = parsed {
                request.headers.insert(name, value);
            }
        }
        Carrier::Body => {
            let mut at = body.get_or_insert_with(|| Value::Object(Map::new()));
            let mut names: Vec<&str> = name.split('.').collect();
            let last = names.pop().unwrap_or(name);
            for step in names {
                let Value::Object(members) = at else { return };
                at = members.entry(step).or_insert_with(|| Value::Object(Map::new()));
            }
            if let Value::Object(members) = at {
                // Numbers stay numbers: servers that take JSON are particular.
                let value = value.parse::<u64>().map_or_else(|_| Value::from(value), Value::from);
                members.insert(last.to_owned(), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(json!({"incremental": {"parameter": "s", "column": "at"}}), "needs a `key`")]
    #[case(json!({"key": ["id"], "incremental": {"parameter": "s"}}), "one of `column` and `answer`")]
    #[case(json!({"headers": {"X-Api-Key": "lion"}}), "`tables.t.headers.X-Api-Key`: holds a secret")]
    #[case(json!({"query": {"access_token": "lion"}}), "`tables.t.query.access_token`: holds a secret")]
    #[case(json!({"body": {"a": 1}}), "declare `method` POST")]
    #[case(json!({"paging": {"type": "cursor", "parameter": "c", "next": "a[0]"}}), "not a path of names")]
    #[case(json!({"types": {"a": "date"}}), "use text, integer")]
    fn a_declaration_that_cannot_work_says_which_field_is_wrong(#[case] params: Value, #[case] part: &str) {
        let error = Table::new("t", serde_json::from_value(params).unwrap()).unwrap_err();
        assert!(error.contains(part) && !error.contains("lion"), "{error}");
    }

    #[test]
    fn a_parameter_goes_where_it_is_carried() {
        let mut request = Request::get("http://h/p?page=1&a=b".parse().unwrap());
        let mut body = Some(json!({"filter": {"type": "x"}}));
        put(&mut request, &mut body, "page", Carrier::Query, "2");
        put(&mut request, &mut body, "filter.page", Carrier::Body, "3");
        put(&mut request, &mut body, "X-Since", Carrier::Header, "4");
        assert_eq!(request.url.as_str(), "http://h/p?a=b&page=2");
        assert_eq!(body.unwrap(), json!({"filter": {"type": "x", "page": 3}}));
        assert_eq!(request.headers["x-since"], "4");
    }
}
