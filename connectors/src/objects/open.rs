use std::io::{self, Read};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use tokio::runtime::Handle;

use crate::{
    Error,
    compression::{Compression, decompressed},
    objects::{FileEntry, Location, reason},
};

/// A file's bytes, decompressed.
pub(crate) struct Opened {
    pub(crate) reader: Box<dyn Read + Send>,
    /// Compressed files cannot be appended to, nor entered in the middle without decompressing what is before.
    pub(crate) is_compressed: bool,
}

/// Opens a file at an offset of its decompressed bytes, on a blocking thread. What tells the compression is the file's
/// first bytes, not its name.
pub(crate) fn open(location: &Location, runtime: &Handle, entry: &FileEntry, from: u64) -> Result<Opened, Error> {
    let store = location.store();
    let magic = if entry.size == 0 {
        Vec::new()
    } else {
        runtime
            .block_on(store.get_range(&entry.path, 0..entry.size.min(4)))
            .map_err(|error| location.error_of(entry, &error))?
            .to_vec()
    };
    let compression = Compression::of(&magic);
    if compression == Compression::None {
        if from >= entry.size {
            return Ok(Opened { reader: Box::new(io::empty()), is_compressed: false });
        }
        let options = GetOptions { range: Some(GetRange::Bounded(from..entry.size)), ..GetOptions::default() };
        let reader = body(location, runtime, store.as_ref(), entry, options)?;
        return Ok(Opened { reader, is_compressed: false });
    }
    let raw = body(location, runtime, store.as_ref(), entry, GetOptions::default())?;
    let (mut reader, _) = decompressed(&magic, raw).map_err(|error| unreadable(entry, &error))?;
    if from > 0 {
        io::copy(&mut reader.by_ref().take(from), &mut io::sink()).map_err(|error| unreadable(entry, &error))?;
    }
    Ok(Opened { reader, is_compressed: true })
}

/// The whole file, decompressed.
pub(crate) fn read_whole(location: &Location, runtime: &Handle, entry: &FileEntry) -> Result<Vec<u8>, Error> {
    let mut opened = open(location, runtime, entry, 0)?;
    let mut bytes = Vec::with_capacity(usize::try_from(entry.size).unwrap_or_default());
    opened.reader.read_to_end(&mut bytes).map_err(|error| unreadable(entry, &error))?;
    Ok(bytes)
}

/// A read error: the store's connection broke, or the compressed data did.
pub(crate) fn unreadable(entry: &FileEntry, error: &io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<object_store::Error>()) {
        Some(inner) => Error::Interrupted { place: format!("file `{}`", entry.shown()), reason: reason(inner) },
        None => Error::Malformed {
            place: format!("file `{}`", entry.shown()),
            reason: format!("the compressed data is broken or cut: {error}"),
        },
    }
}

fn body(
    location: &Location,
    runtime: &Handle,
    store: &dyn ObjectStore,
    entry: &FileEntry,
    options: GetOptions,
) -> Result<Box<dyn Read + Send>, Error> {
    let result =
        runtime.block_on(store.get_opts(&entry.path, options)).map_err(|error| location.error_of(entry, &error))?;
    Ok(Box::new(Body { stream: result.into_stream(), runtime: runtime.clone(), chunk: Bytes::new() }))
}

/// An object's stream as a synchronous reader, for a thread that may block.
struct Body {
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    runtime: Handle,
    chunk: Bytes,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.runtime.block_on(self.stream.next()) {
                Some(chunk) => self.chunk = chunk.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let length = self.chunk.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.chunk.split_to(length));
        Ok(length)
    }
}
