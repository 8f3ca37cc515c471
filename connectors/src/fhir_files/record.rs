//! Lines and documents taken apart into resources, their text untouched.

use serde::Deserialize;
use serde_json::{Value, error::Category, value::RawValue};

use crate::objects::printable;

/// One resource as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: String,
    pub(crate) id: Option<String>,
    pub(crate) resource: String,
    pub(crate) full_url: Option<String>,
    pub(crate) method: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) if_none_exist: Option<String>,
}

/// What a piece of a file turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Record(Record),
    /// Not a resource; `kind` where the text still names one.
    Reject {
        kind: Option<String>,
        reason: String,
        payload: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    resource_type: Option<Value>,
    id: Option<Value>,
}

#[derive(Deserialize)]
struct Bundle<'a> {
    #[serde(default)]
    r#type: Option<Value>,
    #[serde(borrow, default)]
    entry: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    full_url: Option<String>,
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
    request: Option<Request>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    method: Option<String>,
    url: Option<String>,
    if_none_exist: Option<String>,
}

/// The resources of one line: one, or those of a Bundle that stands on it.
pub(crate) fn from_line(bytes: &[u8]) -> Vec<Found> {
    match std::str::from_utf8(bytes) {
        Ok(text) => from_value(text.trim(), "line"),
        Err(_) => vec![reject(bytes, "the line is not valid UTF-8")],
    }
}

/// The resources of a file that is one JSON document: a Bundle, a resource, or a list of resources.
pub(crate) fn from_document(bytes: &[u8]) -> Vec<Found> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let whole = |reason: String| vec![Found::Reject { kind: None, reason, payload: printable(bytes) }];
    let Ok(text) = std::str::from_utf8(bytes) else { return whole("the file is not valid UTF-8".to_owned()) };
    if text.trim_start().starts_with('[') {
        return match serde_json::from_str::<Vec<&RawValue>>(text) {
            Ok(items) => items.iter().flat_map(|item| from_value(item.get(), "item")).collect(),
            Err(error) => whole(json_reason("file", &error)),
        };
    }
    if let Err(error) = serde_json::from_str::<&RawValue>(text) {
        return whole(match (error.classify(), entries_begun(text)) {
            (Category::Eof, Some((count, true))) => format!("Bundle ends in the middle of entry {count}"),
            (Category::Eof, Some((count, false))) => format!("Bundle ends after entry {count}, before its own end"),
            _ => json_reason("file", &error),
        });
    }
    from_value(text.trim(), "file")
}

fn from_value(text: &str, what: &str) -> Vec<Found> {
    let head: Head = match serde_json::from_str(text) {
        Ok(head) => head,
        Err(error) => return vec![reject(text.as_bytes(), json_reason(what, &error))],
    };
    let Some(kind) = head.resource_type.as_ref().and_then(Value::as_str).filter(|kind| is_type_name(kind)) else {
        return vec![Found::Reject {
            kind: None,
            reason: format!("the {what} has no resourceType that names a type"),
            payload: text.to_owned(),
        }];
    };
    if kind == "Bundle" {
        return match serde_json::from_str::<Bundle<'_>>(text) {
            // A history has the newest first, and what comes last counts: it is read from its end.
            Ok(bundle) if bundle.r#type.as_ref().and_then(Value::as_str) == Some("history") => {
                bundle.entry.unwrap_or_default().into_iter().rev().map(from_entry).collect()
            }
            Ok(bundle) => bundle.entry.unwrap_or_default().into_iter().map(from_entry).collect(),
            Err(_) => vec![Found::Reject {
                kind: None,
                reason: "the Bundle's `entry` is not a list".to_owned(),
                payload: text.to_owned(),
            }],
        };
    }
    let kind = kind.to_owned();
    vec![Found::Record(Record { kind, id: id_of(&head), resource: text.to_owned(), ..Record::default() })]
}

