//! Text files as UTF-8 lines: byte order marks, and encodings that are not made of ASCII bytes.

use std::io::{Cursor, Read};

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use tokio::runtime::Handle;

use super::Shared;
use crate::{
    Error,
    objects::{FileEntry, Lines, open, read_whole, unreadable},
};

/// The lines of a text file from a place on.
pub(super) struct TextLines {
    pub(super) lines: Lines,
    /// How the bytes of a line are text.
    pub(super) encoding: &'static Encoding,
    /// Whether a later reading can go on at a byte of the file itself.
    pub(super) can_grow: bool,
}

/// Opens a text file at a line whose start is known, or (offset 0) at its beginning.
///
/// UTF-16 is turned into UTF-8 as a whole; every other encoding is read line by line, since a line end is one byte in it.
pub(super) fn text_lines(
    shared: &Shared,
    runtime: &Handle,
    entry: &FileEntry,
    offset: u64,
    record: u64,
) -> Result<TextLines, Error> {
    let mut start = [0_u8; 3];
    let mut head = open(&shared.location, runtime, entry, 0)?;
    let mut length = 0;
    while length < start.len() {
        match head.reader.read(&mut start[length..]).map_err(|error| unreadable(entry, &error))? {
            0 => break,
            read => length += read,
        }
    }
    let marked = Encoding::for_bom(&start[..length]).map(|(encoding, _)| encoding);
    let encoding = marked.or(shared.encoding).unwrap_or(UTF_8);
    if encoding == UTF_16LE || encoding == UTF_16BE {
        let bytes = read_whole(&shared.location, runtime, entry)?;
        let (text, _, had_errors) = encoding.decode(&bytes);
        if had_errors {
            return Err(Error::Malformed {
                place: format!("file `{}`", entry.name),
                reason: format!("it is not valid {}", encoding.name()),
            });
        }
        let mut reader = Cursor::new(text.into_owned().into_bytes());
        reader.set_position(offset);
        return Ok(TextLines { lines: Lines::new(Box::new(reader), offset, record), encoding: UTF_8, can_grow: false });
    }
    let opened = open(&shared.location, runtime, entry, offset)?;
    let can_grow = !opened.is_compressed;
    Ok(TextLines { lines: Lines::new(opened.reader, offset, record), encoding, can_grow })
}

/// Why a line is set aside whose bytes are not of the encoding.
pub(super) fn not_text(encoding: &'static Encoding) -> String {
    let hint = if encoding == UTF_8 { "windows-1252" } else { "utf-8" };
    format!("the line is not valid {}: set the source's `encoding`, e.g. {hint}", encoding.name())
}

/// The text of some bytes; `None` where they are not of the encoding.
pub(super) fn decode(encoding: &'static Encoding, bytes: &[u8]) -> Option<String> {
    if encoding == UTF_8 {
        return std::str::from_utf8(bytes).ok().map(str::to_owned);
    }
    encoding.decode_without_bom_handling_and_without_replacement(bytes).map(std::borrow::Cow::into_owned)
}
