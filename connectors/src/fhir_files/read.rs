use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Builder, RecordBatch, StringBuilder},
    datatypes::{Field, Schema, SchemaRef},
};
use serde_json::Value;
use tokio::runtime::Handle;

use super::{
    Shared, UNREADABLE, columns,
    record::{Found, KeyPath, Record},
    scan::{decode, is_large_ndjson, table_of, visit},
};
use crate::{
    Error, ReadRequest,
    objects::{FileEntry, Next, Place, Places},
    reading::{Halt, Output},
};

/// Reads one resource type from all files.
pub(super) fn run(
    shared: &Shared,
    runtime: &Handle,
    entries: &[FileEntry],
    request: &ReadRequest,
    output: &Output,
) -> Result<(), Halt> {
    let wanted = request.table.name.as_str();
    let keys = shared.keys.get(wanted).map_or(&[][..], Vec::as_slice);
    let mut places = Places::from_cursor(request.from.as_ref())?;
    let mut rows = Rows::new(keys);
    let mut is_there = request.from.is_some();
    for entry in entries {
        let (offset, record) = match places.next(&shared.location, runtime, entry)? {
            Next::Skip => continue,
            Next::From { offset, record } => (offset, record),
            Next::Changed => (0, 0),
        };
        let mut take = |position: u64, found: Found, place: Option<&dyn Fn() -> Place>| -> Result<(), Halt> {
            if table_of(&found) != wanted {
                return Ok(());
            }
            is_there = true;
            rows.take(entry, position, found, output)?;
            if rows.is_full(request) {
                output.batch(rows.finish()?)?;
                if let Some(place) = place {
                    places.files.insert(entry.name.clone(), place());
                    output.cursor(places.to_cursor()?)?;
                }
            }
            Ok(())
        };
        let scan = if is_large_ndjson(entry) {
            shared.scans.known(entry)
        } else {
            Some(shared.scans.of(shared, runtime, entry)?)
        };
        let end = match scan {
            Some(scan) if !scan.counts.contains_key(wanted) => scan.end.clone(),
            Some(scan) if scan.kept.is_some() && offset == 0 => {
                let compressed = scan.kept.as_ref().and_then(|kept| kept.get(wanted)).map_or(&[][..], Vec::as_slice);
                let pieces = if compressed.is_empty() { Vec::new() } else { decode(compressed)? };
                let mut pieces = pieces.into_iter().filter(|(position, _)| *position > record).peekable();
                while let Some((position, found)) = pieces.next() {
                    let place = || Place { record: position, done: false, tail: (0, 0), offset: 0, ..scan.end.clone() };
                    // A line that is a Bundle has several pieces at one position: no cursor stands between them.
                    let is_last = pieces.peek().is_none_or(|(next, _)| *next != position);
                    take(position, found, is_last.then_some(&place as &dyn Fn() -> Place))?;
                }
                scan.end.clone()
            }
            _ => visit(shared, runtime, entry, offset, record, &mut take)?,
        };
        let mut end = end;
        if end.tail.0 == 0
            && let Some(before) = places.files.get(&entry.name)
            && before.offset == end.offset
        {
            end.tail = before.tail;
        }
        places.files.insert(entry.name.clone(), end);
    }
    if !is_there && wanted != UNREADABLE {
        return Err(Error::NoSuchTable { table: request.table.to_string() }.into());
    }
    output.batch(rows.finish()?)?;
    output.end(Some(places.to_cursor()?), false)
}

/// Rows on their way into a batch.
struct Rows<'a> {
    keys: &'a [KeyPath],
    schema: SchemaRef,
    texts: Vec<StringBuilder>,
    positions: Int64Builder,
    count: usize,
    bytes: usize,
}

impl<'a> Rows<'a> {
    fn new(keys: &'a [KeyPath]) -> Self {
        let fields: Vec<Field> = columns(keys.len())
            .into_iter()
            .map(|column| Field::new(column.name, column.data_type, column.nullable))
            .collect();
        let texts = (0..8 + keys.len()).map(|_| StringBuilder::new()).collect();
        Self { keys, schema: Arc::new(Schema::new(fields)), texts, positions: Int64Builder::new(), count: 0, bytes: 0 }
    }

    fn take(&mut self, entry: &FileEntry, position: u64, found: Found, output: &Output) -> Result<(), Halt> {
        let origin = format!("{} {position}", entry.name);
        let record = match found {
            Found::Record(record) => record,
            Found::Reject { reason, payload, .. } => return output.reject(origin, reason, payload),
        };
        let mut values = Vec::new();
        if !self.keys.is_empty() {
            let resource: Value = serde_json::from_str(&record.resource).unwrap_or_default();
            values.extend(self.keys.iter().map(|key| key.find(&resource)));
            if values.iter().all(Option::is_none) {
                return output.reject(origin, "the resource has no value of the declared key", record.resource);
            }
        }
        self.push(&record, &entry.name, position, &values);
        Ok(())
    }

    fn push(&mut self, record: &Record, file: &str, position: u64, keys: &[Option<String>]) {
        let fixed = [
            Some(record.kind.as_str()),
            record.id.as_deref(),
            Some(record.resource.as_str()),
            record.full_url.as_deref(),
            record.method.as_deref(),
            record.url.as_deref(),
            record.if_none_exist.as_deref(),
            Some(file),
        ];
        let values = fixed.into_iter().chain(keys.iter().map(Option::as_deref));
        for (builder, value) in self.texts.iter_mut().zip(values) {
            self.bytes += value.map_or(0, str::len);
            builder.append_option(value);
        }
        self.positions.append_value(i64::try_from(position).unwrap_or(i64::MAX));
        self.count += 1;
    }

    fn is_full(&self, request: &ReadRequest) -> bool {
        self.count >= request.batch_rows.max(1) || self.bytes >= request.batch_bytes
    }

    fn finish(&mut self) -> Result<RecordBatch, Error> {
        let mut arrays: Vec<ArrayRef> =
            self.texts.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef).collect();
        arrays.insert(8, Arc::new(self.positions.finish()));
        (self.count, self.bytes) = (0, 0);
        RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .map_err(|error| Error::Malformed { place: "resources".to_owned(), reason: error.to_string() })
    }
}