pub(crate) fn from_entry(raw: &RawValue) -> Found {
    let refuse = |kind: Option<String>, reason: &str| Found::Reject {
        kind,
        reason: reason.to_owned(),
        payload: raw.get().to_owned(),
    };
    let Ok(entry) = serde_json::from_str::<Entry<'_>>(raw.get()) else {
        return refuse(None, "the Bundle entry is not one (fullUrl, resource, request)");
    };
    let Some(resource) = entry.resource else {
        let is_deletion = entry.request.as_ref().and_then(|request| request.method.as_deref()) == Some("DELETE");
        return refuse(
            None,
            if is_deletion {
                "the Bundle entry deletes a resource, which a source of files cannot: import the file (`fhir import`)"
            } else {
                "the Bundle entry has no resource"
            },
        );
    };
    let Ok(head) = serde_json::from_str::<Head>(resource.get()) else {
        return refuse(
            named_type(resource.get()),
            "the Bundle entry's resource is not a JSON object with unique members",
        );
    };
    let Some(kind) = head.resource_type.as_ref().and_then(Value::as_str).filter(|kind| is_type_name(kind)) else {
        return refuse(None, "the Bundle entry's resource has no resourceType that names a type");
    };
    let request = entry.request.unwrap_or(Request { method: None, url: None, if_none_exist: None });
    Found::Record(Record {
        kind: kind.to_owned(),
        id: id_of(&head),
        resource: resource.get().to_owned(),
        full_url: entry.full_url,
        method: request.method,
        url: request.url,
        if_none_exist: request.if_none_exist,
    })
}

fn id_of(head: &Head) -> Option<String> {
    head.id.as_ref().and_then(Value::as_str).map(str::to_owned)
}

pub(crate) fn is_type_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase()) && text.chars().all(|c| c.is_ascii_alphanumeric())
}

fn reject(bytes: &[u8], reason: impl Into<String>) -> Found {
    let payload = printable(bytes);
    let kind = named_type(&payload).filter(|kind| kind != "Bundle");
    Found::Reject { kind, reason: reason.into(), payload }
}

/// Why a text is not JSON, without a value of it.
fn json_reason(what: &str, error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Eof => format!("the {what} ends in the middle of its JSON"),
        Category::Data => format!("the {what} is not a JSON object with unique members"),
        _ => format!("the {what} is not valid JSON at line {}, column {}", error.line(), error.column()),
    }
}

/// The resource type that a broken text names first.
fn named_type(text: &str) -> Option<String> {
    let (_, after) = text.split_once("\"resourceType\"")?;
    let value = after.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    let (kind, _) = value.split_once('"')?;
    is_type_name(kind).then(|| kind.to_owned())
}

/// How many entries of a cut Bundle have begun, and whether the last of them is open; `None` where it has no entries.
fn entries_begun(text: &str) -> Option<(usize, bool)> {
    let (mut depth, mut begun, mut inside) = (0_usize, None, false);
    let (mut string_start, mut escaped, mut member) = (None, false, "");
    for (place, byte) in text.bytes().enumerate() {
        if let Some(start) = string_start {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    if depth == 1 {
                        member = &text[start..place];
                    }
                    string_start = None;
                }
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => string_start = Some(place + 1),
            b'{' | b'[' => {
                if byte == b'[' && depth == 1 && member == "entry" {
                    (inside, begun) = (true, Some(0));
                }
                if byte == b'{' && depth == 2 && inside {
                    begun = begun.map(|count| count + 1);
                }
                depth += 1;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 1 {
                    inside = false;
                }
            }
            _ => {}
        }
    }
    begun.map(|count| (count, inside && depth > 2))
}

/// A dotted path with indexes, as in FHIRPath's simplest form: `code.coding[0].code`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyPath {
    steps: Vec<(String, Option<usize>)>,
}

