//! NDJSON and JSON: one object per row, typed by its values; lists, objects and mixed columns as JSON text.
//!
//! The types come from the first 64 MiB of each file. A later value of another type makes its row a reject, a member
//! that was not seen there becomes a text column of the batches that have it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use encoding_rs::{UTF_16BE, UTF_16LE};
use serde_json::{error::Category, value::RawValue};
use tokio::runtime::Handle;

use super::{
    FileTable, Format, Shared,
    sink::Sink,
    text::{TextLines, decode, encoding_of, not_text, text_lines, utf16},
};
use crate::{
    Error, SourceColumn,
    json::{Members, Rows, Shape, members, merge},
    objects::{FileEntry, Place, printable, read_whole, unreadable},
    reading::Halt,
};

/// Bytes of a file that its types are told from.
const SAMPLE_BYTES: u64 = 64 << 20;

/// The column shapes of files, by name and stamp.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    files: Mutex<HashMap<String, (String, FileShapes)>>,
}

type FileShapes = Arc<Vec<(String, Shape)>>;

/// The columns of all files of a table.
pub(super) fn columns(shared: &Shared, runtime: &Handle, table: &FileTable) -> Result<Vec<SourceColumn>, Error> {
    Ok(shapes(shared, runtime, table)?
        .into_iter()
        .map(|(name, shape)| SourceColumn {
            name,
            data_type: shape.data_type(),
            nullable: true,
            source_type: shape.name().to_owned(),
            comment: None,
        })
        .collect())
}

fn shapes(shared: &Shared, runtime: &Handle, table: &FileTable) -> Result<Vec<(String, Shape)>, Error> {
    let mut merged: Vec<(String, Shape)> = Vec::new();
    for entry in &table.files {
        let known = {
            let files = shared.json.files.lock().unwrap_or_else(PoisonError::into_inner);
            files.get(&entry.name).filter(|(stamp, _)| *stamp == entry.stamp).map(|(_, shapes)| Arc::clone(shapes))
        };
        let shapes = match known {
            Some(shapes) => shapes,
            None => {
                let shapes = Arc::new(scan(shared, runtime, table.format, entry)?);
                let mut files = shared.json.files.lock().unwrap_or_else(PoisonError::into_inner);
                files.insert(entry.name.clone(), (entry.stamp.clone(), Arc::clone(&shapes)));
                shapes
            }
        };
        for (name, shape) in shapes.iter() {
            merge(&mut merged, name, *shape);
        }
    }
    Ok(merged)
}

fn scan(shared: &Shared, runtime: &Handle, format: Format, entry: &FileEntry) -> Result<Vec<(String, Shape)>, Error> {
    let mut shapes = Vec::new();
    let mut learn = |members: Members<'_>| {
        for (name, value) in members.0 {
            merge(&mut shapes, &name, Shape::of(value.get()));
        }
    };
    if format == Format::Json {
        let text = whole_text(shared, runtime, entry)?;
        for item in items(&text, entry)? {
            if let Ok(members) = members(item.get()) {
                learn(members);
            }
        }
        return Ok(shapes);
    }
    let TextLines { mut lines, encoding, .. } = text_lines(shared, runtime, entry, 0, 0)?;
    while lines.offset() < SAMPLE_BYTES {
        let Some(line) = lines.next_line().map_err(|error| unreadable(entry, &error))? else { break };
        if let Some(text) = decode(encoding, without_mark(line.start, &line.bytes))
            && let Ok(members) = members(&text)
        {
            learn(members);
        }
    }
    Ok(shapes)
}

