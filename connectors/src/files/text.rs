//! Text files as UTF-8 lines: byte order marks, and encodings that are not made of ASCII bytes.

use std::io::{self, Cursor, Read};

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use tokio::runtime::Handle;

use super::Shared;
use crate::{
    Error,
    objects::{FileEntry, Lines, Opened, open, unreadable},
};

/// The lines of a text file from a place on.
pub(crate) struct TextLines {
    pub(crate) lines: Lines,
    /// How the bytes of a line are text.
    pub(crate) encoding: &'static Encoding,
    /// Whether a later reading can go on at a byte of the file itself.
    pub(crate) can_grow: bool,
}

/// Bytes that tell encoding and line ends.
const PROBE_BYTES: usize = 64 << 10;

/// Opens a text file at a line whose start is known, or (offset 0) at its beginning.
pub(super) fn text_lines(
    shared: &Shared,
    runtime: &Handle,
    entry: &FileEntry,
    offset: u64,
    record: u64,
) -> Result<TextLines, Error> {
    lines_of(&|from| open(&shared.location, runtime, entry, from), shared.encoding, entry, offset, record)
}

/// The lines of what `open` opens at a byte of the text.
///
/// UTF-16 is turned into UTF-8 as a whole; every other encoding is read line by line, since a line end is one byte in it.
/// Lines that end in a carriage return alone (old Macintosh exports) are told by a beginning that has no other line end.
pub(crate) fn lines_of(
    open: &dyn Fn(u64) -> Result<Opened, Error>,
    declared: Option<&'static Encoding>,
    entry: &FileEntry,
    offset: u64,
    record: u64,
) -> Result<TextLines, Error> {
    let mut start = Vec::new();
    let head = open(0)?;
    // Compressed data that is cut is told by whoever reads up to there.
    let probed = head.reader.take(PROBE_BYTES as u64).read_to_end(&mut start);
    if start.is_empty() {
        probed.map_err(|error| unreadable(entry, &error))?;
    }
    let encoding = encoding_of(&start, declared);
    if encoding == UTF_16LE || encoding == UTF_16BE {
        let mut bytes = Vec::new();
        open(0)?.reader.read_to_end(&mut bytes).map_err(|error| unreadable(entry, &error))?;
        let text = utf16(&bytes, encoding, entry)?;
        let returns = ends_in_returns(text.as_bytes());
        let mut reader = Cursor::new(text.into_bytes());
        reader.set_position(offset);
        let lines = Lines::new(line_ends(Box::new(reader), returns), offset, record);
        return Ok(TextLines { lines, encoding: UTF_8, can_grow: false });
    }
    let returns = ends_in_returns(&start);
    let opened = open(offset)?;
    let can_grow = !opened.is_compressed && !returns;
    Ok(TextLines { lines: Lines::new(line_ends(opened.reader, returns), offset, record), encoding, can_grow })
}

/// The encoding of a text that begins so: its mark's, the one that was declared, UTF-16 where every other byte of what
/// is mostly Latin text is zero, else UTF-8.
pub(crate) fn encoding_of(start: &[u8], declared: Option<&'static Encoding>) -> &'static Encoding {
    if let Some((marked, _)) = Encoding::for_bom(start) {
        return marked;
    }
    if let Some(declared) = declared {
        return declared;
    }
    let pairs = start[..start.len().min(1024)].chunks_exact(2);
    let count = pairs.len();
    let (first, second) = pairs
        .fold((0, 0), |(first, second), pair| (first + usize::from(pair[0] == 0), second + usize::from(pair[1] == 0)));
    let (many, few) = (|zeros: usize| count >= 4 && zeros * 10 >= count * 6, |zeros: usize| zeros * 20 <= count);
    if many(second) && few(first) {
        UTF_16LE
    } else if many(first) && few(second) {
        UTF_16BE
    } else {
        UTF_8
    }
}

/// UTF-16 as text, without its mark.
pub(crate) fn utf16(bytes: &[u8], encoding: &'static Encoding, entry: &FileEntry) -> Result<String, Error> {
    let (text, had_errors) = encoding.decode_with_bom_removal(bytes);
    if had_errors {
        return Err(Error::Malformed {
            place: format!("file `{}`", entry.shown()),
            reason: format!("it is not valid {}", encoding.name()),
        });
    }
    Ok(text.into_owned())
}

fn ends_in_returns(start: &[u8]) -> bool {
    // A return at the very end may be half of a pair.
    !start.contains(&b'\n') && start.iter().rev().skip(1).any(|byte| *byte == b'\r')
}

fn line_ends(reader: Box<dyn Read + Send>, returns: bool) -> Box<dyn Read + Send> {
    if returns { Box::new(Returns(reader)) } else { reader }
}

/// Carriage returns as line ends; every byte keeps its place.
struct Returns(Box<dyn Read + Send>);

impl Read for Returns {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.0.read(buffer)?;
        for byte in &mut buffer[..length] {
            if *byte == b'\r' {
                *byte = b'\n';
            }
        }
        Ok(length)
    }
}

/// Why a line is set aside whose bytes are not of the encoding.
pub(crate) fn not_text(encoding: &'static Encoding) -> String {
    let hint = if encoding == UTF_8 { "windows-1252" } else { "utf-8" };
    format!("the line is not valid {}: set the source's `encoding`, e.g. {hint}", encoding.name())
}

/// The text of some bytes; `None` where they are not of the encoding.
pub(crate) fn decode(encoding: &'static Encoding, bytes: &[u8]) -> Option<String> {
    if encoding == UTF_8 {
        return std::str::from_utf8(bytes).ok().map(str::to_owned);
    }
    encoding.decode_without_bom_handling_and_without_replacement(bytes).map(std::borrow::Cow::into_owned)
}
