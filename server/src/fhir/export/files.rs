//! Rows into files.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use ::parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::WriterProperties,
};
use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType},
};
use chrono::DateTime;
use mavis_fhir::{ResourceType, search::View, shape::with_meta};

use super::job::Written;

/// A file ends when it has so many bytes.
const FILE_BYTES: u64 = 512 << 20;

#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("writing a file failed: {0}")]
    Io(#[from] std::io::Error),
    #[error("writing a Parquet file failed: {0}")]
    Parquet(#[from] ParquetError),
    #[error("a table of the FHIR zone has an unknown shape")]
    Shape,
}

enum Sink {
    Lines(BufWriter<File>),
    Parquet(Box<ArrowWriter<File>>),
}

/// The files of one type, written one after the other.
pub(super) struct Files {
    folder: PathBuf,
    resource: ResourceType,
    /// `None`: the whole resource.
    view: Option<View>,
    /// Columns of Parquet; `None`: lines.
    columns: Option<SchemaRef>,
    sink: Option<Sink>,
    bytes: u64,
    written: Vec<Written>,
}

impl Files {
    pub(super) fn new(folder: &Path, resource: ResourceType, view: Option<View>, columns: Option<SchemaRef>) -> Self {
        Self { folder: folder.to_path_buf(), resource, view, columns, sink: None, bytes: 0, written: Vec::new() }
    }

    fn open(&mut self) -> Result<&mut Sink, FileError> {
        if self.sink.is_none() {
            let end = if self.columns.is_some() { "parquet" } else { "ndjson" };
            let name = format!("{}.{}.{end}", self.resource, self.written.len() + 1);
            let file = File::create_new(self.folder.join(&name))?;
            self.sink = Some(match &self.columns {
                None => Sink::Lines(BufWriter::with_capacity(1 << 20, file)),
                Some(schema) => {
                    let properties = WriterProperties::builder()
                        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
                        .set_max_row_group_row_count(Some(64 * 1024))
                        .set_created_by(concat!("mavis ", env!("CARGO_PKG_VERSION")).to_owned())
                        .build();
                    Sink::Parquet(Box::new(ArrowWriter::try_new(file, schema.clone(), Some(properties))?))
                }
            });
            self.bytes = 0;
            self.written.push(Written { resource: self.resource.to_string(), file: name, rows: 0 });
        }
        self.sink.as_mut().ok_or(FileError::Shape)
    }

    /// Blocks. Lines are made of the columns `id`, `__version`, `__last_updated` and `resource`, in this order.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), FileError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let (view, resource) = (self.view.clone(), self.resource);
        let bytes = match self.open()? {
            Sink::Parquet(writer) => {
                writer.write(batch)?;
                u64::try_from(writer.bytes_written()).unwrap_or(u64::MAX)
            }
            Sink::Lines(out) => {
                let text = lines(batch, resource, view.as_ref()).ok_or(FileError::Shape)?;
                out.write_all(&text)?;
                text.len() as u64
            }
        };
        self.bytes = if self.columns.is_some() { bytes } else { self.bytes + bytes };
        if let Some(last) = self.written.last_mut() {
            last.rows += batch.num_rows() as u64;
        }
        if self.bytes >= FILE_BYTES { self.close() } else { Ok(()) }
    }

    fn close(&mut self) -> Result<(), FileError> {
        match self.sink.take() {
            None => {}
            Some(Sink::Lines(mut out)) => out.flush()?,
            Some(Sink::Parquet(writer)) => drop(writer.close()?),
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Vec<Written>, FileError> {
        self.close()?;
        Ok(self.written)
    }
}

fn lines(batch: &RecordBatch, resource: ResourceType, view: Option<&View>) -> Option<Vec<u8>> {
    let text = |index: usize| cast(batch.columns().get(index)?, &DataType::Utf8).ok();
    let (ids, texts) = (text(0)?, text(3)?);
    let (ids, texts) = (ids.as_string_opt::<i32>()?, texts.as_string_opt::<i32>()?);
    let versions = batch.columns().get(1)?.as_primitive_opt::<Int64Type>()?;
    let times = cast(batch.columns().get(2)?, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))).ok()?;
    let times = times.as_primitive_opt::<TimestampMicrosecondType>()?;
    let mut out = Vec::with_capacity(texts.values().len() + 128 * batch.num_rows());
    for row in 0..batch.num_rows() {
        if texts.is_null(row) {
            return None;
        }
        let at = DateTime::from_timestamp_micros(times.value(row))?;
        let whole = with_meta(texts.value(row), ids.value(row), versions.value(row), at);
        let cut = view.and_then(|view| view.cut(resource, &whole));
        let line = cut.as_deref().unwrap_or(&whole);
        // A resource that came with line breaks between its members stays one line.
        if memchr::memchr2(b'\n', b'\r', line.as_bytes()).is_some() {
            out.extend(line.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
        } else {
            out.extend_from_slice(line.as_bytes());
        }
        out.push(b'\n');
    }
    Some(out)
}