/// Reads a file from a place on; answers with the place of its end.
pub(super) fn read(
    shared: &Shared,
    runtime: &Handle,
    table: &FileTable,
    entry: &FileEntry,
    offset: u64,
    record: u64,
    sink: &mut Sink<'_>,
) -> Result<Place, Halt> {
    let mut rows = Rows::new(&shapes(shared, runtime, table)?);
    let done = Place { stamp: entry.stamp.clone(), done: true, ..Place::default() };
    if table.format == Format::Json {
        let text = whole_text(shared, runtime, entry)?;
        let mut last = 0;
        for (position, item) in (1_u64..).zip(items(&text, entry)?) {
            last = position;
            if position <= record {
                continue;
            }
            if let Err(reason) = rows.take(item.get()) {
                sink.reject(format!("{} item {position}", entry.name), reason, item.get().to_owned())?;
            }
            if rows.is_full(sink.request) {
                sink.batch(entry, rows.finish()?, Some(Place { record: position, done: false, ..done.clone() }))?;
            }
        }
        sink.batch(entry, rows.finish()?, None)?;
        return Ok(Place { record: last, ..done });
    }
    let TextLines { mut lines, encoding, can_grow } = text_lines(shared, runtime, entry, offset, record)?;
    let tail = |lines: &crate::objects::Lines| if can_grow { lines.fingerprint() } else { (0, 0) };
    let mut before = Place { offset, record, ..done.clone() };
    while let Some(line) = lines.next_line().map_err(|error| unreadable(entry, &error))? {
        let bytes = without_mark(line.start, &line.bytes);
        let origin = || format!("{} line {}", entry.name, line.number);
        if !bytes.trim_ascii().is_empty() {
            let taken = match decode(encoding, bytes) {
                _ if line.is_cut => Err("the line is longer than 64 MiB".to_owned()),
                None => Err(not_text(encoding)),
                Some(text) => rows.take(text.trim()),
            };
            if let Err(reason) = taken {
                sink.reject(origin(), reason, printable(if line.is_cut { &bytes[..1024] } else { bytes }))?;
                if !line.is_terminated {
                    // It may still be growing: it is read again once the file has changed.
                    sink.batch(entry, rows.finish()?, None)?;
                    return Ok(before);
                }
            }
        }
        before = Place { offset: lines.offset(), record: lines.number(), tail: tail(&lines), ..done.clone() };
        if rows.is_full(sink.request) {
            sink.batch(entry, rows.finish()?, Some(Place { done: false, ..before.clone() }))?;
        }
    }
    sink.batch(entry, rows.finish()?, None)?;
    Ok(before)
}

fn without_mark(start: u64, bytes: &[u8]) -> &[u8] {
    if start == 0 { bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes) } else { bytes }
}

fn whole_text(shared: &Shared, runtime: &Handle, entry: &FileEntry) -> Result<String, Error> {
    let bytes = read_whole(&shared.location, runtime, entry)?;
    let encoding = encoding_of(&bytes, shared.encoding);
    if encoding == UTF_16LE || encoding == UTF_16BE {
        return utf16(&bytes, encoding, entry);
    }
    decode(encoding, without_mark(0, &bytes)).ok_or_else(|| Error::Malformed {
        place: format!("file `{}`", entry.shown()),
        reason: format!("it is not valid {}: set `encoding`", encoding.name()),
    })
}

/// The items of a document: those of its list, of the list that is the only member of its object (`{"data": [...]}`), the
/// documents where several stand in the file one after the other, or the document itself.
fn items<'a>(text: &'a str, entry: &FileEntry) -> Result<Vec<&'a RawValue>, Error> {
    let mut parsed = Vec::new();
    for document in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        parsed.push(document.map_err(|error| Error::Malformed {
            place: format!("file `{}` line {}", entry.shown(), error.line()),
            reason: match error.classify() {
                Category::Eof => "the JSON ends in the middle".to_owned(),
                _ => format!("it is not valid JSON at column {}", error.column()),
            },
        })?);
    }
    let &[document] = parsed.as_slice() else { return Ok(parsed) };
    if document.get().starts_with('[') {
        return Ok(serde_json::from_str::<Vec<&RawValue>>(document.get()).unwrap_or(parsed));
    }
    Ok(only_list(document.get()).unwrap_or(parsed))
}

/// The objects of a list that is an object's only member.
fn only_list(text: &str) -> Option<Vec<&RawValue>> {
    let members: Members<'_> = serde_json::from_str(text).ok()?;
    let [(_, list)] = members.0.as_slice() else { return None };
    let items: Vec<&RawValue> = serde_json::from_str(list.get()).ok()?;
    (!items.is_empty() && items.iter().all(|item| item.get().starts_with('{'))).then_some(items)
}
