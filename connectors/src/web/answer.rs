use std::{
    fs::File,
    io::{self, BufReader, Cursor, Read, Write},
    os::unix::fs::FileExt,
    sync::Arc,
};

use bytes::Bytes;
use reqwest::{
    StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, TRANSFER_ENCODING},
};
use url::Url;

use crate::compression::decompressed;

/// Bytes that an answer may hold in memory; beyond them it goes to a file that has no name.
const MEMORY_BYTES: usize = 8 << 20;

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Where it came from in the end, redirects followed.
    pub(crate) url: Url,
    pub(crate) body: Body,
}

impl Answer {
    /// The media type in lower case, without its parameters; empty where none is said.
    pub(crate) fn media_type(&self) -> String {
        let value = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// The encoding that the media type names.
    pub(crate) fn charset(&self) -> Option<&'static encoding_rs::Encoding> {
        let value = self.headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let (_, label) = value
            .split(';')
            .filter_map(|part| part.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
        encoding_rs::Encoding::for_label(label.trim().trim_matches('"').as_bytes())
    }
}

/// The bytes of an answer, as they were sent (compressed, if they were).
#[derive(Debug)]
pub(crate) struct Body {
    held: Held,
    length: u64,
    /// Whether the end was told by a length or by chunks, not by a connection that closed.
    pub(crate) has_told_end: bool,
}

#[derive(Debug)]
enum Held {
    Memory(Bytes),
    File(Arc<File>),
}

impl Body {
    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    /// The bytes, decompressed, from the beginning.
    pub(crate) fn open(&self) -> io::Result<BufReader<Box<dyn Read + Send>>> {
        let mut magic = Vec::new();
        self.raw().take(4).read_to_end(&mut magic)?;
        let (reader, _) = decompressed(&magic, self.raw())?;
        Ok(BufReader::with_capacity(256 << 10, reader))
    }

    /// The bytes as they were sent.
    pub(crate) fn raw_bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.length).unwrap_or_default());
        self.raw().read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn raw(&self) -> Box<dyn Read + Send> {
        match &self.held {
            Held::Memory(bytes) => Box::new(Cursor::new(bytes.clone())),
            Held::File(file) => Box::new(At { file: Arc::clone(file), place: 0 }),
        }
    }

    /// The first bytes, decompressed.
    pub(crate) fn beginning(&self, bytes: u64) -> io::Result<Vec<u8>> {
        let mut start = Vec::new();
        self.open()?.take(bytes).read_to_end(&mut start)?;
        Ok(start)
    }
}

/// A file read from a place of its own: several readers share one.
struct At {
    file: Arc<File>,
    place: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read_at(buffer, self.place)?;
        self.place += length as u64;
        Ok(length)
    }
}

/// Takes an answer's bytes as they come.
#[derive(Debug, Default)]
pub(super) struct Collector {
    memory: Vec<u8>,
    file: Option<File>,
    length: u64,
}

impl Collector {
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.length += bytes.len() as u64;
        if let Some(file) = &mut self.file {
            return file.write_all(bytes);
        }
        self.memory.extend_from_slice(bytes);
        if self.memory.len() > MEMORY_BYTES {
            let mut file = tempfile::tempfile()?;
            file.write_all(&self.memory)?;
            self.memory = Vec::new();
            self.file = Some(file);
        }
        Ok(())
    }

    pub(super) fn finish(self, status: StatusCode, headers: HeaderMap, url: Url, version_2: bool) -> Answer {
        let has_told_end = version_2 || headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
        let held = match self.file {
            Some(file) => Held::File(Arc::new(file)),
            None => Held::Memory(self.memory.into()),
        };
        Answer { status, headers, url, body: Body { held, length: self.length, has_told_end } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_answer_is_read_back_as_it_came_more_than_once() {
        let mut collector = Collector::default();
        let chunk: Vec<u8> = (0..=255).collect();
        for _ in 0..40_000 {
            collector.push(&chunk).unwrap();
        }
        let url: Url = "http://h/".parse().unwrap();
        let answer = collector.finish(StatusCode::OK, HeaderMap::new(), url, false);
        assert!(matches!(answer.body.held, Held::File(_)));
        for _ in 0..2 {
            let mut bytes = Vec::new();
            answer.body.open().unwrap().read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes.len(), 256 * 40_000);
            assert!(bytes.chunks(256).all(|part| part == chunk));
        }
        assert_eq!(answer.body.beginning(3).unwrap(), [0, 1, 2]);
        assert!(!answer.body.has_told_end);
    }
}
