use std::io::{self, BufRead, BufReader, Read};

use xxhash_rust::xxh3::xxh3_64;

/// Bytes of one line, at most; what is longer is not a record of anything.
const MAX_LINE_BYTES: usize = 64 << 20;
/// Bytes before a place that are remembered to tell whether a file that grew is still the same one.
const TAIL_BYTES: usize = 256;

/// The lines of a file, with their places.
pub(crate) struct Lines {
    reader: BufReader<Box<dyn Read + Send>>,
    /// Offset of the next byte in the decompressed file.
    offset: u64,
    /// Lines read so far, from the file's beginning.
    number: u64,
    tail: Vec<u8>,
}

/// One line without its end.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) bytes: Vec<u8>,
    /// Counted from 1.
    pub(crate) number: u64,
    /// Where it starts.
    pub(crate) start: u64,
    /// Whether a line end follows; the last line of a file may still be growing.
    pub(crate) is_terminated: bool,
    /// Whether it was cut because it is too long to be one.
    pub(crate) is_cut: bool,
}

impl Lines {
    pub(crate) fn new(reader: Box<dyn Read + Send>, offset: u64, number: u64) -> Self {
        Self { reader: BufReader::with_capacity(256 << 10, reader), offset, number, tail: Vec::new() }
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Length and hash of the last bytes read.
    pub(crate) fn fingerprint(&self) -> (u64, u64) {
        (self.tail.len() as u64, fingerprint(&self.tail))
    }

    pub(crate) fn next_line(&mut self) -> io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        let start = self.offset;
        let mut length = self.reader.by_ref().take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut bytes)? as u64;
        if length == 0 {
            return Ok(None);
        }
        let is_cut = length as usize == MAX_LINE_BYTES && bytes.last() != Some(&b'\n');
        if is_cut {
            length += self.skip_line()?;
        }
        self.offset += length;
        self.number += 1;
        if bytes.len() >= TAIL_BYTES {
            self.tail = bytes[bytes.len() - TAIL_BYTES..].to_vec();
        } else {
            self.tail.extend_from_slice(&bytes);
            let excess = self.tail.len().saturating_sub(TAIL_BYTES);
            self.tail.drain(..excess);
        }
        let is_terminated = bytes.last() == Some(&b'\n');
        if is_terminated {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        Ok(Some(Line { bytes, number: self.number, start, is_terminated, is_cut }))
    }

    fn skip_line(&mut self) -> io::Result<u64> {
        let mut skipped = 0;
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok(skipped);
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let used = end.map_or(buffer.len(), |end| end + 1);
            self.reader.consume(used);
            skipped += used as u64;
            if end.is_some() {
                return Ok(skipped);
            }
        }
    }
}

pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    // JSON numbers are safe up to 2^53 everywhere.
    xxh3_64(bytes) >> 11
}

/// Bytes as text that keeps all of them: valid UTF-8 as it is, every other byte as `\xNN`.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_numbers_places_and_no_ends() {
        let mut lines = Lines::new(Box::new(&b"a\r\n\nlast"[..]), 0, 0);
        let mut found = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            found.push((line.bytes, line.number, line.start, line.is_terminated));
        }
        assert_eq!(found, [(b"a".to_vec(), 1, 0, true), (b"".to_vec(), 2, 3, true), (b"last".to_vec(), 3, 4, false)]);
        assert_eq!((lines.offset(), lines.number()), (8, 3));
        assert_eq!(lines.fingerprint(), (8, fingerprint(b"a\r\n\nlast")));
    }

    #[test]
    fn bytes_that_are_no_text_stay_visible() {
        assert_eq!(printable(b"Andr\xe9, \xc3\xa9"), "Andr\\xE9, \u{e9}");
    }
}
