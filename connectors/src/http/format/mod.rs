//! Answers taken apart into records, whatever they are written in: every record is handed on as the text of a JSON object,
//! so that all formats get their types in one place.
//!
//! JSON and NDJSON keep their values; those of XML and CSV are texts (`007` stays `007`).

mod csv;
mod json;
mod ndjson;
mod xml;

use std::{collections::BTreeMap, io};

use serde_json::Value;

use super::table::{AnswerFormat, Table};
use crate::{
    Error,
    json::Path,
    reading::Halt,
    web::{Answer, shown},
};

/// What an answer is made of, told by the first one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layout {
    /// A document; `None`: it is one record itself.
    Json(Option<Path>),
    Ndjson,
    /// The names from the root down to the records; fewer than two where there was none to tell them by.
    Xml(Vec<String>),
    Csv,
}

/// One piece of an answer.
#[derive(Debug)]
pub(super) enum Item<'a> {
    /// The text of a JSON object (or of something that should be one).
    Record(&'a str),
    Bad {
        reason: String,
        payload: String,
    },
}

/// What a pass found beside the records.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) values: BTreeMap<Path, Value>,
    /// Whether the end of the answer is known to be the end of what the server had to say.
    pub(super) is_complete: bool,
}

/// Where an answer's items go.
pub(super) type Each<'a> = dyn FnMut(Item<'_>) -> Result<(), Halt> + 'a;

/// Passes over an answer.
///
/// # Errors
/// [`Error::Interrupted`] where it was cut, [`Error::Malformed`] where it is not what it should be; what `each` answers.
pub(super) fn pass(answer: &Answer, table: &Table, layout: &Layout, each: &mut Each<'_>) -> Result<Passed, Halt> {
    refuse_page(answer, table, layout)?;
    match layout {
        Layout::Json(records) => json::pass(answer, table, records.as_ref(), each),
        Layout::Ndjson => ndjson::pass(answer, each),
        Layout::Xml(names) => xml::pass(answer, table, names, each),
        Layout::Csv => csv::pass(answer, table, each),
    }
}

impl Layout {
    /// Tells what an answer is made of.
    pub(super) fn of(answer: &Answer, table: &Table) -> Result<Self, Error> {
        let media = answer.media_type();
        let start = answer.body.beginning(64 << 10).map_err(|error| broken(answer, &error))?;
        let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start).trim_ascii_start();
        let format = match table.params.format {
            AnswerFormat::Auto if media.contains("ndjson") || media.contains("jsonl") || media.contains("json-seq") => {
                AnswerFormat::Ndjson
            }
            AnswerFormat::Auto if media.ends_with("json") => AnswerFormat::Json,
            AnswerFormat::Auto if media.ends_with("xml") && !media.contains("xhtml") => AnswerFormat::Xml,
            AnswerFormat::Auto if media == "text/csv" => AnswerFormat::Csv,
            AnswerFormat::Auto => match start.first() {
                Some(b'{') if ndjson::holds_lines(start) => AnswerFormat::Ndjson,
                Some(b'{' | b'[') => AnswerFormat::Json,
                Some(b'<') => AnswerFormat::Xml,
                _ => AnswerFormat::Csv,
            },
            declared => declared,
        };
        let layout = match format {
            AnswerFormat::Ndjson => Layout::Ndjson,
            AnswerFormat::Csv => Layout::Csv,
            AnswerFormat::Xml => {
                refuse_page(answer, table, &Layout::Xml(Vec::new()))?;
                Layout::Xml(xml::names(answer, table)?)
            }
            _ => {
                refuse_page(answer, table, &Layout::Json(None))?;
                Layout::Json(json::records(answer, table, start.first() == Some(&b'['))?)
            }
        };
        Ok(layout)
    }
}

/// A page for people, or an error message, where records should be: it came with a status that says all is well.
fn refuse_page(answer: &Answer, table: &Table, layout: &Layout) -> Result<(), Error> {
    let media = answer.media_type();
    let start = answer.body.beginning(512).map_err(|error| broken(answer, &error))?;
    let start = String::from_utf8_lossy(start.trim_ascii_start()).to_ascii_lowercase();
    let is_html = media == "text/html" || start.starts_with("<!doctype html") || start.starts_with("<html");
    let is_other = match layout {
        Layout::Csv => media.ends_with("json") || media.ends_with("xml"),
        Layout::Json(_) | Layout::Ndjson => start.starts_with('<'),
        Layout::Xml(_) => media.ends_with("json"),
    };
    if !is_html && !is_other {
        return Ok(());
    }
    let what = if is_html { "a page of HTML" } else { "something else" };
    let media = if media.is_empty() { "no media type".to_owned() } else { media };
    let wanted = match layout {
        Layout::Csv => "CSV",
        Layout::Json(_) => "JSON",
        Layout::Ndjson => "NDJSON",
        Layout::Xml(_) => "XML",
    };
    let status = answer.status.as_u16();
    let reason = format!(
        "the server answered {status} with {what} ({media}) where {wanted} should be; is it an error page, or a login?"
    );
    Err(malformed(answer, &format!("table `{}`: {reason}", table.name)))
}

fn malformed(answer: &Answer, reason: &str) -> Error {
    Error::Malformed { place: format!("`{}`", shown(&answer.url)), reason: reason.to_owned() }
}

fn cut(answer: &Answer, reason: &str) -> Error {
    Error::Interrupted { place: format!("`{}`", shown(&answer.url)), reason: reason.to_owned() }
}

/// Bytes that cannot be read: what was compressed is cut, or broken.
fn broken(answer: &Answer, error: &io::Error) -> Error {
    cut(answer, &format!("the answer cannot be unpacked: {}", error.kind()))
}
