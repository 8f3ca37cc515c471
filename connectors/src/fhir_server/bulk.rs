//! Bulk Data export (version 2): asked for, waited for, and its files read.
//!
//! One export is made for each reading, of its type alone. Files are read in the manifest's order, deletions first: what an
//! export lists as deleted was so when it was made. What the server could not export it lists in error files; these are
//! rejects, and such an export ends neither whole nor further than the one before, so that the next one asks for the same again.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::{
    Inner, Level, deletions, place,
    rows::{self, Rows, Version},
    search::is_error,
};
use crate::{
    Error, ReadRequest, Stage,
    fhir_files::record::{Found, from_line},
    objects::Lines,
    reading::{Halt, Output},
    web::{Answer, Net, Request, retry_after, shown},
};

/// The first pause between two questions whether the export is done; it grows to a minute where the server names none.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    transaction_time: String,
    #[serde(default)]
    requires_access_token: bool,
    #[serde(default)]
    output: Vec<File>,
    #[serde(default)]
    deleted: Vec<File>,
    #[serde(default)]
    error: Vec<File>,
}

#[derive(Debug, Deserialize)]
struct File {
    r#type: Option<String>,
    url: String,
    count: Option<u64>,
}

/// An export that the server keeps for us, until it is dropped.
struct Kept<'a> {
    inner: &'a Inner,
    net: &'a Net<'a>,
    url: Url,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        let client = std::sync::Arc::clone(&self.inner.client);
        let mut request = Request::new(reqwest::Method::DELETE, self.url.clone());
        request.accepted.extend([404, 405, 501]);
        self.net.runtime.spawn(async move {
            if client.fetch(&request).await.is_err() {
                tracing::debug!("an export was left to the server");
            }
        });
    }
}

/// Reads a type by an export; on a blocking thread.
pub(super) fn run(inner: &Inner, net: &Net<'_>, request: &ReadRequest, output: &Output) -> Result<(), Halt> {
    let kind = request.table.name.as_str();
    let declared = place::by_transaction_time();
    let since = place::since(&declared, request.from.as_ref(), kind)?;
    let asked = since.value();
    let kept = Kept { inner, net, url: kick_off(inner, net, kind, asked.as_deref())? };
    let (manifest, at) = wait(inner, net, &kept.url)?;
    let mut reading = Reading { inner, net, kind, request, output, rows: Rows::new(), manifest: &manifest, at: &at };
    for file in &manifest.deleted {
        reading.deleted(file)?;
    }
    for (number, file) in (1..).zip(&manifest.output) {
        if file.r#type.as_deref().is_none_or(|other| other == kind) {
            reading.file(number, file)?;
        }
    }
    reading.rows.flush(output)?;
    let mut has_errors = false;
    for (number, file) in (1..).zip(&manifest.error) {
        has_errors |= reading.errors(number, file)?;
    }
    let cursor = if has_errors { request.from.clone() } else { Some(since.cursor(Some(&manifest.transaction_time))?) };
    let is_all = inner.params.bulk.level == Level::System && !inner.params.search.contains_key(kind);
    let whole = request.from.is_none() && !has_errors && is_all;
    output.end(cursor, whole)
}

/// Asks for an export; answers where to ask for its state.
fn kick_off(inner: &Inner, net: &Net<'_>, kind: &str, since: Option<&str>) -> Result<Url, Halt> {
    let bulk = &inner.params.bulk;
    let path = match (bulk.level, &bulk.group) {
        (Level::System, _) => "$export".to_owned(),
        (Level::Patient, _) => "Patient/$export".to_owned(),
        (Level::Group, group) => format!("Group/{}/$export", group.as_deref().unwrap_or_default()),
    };
    let filter = inner.params.search.get(kind).map(|search| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        format!("{kind}?{}", query.extend_pairs(search).finish())
    });
    let mut parameters = vec![("_outputFormat", "application/fhir+ndjson"), ("_type", kind)];
    parameters.extend(since.map(|since| ("_since", since)));
    parameters.extend(filter.as_deref().map(|filter| ("_typeFilter", filter)));
    let mut request = inner.get(&path, &parameters)?;
    request.header("prefer", "respond-async");
    let answer = net.wait(net.client.fetch(&request))?;
    let refuse =
        |reason: &str| Error::Refused { endpoint: shown(&answer.url), stage: Stage::Read, reason: reason.to_owned() };
    if answer.status.as_u16() != 202 {
        return Err(refuse("it did not accept an export (202); does the server have Bulk Data export?").into());
    }
    let place = answer.headers.get("content-location").and_then(|value| value.to_str().ok());
    let url = place.and_then(|place| answer.url.join(place).ok());
    let url = url.ok_or_else(|| refuse("it accepted an export and does not say where it is (Content-Location)"))?;
    if !inner.client.trusts(&url) {
        return Err(refuse("it keeps the export's state on another host: add its origin to `trusted_origins`").into());
    }
    Ok(url)
}

