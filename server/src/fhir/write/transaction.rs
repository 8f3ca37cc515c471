//! `POST [base]`: batch and transaction Bundles (R4, "http.html", section "batch/transaction").

use axum::{
    Extension,
    body::{Body, Bytes, to_bytes},
    extract::{Query, State},
    http::{HeaderMap, Request, StatusCode, header},
    response::Response,
};
use chrono::SecondsFormat;
use mavis_fhir::{ResourceType, json};
use mavis_pipeline::{Operation, Together, Which, Write, Written};
use mavis_types::Principal;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{
    Parameters,
    answer::{Asked, stored, told},
    body, format, may_write, refused, status,
};
use crate::{
    App,
    fhir::{self, conditional::version_of, outcome::Outcome},
};

/// Entries of a Bundle, at most.
const MAX_ENTRIES: usize = 20_000;

/// What an entry asks for.
enum Entry {
    Write(Box<Write>),
    /// A path with its query, and the headers of a conditional read.
    Read {
        method: &'static str,
        url: String,
        conditions: Vec<(header::HeaderName, String)>,
    },
}

/// An entry's part of the answer, as JSON text.
type Answer = String;

pub(in crate::fhir) async fn bundle(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Outcome> {
    let format = format(&headers, &parameters)?;
    let asked = Asked::of(&headers)?;
    let text = body::resource(&headers, body)?;
    let (together, entries) = take_apart(&text)?;
    drop(text);
    let mut answers: Vec<Option<Answer>> = Vec::with_capacity(entries.len());
    let (mut writes, mut places, mut reads) = (Vec::new(), Vec::new(), Vec::new());
    for (index, entry) in entries.into_iter().enumerate() {
        match entry {
            Ok(Entry::Write(write)) => {
                if let Err(outcome) = may_write(&principal, &write) {
                    // Who may write nothing at all is told so once.
                    if together == Together::All || principal.smart.is_none() {
                        return Err(if principal.smart.is_none() { outcome } else { in_entry(index, outcome) });
                    }
                    answers.push(Some(refused_entry(&outcome)));
                    continue;
                }
                writes.push(*write);
                places.push(index);
                answers.push(None);
            }
            Ok(Entry::Read { .. }) if together == Together::All => {
                return Err(in_entry(
                    index,
                    Outcome::new(
                        StatusCode::BAD_REQUEST,
                        "not-supported",
                        "reads are answered in a batch, not in a transaction",
                    ),
                ));
            }
            Ok(read @ Entry::Read { .. }) => {
                reads.push((index, read));
                answers.push(None);
            }
            Err(outcome) if together == Together::All => return Err(in_entry(index, outcome)),
            Err(outcome) => answers.push(Some(refused_entry(&outcome))),
        }
    }
    let done = app.pipeline.write(&principal, writes, together).await.map_err(|error| match error {
        mavis_pipeline::WriteError::Refused { index, refusal } => {
            refused::refused(&refusal, Some(places.get(index).copied().unwrap_or(index)))
        }
        error => refused::failed(error),
    })?;
    for (place, outcome) in places.into_iter().zip(done) {
        let answer = match outcome {
            Ok(written) => written_entry(&written, asked),
            Err(refusal) => refused_entry(&refused::refused(&refusal, Some(place))),
        };
        if let Some(slot) = answers.get_mut(place) {
            *slot = Some(answer);
        }
    }
    if !reads.is_empty() {
        let inner = fhir::unguarded(&app);
        for (place, read) in reads {
            let answer = Box::pin(read_entry(inner.clone(), &principal, &headers, read)).await;
            if let Some(slot) = answers.get_mut(place) {
                *slot = Some(answer);
            }
        }
    }
    let kind = if together == Together::All { "transaction-response" } else { "batch-response" };
    let entries: Vec<Answer> = answers.into_iter().flatten().collect();
    let mut out = format!("{{\"resourceType\":\"Bundle\",\"type\":\"{kind}\"");
    if !entries.is_empty() {
        out.push_str(",\"entry\":[");
        out.push_str(&entries.join(","));
        out.push(']');
    }
    out.push('}');
    Ok(format.answer(StatusCode::OK, out))
}

fn in_entry(index: usize, outcome: Outcome) -> Outcome {
    outcome.at(&format!("Bundle.entry[{index}]"))
}

type TakenApart = (Together, Vec<Result<Entry, Outcome>>);

fn take_apart(text: &str) -> Result<TakenApart, Outcome> {
    let value = json::parse(text.as_bytes()).map_err(|error| Outcome::invalid(error.to_string()))?;
    if value.get_str("resourceType") != Some("Bundle") {
        return Err(Outcome::invalid("a Bundle of type batch or transaction is posted here"));
    }
    let together = match value.get_str("type") {
        Some("transaction") => Together::All,
        Some("batch") => Together::Each,
        _ => {
            return Err(Outcome::invalid("Bundle.type: only `batch` and `transaction` are processed").at("Bundle.type"));
        }
    };
    let items = match value.get("entry") {
        None | Some(json::Value::Null) => &[],
        Some(json::Value::Array(items)) => items.as_slice(),
        Some(_) => return Err(Outcome::invalid("Bundle.entry is a list").at("Bundle.entry")),
    };
    if items.len() > MAX_ENTRIES {
        let message = format!("a Bundle has at most {MAX_ENTRIES} entries here; send several, or import the files");
        return Err(Outcome::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", message));
    }
    Ok((together, items.iter().map(entry).collect()))
}

fn entry(item: &json::Value<'_>) -> Result<Entry, Outcome> {
    let missing = |what: &str| Outcome::invalid(format!("the entry has no {what}"));
    let request = item.get("request").ok_or_else(|| missing("request"))?;
    let method = request.get_str("method").ok_or_else(|| missing("request.method"))?;
    let url = request.get_str("url").ok_or_else(|| missing("request.url"))?.trim_start_matches('/');
    if url.contains("://") {
        return Err(Outcome::invalid("request.url is relative to this server"));
    }
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let (first, second, more) = (parts.next().unwrap_or_default(), parts.next(), parts.next().is_some());
    if let "GET" | "HEAD" = method {
        let header = |member: &str, name: header::HeaderName| Some((name, request.get_str(member)?.to_owned()));
        let conditions =
            [header("ifNoneMatch", header::IF_NONE_MATCH), header("ifModifiedSince", header::IF_MODIFIED_SINCE)];
        let method = if method == "GET" { "GET" } else { "HEAD" };
        return Ok(Entry::Read { method, url: url.to_owned(), conditions: conditions.into_iter().flatten().collect() });
    }
    let resource: ResourceType = first.parse().map_err(|_| Outcome::unknown_type(first))?;
    let text = || {
        let value = item.get("resource").ok_or_else(|| missing("resource"))?;
        let mut out = Vec::with_capacity(1_024);
        value.write(&mut out);
        String::from_utf8(out).map_err(|_| Outcome::invalid("the resource is not UTF-8"))
    };
    let if_match = match request.get_str("ifMatch") {
        None => None,
        Some(tag) => Some(version_of(tag).map_err(|reason| Outcome::invalid(format!("request.ifMatch: {reason}")))?),
    };
    let which = || match (second, query, more) {
        (Some(id), None, false) => Ok(Which::Id(id.to_owned())),
        (None, Some(query), false) => Ok(Which::Query(query.to_owned())),
        _ => Err(Outcome::invalid("request.url: `Type/id` or `Type?condition` is expected")),
    };
    let operation = match method {
        "POST" if second.is_none() && query.is_none() => {
            Operation::Create { body: text()?, if_none_exist: request.get_str("ifNoneExist").map(str::to_owned) }
        }
        "POST" => {
            let message = "of posts, a Bundle takes those that create a resource: request.url is its type";
            return Err(Outcome::new(StatusCode::BAD_REQUEST, "not-supported", message));
        }
        "PUT" => Operation::Update { which: which()?, body: text()?, if_match },
        "DELETE" => Operation::Delete { which: which()?, if_match },
        _ => {
            let message = "request.method: GET, HEAD, POST, PUT and DELETE are processed";
            return Err(Outcome::new(StatusCode::BAD_REQUEST, "not-supported", message));
        }
    };
    let full_url = item.get_str("fullUrl").map(str::to_owned);
    Ok(Entry::Write(Box::new(Write { resource, operation, full_url })))
}

fn line(code: StatusCode) -> String {
    format!("{} {}", code.as_u16(), code.canonical_reason().unwrap_or_default())
}

fn refused_entry(outcome: &Outcome) -> Answer {
    json!({ "response": { "status": line(outcome.status()), "outcome": outcome.to_json() } }).to_string()
}

fn written_entry(written: &Written, asked: Asked) -> Answer {
    let Written { resource, id, version, last_updated, .. } = written;
    let mut response = json!({ "status": line(status(written.effect)) });
    if *version > 0 {
        response["etag"] = json!(format!("W/\"{version}\""));
        response["lastModified"] = json!(last_updated.to_rfc3339_opts(SecondsFormat::Millis, true));
        if status(written.effect) != StatusCode::NO_CONTENT {
            response["location"] = json!(format!("{resource}/{id}/_history/{version}"));
        }
    }
    if asked == Asked::Outcome || !written.warnings.is_empty() {
        response["outcome"] = told(written);
    }
    match stored(written).filter(|_| asked == Asked::Resource) {
        Some(text) => format!("{{\"resource\":{text},\"response\":{response}}}"),
        None => format!("{{\"response\":{response}}}"),
    }
}

/// A read of a batch, answered by the same routes as any other.
async fn read_entry(inner: axum::Router, principal: &Principal, headers: &HeaderMap, read: Entry) -> Answer {
    let failed = |message: &str| refused_entry(&Outcome::invalid(message));
    let Entry::Read { method, url, conditions } = read else { return failed("the entry is no read") };
    let mut request = Request::builder().method(method).uri(format!("/{url}"));
    for name in [
        header::HOST,
        header::HeaderName::from_static("x-forwarded-host"),
        header::HeaderName::from_static("x-forwarded-proto"),
    ] {
        if let Some(value) = headers.get(&name) {
            request = request.header(name, value);
        }
    }
    for (name, value) in conditions {
        request = request.header(name, value);
    }
    let Ok(request) = request.extension(principal.clone()).body(Body::empty()) else {
        return failed("request.url cannot be read");
    };
    let Ok(answer) = inner.oneshot(request).await;
    let (parts, content) = answer.into_parts();
    let Ok(bytes) = to_bytes(content, super::MAX_ANSWER_BYTES).await else { return failed("the answer is too large") };
    let mut response = json!({ "status": line(parts.status) });
    let text = |name: header::HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(etag) = text(header::ETAG) {
        response["etag"] = json!(etag);
    }
    if let Some(modified) = text(header::LAST_MODIFIED).and_then(|at| chrono::DateTime::parse_from_rfc2822(at).ok()) {
        response["lastModified"] = json!(modified.to_utc().to_rfc3339_opts(SecondsFormat::Secs, true));
    }
    let body = std::str::from_utf8(&bytes).unwrap_or_default();
    if parts.status.is_success() && !body.is_empty() {
        return format!("{{\"resource\":{body},\"response\":{response}}}");
    }
    if let Ok(outcome) = serde_json::from_str::<Value>(body) {
        response["outcome"] = outcome;
    }
    json!({ "response": response }).to_string()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn taken(entry: &Value) -> Result<Entry, Outcome> {
        let text = entry.to_string();
        super::entry(&json::parse(text.as_bytes()).unwrap())
    }

    #[rstest]
    #[case("POST", "Patient", 200)]
    #[case("POST", "/Patient", 200)]
    #[case("PUT", "Patient/7", 200)]
    #[case("PUT", "Patient?identifier=a|b", 200)]
    #[case("DELETE", "Patient/7", 200)]
    #[case("DELETE", "Patient?identifier=a|b", 200)]
    #[case("GET", "Patient?name=x", 200)]
    #[case("PUT", "Patient", 400)]
    #[case("POST", "Patient/_search", 400)]
    #[case("PATCH", "Patient/7", 400)]
    #[case("POST", "http://elsewhere.org/fhir/Patient", 400)]
    #[case("POST", "Nonsense", 404)]
    #[case("DELETE", "Patient/7/8", 400)]
    fn entries_say_what_is_to_be_done(#[case] method: &str, #[case] url: &str, #[case] status: u16) {
        let entry = json!({
            "resource": { "resourceType": "Patient" },
            "request": { "method": method, "url": url },
        });
        match taken(&entry) {
            Ok(_) => assert_eq!(status, 200),
            Err(outcome) => assert_eq!(outcome.status().as_u16(), status),
        }
    }

    #[rstest]
    #[case("{}")]
    #[case("[]")]
    #[case(r#"{"resourceType":"Bundle","type":"searchset"}"#)]
    #[case(r#"{"resourceType":"Bundle","type":"batch","entry":{}}"#)]
    #[case(r#"{"resourceType":"Bundle","type":"batch","entry":["#)]
    fn what_is_no_batch_is_refused_whole(#[case] text: &str) {
        assert!(take_apart(text).is_err());
    }

    #[test]
    fn broken_entries_are_told_one_by_one() {
        let text = r#"{"resourceType":"Bundle","type":"batch","entry":[1,{},{"request":{}},{"request":{"method":"GET","url":"Patient"}}]}"#;
        let (_, entries) = take_apart(text).unwrap();
        assert_eq!(entries.iter().filter(|entry| entry.is_err()).count(), 3);
    }
}
