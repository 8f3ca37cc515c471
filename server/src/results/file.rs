//! The files of one answer, written one after the other.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use arrow::{
    array::RecordBatch,
    datatypes::SchemaRef,
    error::ArrowError,
    ipc::{
        CompressionType,
        reader::FileReader,
        writer::{FileWriter, IpcWriteOptions},
    },
};

/// A file ends when it has so many bytes: what one endpoint of Flight hands out.
const FILE_BYTES: u64 = 64 << 20;

/// A finished file.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) path: PathBuf,
    /// Rows of each batch, in order.
    pub(super) batches: Vec<u32>,
    pub(super) rows: u64,
}

/// Counts what goes through it.
struct Counted {
    file: BufWriter<File>,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes an answer's rows; blocks.
pub(super) struct Files {
    folder: PathBuf,
    schema: SchemaRef,
    open: Option<(FileWriter<Counted>, Part)>,
    done: Vec<Part>,
    /// Bytes of the files that are finished.
    bytes: u64,
}

impl Files {
    pub(super) fn new(folder: &Path, schema: SchemaRef) -> Self {
        Self { folder: folder.to_path_buf(), schema, open: None, done: Vec::new(), bytes: 0 }
    }

    /// Bytes written so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes + self.open.as_ref().map_or(0, |(writer, _)| writer.get_ref().bytes)
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let (mut writer, mut part) = match self.open.take() {
            Some(open) => open,
            None => self.next()?,
        };
        writer.write(batch)?;
        part.batches.push(u32::try_from(batch.num_rows()).unwrap_or(u32::MAX));
        part.rows += batch.num_rows() as u64;
        let full = writer.get_ref().bytes >= FILE_BYTES;
        self.open = Some((writer, part));
        if full { self.close() } else { Ok(()) }
    }

    /// Ends the last file; answers all of them.
    pub(super) fn finish(mut self) -> Result<Vec<Part>, ArrowError> {
        self.close()?;
        Ok(self.done)
    }

    fn next(&self) -> Result<(FileWriter<Counted>, Part), ArrowError> {
        let path = self.folder.join(format!("{}.arrow", self.done.len() + 1));
        let file = Counted { file: BufWriter::with_capacity(1 << 20, File::create_new(&path)?), bytes: 0 };
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
        let writer = FileWriter::try_new_with_options(file, &self.schema, options)?;
        Ok((writer, Part { path, batches: Vec::new(), rows: 0 }))
    }

    fn close(&mut self) -> Result<(), ArrowError> {
        if let Some((mut writer, part)) = self.open.take() {
            writer.finish()?;
            writer.get_mut().flush()?;
            self.bytes += writer.get_ref().bytes;
            self.done.push(part);
        }
        Ok(())
    }
}

/// Opens a file at one of its batches; blocks.
pub(super) fn open(part: &Part, batch: usize) -> Result<FileReader<BufReader<File>>, ArrowError> {
    let mut reader = FileReader::try_new_buffered(File::open(&part.path)?, None)?;
    reader.set_index(batch)?;
    Ok(reader)
}