/// Asks until the export is done.
fn wait(inner: &Inner, net: &Net<'_>, url: &Url) -> Result<(Manifest, Url), Halt> {
    let until = Instant::now() + Duration::from_secs(inner.params.bulk.patience_minutes.saturating_mul(60));
    let mut pause = PAUSE;
    loop {
        let mut request = Request::get(url.clone());
        request.header("accept", "application/json");
        request.accepted.push(429);
        let answer = net.wait(net.client.fetch(&request))?;
        if matches!(answer.status.as_u16(), 202 | 429) {
            let asked = retry_after(&answer.headers).unwrap_or(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
            if Instant::now() + asked > until {
                return Err(Error::Unreachable {
                    endpoint: shown(url),
                    stage: Stage::Read,
                    reason: format!("the export is not done within {} minutes", inner.params.bulk.patience_minutes),
                }
                .into());
            }
            net.wait(async {
                tokio::time::sleep(asked).await;
                Ok(())
            })?;
            continue;
        }
        let manifest = answer.body.open().ok().and_then(|body| serde_json::from_reader::<_, Manifest>(body).ok());
        let manifest =
            manifest.filter(|manifest| chrono::DateTime::parse_from_rfc3339(&manifest.transaction_time).is_ok());
        return manifest.map(|manifest| (manifest, answer.url.clone())).ok_or_else(|| {
            let reason = "the export is done, and its manifest cannot be read".to_owned();
            Error::Malformed { place: format!("`{}`", shown(url)), reason }.into()
        });
    }
}

struct Reading<'a> {
    inner: &'a Inner,
    net: &'a Net<'a>,
    kind: &'a str,
    request: &'a ReadRequest,
    output: &'a Output,
    rows: Rows,
    manifest: &'a Manifest,
    at: &'a Url,
}

