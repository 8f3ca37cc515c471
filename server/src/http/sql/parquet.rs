//! Rows as a Parquet file. It goes out a row group at a time: only one is ever in memory, encoded.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use ::parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::WriterProperties,
};
use arrow::{array::RecordBatch, datatypes::SchemaRef, error::ArrowError};

use super::answer::Encode;

/// A row group ends at so many rows, or at so many encoded bytes.
const ROWS: usize = 128 * 1024;
const BYTES: usize = 16 << 20;

pub(super) struct Parquet {
    writer: ArrowWriter<Sink>,
    written: Sink,
}

/// Bytes that were written and not yet sent.
#[derive(Debug, Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Parquet {
    pub(super) fn new(schema: SchemaRef) -> Result<Self, ArrowError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).map_err(told)?))
            .set_max_row_group_row_count(Some(ROWS))
            .set_created_by(concat!("mavis ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let written = Sink::default();
        let writer = ArrowWriter::try_new(written.clone(), schema, Some(properties)).map_err(told)?;
        Ok(Self { writer, written })
    }

    fn take(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.written.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Encode for Parquet {
    fn head(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        self.take(out);
        Ok(())
    }

    fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        self.writer.write(batch).map_err(told)?;
        if self.writer.in_progress_size() > BYTES {
            self.writer.flush().map_err(told)?;
        }
        self.take(out);
        Ok(())
    }

    fn tail(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        self.writer.finish().map_err(told)?;
        self.take(out);
        Ok(())
    }
}

fn told(error: ParquetError) -> ArrowError {
    ArrowError::ParquetError(error.to_string())
}