impl KeyPath {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a path like `code.coding[0].code`");
        let mut steps = Vec::new();
        for part in text.trim().split('.') {
            let (name, index) = match part.split_once('[') {
                None => (part, None),
                Some((name, index)) => {
                    let index = index.strip_suffix(']').and_then(|index| index.parse().ok()).ok_or_else(wrong)?;
                    (name, Some(index))
                }
            };
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(wrong());
            }
            steps.push((name.to_owned(), index));
        }
        // `Observation.subject` and `subject` are the same path.
        if steps.len() > 1 && steps.first().is_some_and(|(name, index)| index.is_none() && is_type_name(name)) {
            steps.remove(0);
        }
        Ok(Self { steps })
    }

    /// The value there as text (text itself unquoted, anything else as JSON); a list without an index gives its first.
    pub(crate) fn find(&self, resource: &Value) -> Option<String> {
        let mut value = resource;
        for (name, index) in &self.steps {
            value = value.get(name)?;
            if let Some(items) = value.as_array() {
                value = items.get(index.unwrap_or(0))?;
            } else if index.is_some_and(|index| index > 0) {
                return None;
            }
        }
        match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn reason(found: &[Found]) -> (Option<&str>, &str) {
        match found {
            [Found::Reject { kind, reason, .. }] => (kind.as_deref(), reason),
            other => panic!("one reject, not {other:?}"),
        }
    }

    #[test]
    fn the_text_of_a_resource_stays_as_it_came() {
        let text = r#"{"resourceType":"Observation", "id":"a","valueQuantity":{"value":1.10},"x":"\u00e9"}"#;
        let bundle = format!(
            r#"{{"resourceType":"Bundle","entry":[{{"fullUrl":"urn:uuid:1","resource":{text},
            "request":{{"method":"POST","url":"Observation","ifNoneExist":"identifier=1"}}}}]}}"#
        );
        let expected = Record {
            kind: "Observation".to_owned(),
            id: Some("a".to_owned()),
            resource: text.to_owned(),
            ..Record::default()
        };
        assert_eq!(from_line(text.as_bytes()), [Found::Record(expected.clone())]);
        let in_bundle = Record {
            full_url: Some("urn:uuid:1".to_owned()),
            method: Some("POST".to_owned()),
            url: Some("Observation".to_owned()),
            if_none_exist: Some("identifier=1".to_owned()),
            ..expected
        };
        assert_eq!(from_document(bundle.as_bytes()), [Found::Record(in_bundle)]);
    }

    #[rstest]
    #[case(r#"{"resourceType":"Patient","id":"1""#, Some("Patient"), "the line ends in the middle of its JSON")]
    #[case("garbage", None, "the line is not valid JSON at line 1, column 1")]
    #[case("{}", None, "the line has no resourceType that names a type")]
    #[case(r#"{"resourceType":"../x"}"#, None, "the line has no resourceType that names a type")]
    #[case("[1]", None, "the line is not a JSON object with unique members")]
    #[case(
        r#"{"resourceType":"Patient","id":"1","id":"2"}"#,
        Some("Patient"),
        "the line is not a JSON object with unique members"
    )]
    fn a_line_that_is_no_resource_says_why(#[case] line: &str, #[case] kind: Option<&str>, #[case] why: &str) {
        assert_eq!(reason(&from_line(line.as_bytes())), (kind, why));
    }

    #[test]
    fn a_history_is_read_from_its_oldest_entry() {
        let bundle = r#"{"resourceType":"Bundle","type":"history","entry":[
            {"resource":{"resourceType":"Patient","id":"new"}},{"request":{"method":"DELETE","url":"Patient/x"}},
            {"resource":{"resourceType":"Patient","id":"old"}}]}"#;
        let ids: Vec<Option<String>> = from_document(bundle.as_bytes())
            .into_iter()
            .map(|found| match found {
                Found::Record(record) => record.id,
                Found::Reject { reason, .. } => reason.contains("deletes").then(|| "deletion".to_owned()),
            })
            .collect();
        assert_eq!(ids, [Some("old".to_owned()), Some("deletion".to_owned()), Some("new".to_owned())]);
    }

    #[rstest]
    #[case(60, "Bundle ends in the middle of entry 1")]
    #[case(110, "Bundle ends in the middle of entry 2")]
    #[case(139, "Bundle ends after entry 2, before its own end")]
    fn a_cut_bundle_says_where_and_gives_nothing(#[case] length: usize, #[case] why: &str) {
        let bundle = r#"{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Patient"}},{"resource":{"resourceType":"Patient"}}]}"#;
        assert_eq!(reason(&from_document(&bundle.as_bytes()[..length.min(bundle.len() - 2)])), (None, why));
    }

    #[rstest]
    #[case("subject.reference", Some("Patient/1"))]
    #[case("Observation.code.coding[1].code", Some("b"))]
    #[case("code.coding.code", Some("a"))]
    #[case("valueInteger", Some("7"))]
    #[case("code.coding[2].code", None)]
    #[case("absent.x", None)]
    fn a_key_path_finds_its_value(#[case] path: &str, #[case] value: Option<&str>) {
        let resource = json!({"subject": {"reference": "Patient/1"}, "valueInteger": 7,
                              "code": {"coding": [{"code": "a"}, {"code": "b"}]}});
        assert_eq!(KeyPath::parse(path).unwrap().find(&resource).as_deref(), value);
    }

    #[rstest]
    #[case("a..b")]
    #[case("a[x]")]
    #[case("where(x = 1)")]
    fn a_key_path_that_is_none_is_refused(#[case] path: &str) {
        assert!(KeyPath::parse(path).unwrap_err().contains(path));
    }
}
