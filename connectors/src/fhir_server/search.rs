//! Search, page by page, in the order of `_lastUpdated`.
//!
//! A resource that changes while the pages are walked moves to the end and is seen there; one that changes after its page was
//! read is after the beginning of the reading, and the next reading asks from there.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use reqwest::header::DATE;
use serde::Deserialize;
use url::Url;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    Deletions, Inner,
    bundle::Bundle,
    deletions, place,
    rows::{Rows, Version},
};
use crate::{
    Error, ReadRequest, Stage,
    fhir_files::record::{Found, from_entry},
    http::since::{Since, Stamp},
    reading::{Halt, Output},
    web::{Answer, Net, shown},
};

#[derive(Deserialize)]
struct Entry {
    search: Option<Search>,
}

#[derive(Deserialize)]
struct Search {
    mode: Option<String>,
}

/// The server's clock when a reading began.
pub(super) fn server_time(answer: &Answer) -> DateTime<Utc> {
    let text = answer.headers.get(DATE).and_then(|value| value.to_str().ok());
    text.and_then(|text| DateTime::parse_from_rfc2822(text).ok()).map_or_else(Utc::now, |time| time.to_utc())
}

/// Reads a type; on a blocking thread.
pub(super) fn run(inner: &Inner, net: &Net<'_>, request: &ReadRequest, output: &Output) -> Result<(), Halt> {
    let kind = request.table.name.as_str();
    let declared = place::by_last_updated(&inner.params);
    let since = place::since(&declared, request.from.as_ref(), kind)?;
    let asked = since.value();
    let count = inner.params.page_size.max(1).to_string();
    let from = asked.as_ref().map(|value| format!("ge{value}"));
    let mut parameters = vec![("_count", count.as_str())];
    if inner.params.sorted {
        parameters.push(("_sort", "_lastUpdated"));
    }
    if let Some(from) = &from {
        parameters.push(("_lastUpdated", from));
    }
    if let Some(search) = inner.params.search.get(kind) {
        parameters.extend(search.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    }
    let mut next = Some(inner.get(kind, &parameters)?);
    let mut walk = Walk {
        kind,
        request,
        output,
        rows: Rows::new(),
        since,
        greatest: None,
        pages: HashSet::new(),
        addresses: HashSet::new(),
        number: 0,
        matches: 0,
        total: None,
    };
    let (mut started, mut was_repeated) = (None, false);
    while let Some(page) = next {
        let (bundle, answer) = Bundle::fetch(net, &page, kind)?;
        if started.is_none() {
            started = Some(server_time(&answer));
            walk.total = bundle.total;
        }
        if !walk.is_new(&bundle) {
            if was_repeated {
                return Err(walk.endless(&answer.url).into());
            }
            was_repeated = true;
            net.wait(net.client.pause(0, None, &page.url))?;
            next = Some(page);
            continue;
        }
        was_repeated = false;
        let says_sorted =
            inner.params.sorted && bundle.link("self").is_some_and(|link| link.contains("_sort=_lastUpdated"));
        walk.page(&bundle, says_sorted)?;
        next = bundle.next(inner, &answer.url)?;
        if let Some(next) = &next
            && !walk.addresses.insert(next.url.to_string())
        {
            return Err(walk.endless(&answer.url).into());
        }
        // Between pages of a server that says that it sorted, a commit may happen.
        if says_sorted && next.is_some() {
            walk.rows.flush(output)?;
            output.cursor(walk.since.cursor(None)?)?;
        }
    }
    walk.rows.flush(output)?;
    if inner.params.deletions == Deletions::History
        && let Some(since) = &asked
    {
        deletions::run(inner, net, kind, since, output)?;
    }
    let mut since = walk.since;
    since.no_later_than(started.unwrap_or_else(Utc::now));
    // A server that counts more than it gave has not given all; `search` leaves resources out on purpose.
    let is_all = walk.total.is_none_or(|total| walk.matches >= total);
    let whole = request.from.is_none() && is_all && !inner.params.search.contains_key(kind);
    output.end(Some(since.cursor(None)?), whole)
}

struct Walk<'a> {
    kind: &'a str,
    request: &'a ReadRequest,
    output: &'a Output,
    rows: Rows,
    since: Since<'a>,
    greatest: Option<Stamp>,
    /// What the pages held.
    pages: HashSet<u128>,
    addresses: HashSet<String>,
    number: u64,
    matches: u64,
    total: Option<u64>,
}

impl Walk<'_> {
    /// Whether the page holds something that no page before it held.
    fn is_new(&mut self, bundle: &Bundle) -> bool {
        let text: Vec<u8> =
            bundle.entry.iter().flat_map(|entry| xxh3_128(entry.get().as_bytes()).to_le_bytes()).collect();
        bundle.entry.is_empty() || self.pages.insert(xxh3_128(&text))
    }

    fn endless(&self, url: &Url) -> Error {
        let reason =
            format!("page {} of `{}` came before: the server's `next` links go round", self.number + 1, self.kind);
        Error::Refused { endpoint: shown(url), stage: Stage::Read, reason }
    }

    fn page(&mut self, bundle: &Bundle, says_sorted: bool) -> Result<(), Halt> {
        self.number += 1;
        for (position, entry) in (1_u64..).zip(&bundle.entry) {
            let mode = serde_json::from_str::<Entry>(entry.get()).ok().and_then(|entry| entry.search?.mode);
            if mode.as_deref() == Some("include") {
                continue;
            }
            let origin = || format!("{} page {} entry {position}", self.kind, self.number);
            let record = match from_entry(entry) {
                Found::Record(record) => record,
                Found::Reject { reason, payload, .. } => {
                    self.matches += 1;
                    self.output.reject(origin(), reason, payload)?;
                    continue;
                }
            };
            if record.kind == "OperationOutcome" && self.kind != "OperationOutcome" {
                if is_error(&record.resource) {
                    return Err(Error::Refused {
                        endpoint: self.kind.to_owned(),
                        stage: Stage::Read,
                        reason: "the server says that the search failed in part".to_owned(),
                    }
                    .into());
                }
                continue;
            }
            self.matches += 1;
            if record.kind != self.kind {
                let reason = format!("a resource of another type than `{}`", self.kind);
                self.output.reject(origin(), reason, record.resource)?;
                continue;
            }
            match Version::of(record) {
                Ok(version) => self.version(&version, says_sorted)?,
                Err(record) => self.output.reject(origin(), "the resource has no id", record.resource)?,
            }
        }
        Ok(())
    }

    fn version(&mut self, version: &Version, says_sorted: bool) -> Result<(), Halt> {
        let stamp = version.stamp();
        if says_sorted && let Some((stamp, _)) = &stamp {
            if self.greatest.as_ref().is_some_and(|greatest| stamp < greatest) {
                return Err(Error::Malformed {
                    place: format!("`{}`", self.kind),
                    reason: "the server does not answer in the order of `_lastUpdated`: set `sorted` to false"
                        .to_owned(),
                }
                .into());
            }
            self.greatest = Some(stamp.clone());
        }
        if self.since.pass(stamp, version.hash()) {
            self.rows.push(version, self.request, self.output)?;
        }
        Ok(())
    }
}

/// Whether an OperationOutcome tells of an error.
pub(super) fn is_error(outcome: &str) -> bool {
    let outcome: serde_json::Value = serde_json::from_str(outcome).unwrap_or_default();
    let issues = outcome.get("issue").and_then(serde_json::Value::as_array);
    issues
        .into_iter()
        .flatten()
        .any(|issue| matches!(issue.get("severity").and_then(serde_json::Value::as_str), Some("error" | "fatal")))
}
