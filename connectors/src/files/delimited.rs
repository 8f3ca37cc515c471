//! CSV files as tables: the columns of their beginnings, and their records as rows.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, StringBuilder},
    datatypes::{DataType, Field, Schema},
};
use tokio::runtime::Handle;

use super::{
    Shared,
    head::head,
    records::Records,
    sink::Sink,
    text::{decode, not_text, text_lines},
};
use crate::{
    Error, SourceColumn,
    objects::{FileEntry, Place, printable},
    reading::Halt,
};

/// The columns of all files, in the order in which they first appear, and what stands above the first file's table.
pub(super) fn columns(
    shared: &Shared,
    runtime: &Handle,
    files: &[FileEntry],
) -> Result<(Vec<SourceColumn>, Option<String>), Error> {
    let mut columns: Vec<SourceColumn> = Vec::new();
    let mut comment = None;
    for (place, entry) in files.iter().enumerate() {
        let head = head(shared, runtime, entry)?;
        if place == 0 {
            comment = head.comment;
        }
        for name in head.names {
            if !columns.iter().any(|column| column.name == name) {
                columns.push(SourceColumn {
                    name,
                    data_type: DataType::Utf8,
                    nullable: true,
                    source_type: "text".to_owned(),
                    comment: None,
                });
            }
        }
    }
    Ok((columns, comment))
}

/// Reads a file from a place on; answers with the place of its end.
pub(super) fn read(
    shared: &Shared,
    runtime: &Handle,
    entry: &FileEntry,
    offset: u64,
    record: u64,
    sink: &mut Sink<'_>,
) -> Result<Place, Halt> {
    let head = head(shared, runtime, entry)?;
    let mut records = Records::new(text_lines(shared, runtime, entry, offset, record)?, head.delimiter, entry);
    let fields = head.names.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect::<Vec<_>>();
    let schema = Arc::new(Schema::new(fields));
    let mut builders: Vec<StringBuilder> = head.names.iter().map(|_| StringBuilder::new()).collect();
    let (mut rows, mut bytes) = (0, 0);
    while let Some(found) = records.next(Some(head.width()))? {
        if found.line <= head.header_line {
            continue;
        }
        let origin = || format!("{} line {}", entry.name, found.line);
        let values = match found.outcome {
            Ok(values) => values,
            Err(reason) => {
                sink.reject(origin(), reason, printable(&found.raw))?;
                continue;
            }
        };
        let encoding = records.text.encoding;
        let texts: Option<Vec<Option<String>>> = values
            .into_iter()
            .map(|value| match value {
                None => Some(None),
                Some(value) => decode(encoding, &value).map(Some),
            })
            .collect();
        let Some(texts) = texts else {
            sink.reject(origin(), not_text(encoding), printable(&found.raw))?;
            continue;
        };
        for (builder, text) in builders.iter_mut().zip(texts) {
            bytes += text.as_ref().map_or(1, String::len);
            builder.append_option(text);
        }
        rows += 1;
        if rows >= sink.request.batch_rows.max(1) || bytes >= sink.request.batch_bytes {
            let place = records.place(entry, false);
            sink.batch(entry, finish(&schema, &mut builders)?, place)?;
            (rows, bytes) = (0, 0);
        }
    }
    if rows > 0 {
        sink.batch(entry, finish(&schema, &mut builders)?, None)?;
    }
    Ok(records.place(entry, true).unwrap_or_default())
}

fn finish(schema: &Arc<Schema>, builders: &mut [StringBuilder]) -> Result<RecordBatch, Error> {
    let arrays = builders.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef).collect();
    RecordBatch::try_new(Arc::clone(schema), arrays)
        .map_err(|error| Error::Malformed { place: "CSV".to_owned(), reason: error.to_string() })
}