impl Reading<'_> {
    /// Fetches a file, with credentials only where the manifest says that they are needed and the origin may see them.
    fn fetch(&self, file: &File) -> Result<Answer, Halt> {
        let refuse =
            |reason: &str| Error::Refused { endpoint: shown(self.at), stage: Stage::Read, reason: reason.to_owned() };
        let url = self.at.join(&file.url).map_err(|_| refuse("a file's address is none"))?;
        if !matches!(url.scheme(), "http" | "https") || self.at.scheme() == "https" && url.scheme() == "http" {
            return Err(refuse("a file's address is not as safe as the server's").into());
        }
        if self.manifest.requires_access_token && !self.inner.client.trusts(&url) {
            let origin = url.origin().ascii_serialization();
            let reason =
                format!("a file that wants our credentials is on another host: add {origin} to `trusted_origins`");
            return Err(refuse(&reason).into());
        }
        let mut request = Request::get(url);
        request.is_open = !self.manifest.requires_access_token;
        request.header("accept", "application/fhir+ndjson");
        self.net.wait(self.net.client.fetch(&request))
    }

    /// Hands each line of a file on; one that is cut, or has not as many lines as the manifest says, is fetched again.
    fn lines(
        &mut self,
        file: &File,
        mut each: impl FnMut(&mut Self, u64, &[u8]) -> Result<(), Halt>,
    ) -> Result<(), Halt> {
        let mut tries = 0;
        let answer = loop {
            let answer = self.fetch(file)?;
            match count(&answer, file) {
                Ok(()) => break answer,
                Err(error) if tries >= self.net.client.settings().max_retries => return Err(error.into()),
                Err(_) => self.net.wait(self.net.client.pause(tries, None, &answer.url))?,
            }
            tries += 1;
        };
        let body = answer.body.open().map_err(|_| cut(&answer, "it cannot be unpacked"))?;
        let mut lines = Lines::new(Box::new(body), 0, 0);
        while let Some(line) = lines.next_line().map_err(|_| cut(&answer, "it cannot be unpacked"))? {
            if !line.bytes.trim_ascii().is_empty() {
                each(self, line.number, &line.bytes)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, number: u64, file: &File) -> Result<(), Halt> {
        self.lines(file, |reading, line, bytes| {
            let origin = || format!("{} file {number} line {line}", reading.kind);
            for found in from_line(bytes) {
                let record = match found {
                    Found::Record(record) if record.kind == reading.kind => record,
                    Found::Record(record) => {
                        let reason = format!("a resource of another type than `{}`", reading.kind);
                        reading.output.reject(origin(), reason, record.resource)?;
                        continue;
                    }
                    Found::Reject { reason, payload, .. } => {
                        reading.output.reject(origin(), reason, payload)?;
                        continue;
                    }
                };
                match Version::of(record) {
                    Ok(version) => reading.rows.push(&version, reading.request, reading.output)?,
                    Err(record) => reading.output.reject(origin(), "the resource has no id", record.resource)?,
                }
            }
            Ok(())
        })
    }

    /// A file of Bundles whose entries say what was deleted.
    fn deleted(&mut self, file: &File) -> Result<(), Halt> {
        let mut ids = Vec::new();
        let kind = self.kind;
        self.lines(file, |_, line, bytes| {
            // A deletion that is not understood must not be passed over.
            let bundle: Value = serde_json::from_slice(bytes).map_err(|_| Error::Malformed {
                place: "a file of deletions of the export".to_owned(),
                reason: format!("line {line} is no Bundle"),
            })?;
            let entries = bundle.get("entry").and_then(Value::as_array);
            for entry in entries.into_iter().flatten() {
                let request = entry.get("request");
                let of = |name: &str| request.and_then(|request| request.get(name)).and_then(Value::as_str);
                if of("method") == Some("DELETE")
                    && let Some(id) = of("url").and_then(|url| deletions::id_in(url, kind))
                {
                    ids.push(id);
                }
            }
            Ok(())
        })?;
        // The first reading has nothing to delete from.
        if self.request.from.is_none() {
            return Ok(());
        }
        rows::gone(&ids, self.output)
    }

    /// A file of what could not be exported; whether anything in it is an error.
    fn errors(&mut self, number: u64, file: &File) -> Result<bool, Halt> {
        let mut has_errors = false;
        self.lines(file, |reading, line, bytes| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            if !is_error(&text) {
                return Ok(());
            }
            has_errors = true;
            let origin = format!("{} export errors {number} line {line}", reading.kind);
            reading.output.reject(origin, "the server could not export this", text)
        })?;
        Ok(has_errors)
    }
}

/// Whether a file has the lines that it should have.
fn count(answer: &Answer, file: &File) -> Result<(), Error> {
    let body = answer.body.open().map_err(|_| cut(answer, "it cannot be unpacked"))?;
    let mut lines = Lines::new(Box::new(body), 0, 0);
    let (mut found, mut ends) = (0, true);
    while let Some(line) = lines.next_line().map_err(|_| cut(answer, "it cannot be unpacked"))? {
        if !line.bytes.trim_ascii().is_empty() {
            found += 1;
            ends = line.is_terminated || serde_json::from_slice::<serde::de::IgnoredAny>(&line.bytes).is_ok();
        }
    }
    if !ends {
        return Err(cut(answer, "its last line ends in the middle"));
    }
    match file.count {
        Some(wanted) if wanted != found => {
            Err(cut(answer, &format!("it has {found} lines where the manifest says {wanted}")))
        }
        None if !answer.body.has_told_end => Err(cut(answer, "nothing says where it ends")),
        _ => Ok(()),
    }
}

fn cut(answer: &Answer, reason: &str) -> Error {
    Error::Interrupted { place: format!("`{}`", shown(&answer.url)), reason: reason.to_owned() }
}
