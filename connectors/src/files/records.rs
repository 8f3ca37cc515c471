//! Records of CSV: fields between delimiters, quoted where they must be, a record per line or (in quotes) per several lines.
//!
//! The records are cut here rather than by a library because every one must be accounted for: the line it starts on,
//! the bytes it had, and why it cannot be a row.

use std::collections::VecDeque;

use super::text::TextLines;
use crate::{
    Error,
    objects::{FileEntry, Place, unreadable},
};

/// A quoted field may span this much; a quote that does not close within it was not one.
const MAX_RECORD_LINES: usize = 1_000;
const MAX_RECORD_BYTES: usize = 4 << 20;

/// The names as they are, trimmed; an empty one becomes `column_N`, a repeated one gets a number.
pub(super) fn distinct(texts: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(texts.len());
    for (place, text) in texts.iter().enumerate() {
        let text = text.trim();
        let base = if text.is_empty() { format!("column_{}", place + 1) } else { text.to_owned() };
        let is_taken = |name: &String, names: &[String]| {
            names.contains(name) || texts[place + 1..].iter().any(|later| later.trim() == name && *name != base)
        };
        let mut name = base.clone();
        let mut number = 2;
        while is_taken(&name, &names) {
            name = format!("{base}_{number}");
            number += 1;
        }
        names.push(name);
    }
    names
}

pub(crate) type Fields = Vec<Option<Vec<u8>>>;

/// Cuts a record into fields; the flag says whether a quote is still open at its end.
pub(super) fn split(bytes: &[u8], delimiter: u8) -> (Fields, bool) {
    let mut fields = Vec::new();
    let mut rest = bytes;
    loop {
        if let Some(after) = rest.strip_prefix(b"\"") {
            let mut value = Vec::new();
            let mut place = 0;
            let closed = loop {
                match after.get(place) {
                    None => break false,
                    Some(b'"') if after.get(place + 1) == Some(&b'"') => {
                        value.push(b'"');
                        place += 2;
                    }
                    Some(b'"') => break true,
                    Some(byte) => {
                        value.push(*byte);
                        place += 1;
                    }
                }
            };
            if !closed {
                fields.push(Some(value));
                return (fields, true);
            }
            // What stands between the closing quote and the delimiter belongs to the field all the same.
            rest = &after[place + 1..];
            let end = rest.iter().position(|byte| *byte == delimiter).unwrap_or(rest.len());
            value.extend_from_slice(rest[..end].trim_ascii());
            rest = &rest[end..];
            fields.push(Some(value));
        } else {
            let end = rest.iter().position(|byte| *byte == delimiter).unwrap_or(rest.len());
            fields.push((end > 0).then(|| rest[..end].to_vec()));
            rest = &rest[end..];
        }
        match rest.split_first() {
            Some((_, after)) => rest = after,
            None => return (fields, false),
        }
    }
}

/// One record, or why it is none.
pub(crate) struct Found {
    pub(crate) line: u64,
    pub(crate) last_line: u64,
    pub(crate) raw: Vec<u8>,
    pub(crate) outcome: Result<Fields, String>,
}

struct Physical {
    bytes: Vec<u8>,
    number: u64,
    is_cut: bool,
}

/// The records of a file.
pub(crate) struct Records<'a> {
    pub(crate) text: TextLines,
    delimiter: u8,
    entry: &'a FileEntry,
    /// Lines that were taken for the inside of a quote and are to be read again.
    pending: VecDeque<Physical>,
}

impl<'a> Records<'a> {
    pub(crate) fn new(text: TextLines, delimiter: u8, entry: &'a FileEntry) -> Self {
        Self { text, delimiter, entry, pending: VecDeque::new() }
    }

    fn line(&mut self) -> Result<Option<Physical>, Error> {
        if let Some(line) = self.pending.pop_front() {
            return Ok(Some(line));
        }
        let line = self.text.lines.next_line().map_err(|error| unreadable(self.entry, &error))?;
        Ok(line.map(|mut line| {
            if line.start == 0 && line.bytes.starts_with(b"\xef\xbb\xbf") {
                line.bytes.drain(..3);
            }
            Physical { bytes: line.bytes, number: line.number, is_cut: line.is_cut }
        }))
    }

    /// The next record that is not empty; `width` is the least and the greatest number of fields it should have, where
    /// that is known. Empty fields beyond the greatest are what a delimiter at the line's end makes: they are left away.
    pub(crate) fn next(&mut self, width: Option<(usize, usize)>) -> Result<Option<Found>, Error> {
        loop {
            let Some(first) = self.line()? else { return Ok(None) };
            // A line of tabs alone is a record of empty fields where the delimiter is a tab.
            let may_be_blank = first.bytes.is_empty() || self.delimiter != b'\t';
            if may_be_blank && first.bytes.trim_ascii().is_empty() {
                continue;
            }
            let (line, mut last_line) = (first.number, first.number);
            if first.is_cut {
                let reason = "the line is longer than 64 MiB".to_owned();
                return Ok(Some(Found { line, last_line, raw: first.bytes[..1024].to_vec(), outcome: Err(reason) }));
            }
            let (mut fields, mut is_open) = split(&first.bytes, self.delimiter);
            let mut raw = first.bytes.clone();
            let mut more: Vec<Physical> = Vec::new();
            while is_open && more.len() < MAX_RECORD_LINES && raw.len() < MAX_RECORD_BYTES {
                let Some(next) = self.line()? else { break };
                raw.push(b'\n');
                raw.extend_from_slice(&next.bytes);
                // Only a line with a quote in it can close one.
                let may_close = next.bytes.contains(&b'"');
                last_line = next.number;
                more.push(next);
                if may_close {
                    (fields, is_open) = split(&raw, self.delimiter);
                }
            }
            let problem = match width {
                _ if is_open => Some("a quote opens and does not close".to_owned()),
                None => None,
                Some((least, most)) => {
                    let found = fields.len();
                    while fields.len() > most && fields.last().is_some_and(Option::is_none) {
                        fields.pop();
                    }
                    let fits = (least..=most).contains(&fields.len());
                    if fits {
                        fields.resize(most, None);
                    }
                    (!fits).then(|| format!("the line has {found} fields where the header has {most}"))
                }
            };
            let Some(reason) = problem else {
                return Ok(Some(Found { line, last_line, raw, outcome: Ok(fields) }));
            };
            // A quote that swallowed lines which are records of their own: only its first line is at fault.
            for line in more.into_iter().rev() {
                self.pending.push_front(line);
            }
            return Ok(Some(Found { line, last_line: line, raw: first.bytes, outcome: Err(reason) }));
        }
    }

    /// The place after the last record; `None` while lines wait to be read again.
    pub(crate) fn place(&self, entry: &FileEntry, done: bool) -> Option<Place> {
        self.pending.is_empty().then(|| Place {
            stamp: entry.stamp.clone(),
            offset: self.text.lines.offset(),
            record: self.text.lines.number(),
            tail: if self.text.can_grow { self.text.lines.fingerprint() } else { (0, 0) },
            done,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn texts(line: &str, delimiter: u8) -> (Vec<Option<String>>, bool) {
        let (fields, open) = split(line.as_bytes(), delimiter);
        (fields.into_iter().map(|field| field.map(|field| String::from_utf8(field).unwrap())).collect(), open)
    }

    #[rstest]
    #[case("a,b,c", &[Some("a"), Some("b"), Some("c")], false)]
    #[case("a,,\"\"", &[Some("a"), None, Some("")], false)]
    #[case("\"a,b\",\"say \"\"hi\"\"\"", &[Some("a,b"), Some("say \"hi\"")], false)]
    #[case("5\" pipe,x", &[Some("5\" pipe"), Some("x")], false)]
    #[case("a,\"open", &[Some("a"), Some("open")], true)]
    #[case("a,", &[Some("a"), None], false)]
    fn a_record_is_cut_at_its_delimiters(#[case] line: &str, #[case] fields: &[Option<&str>], #[case] open: bool) {
        let expected: Vec<Option<String>> = fields.iter().map(|field| field.map(str::to_owned)).collect();
        assert_eq!(texts(line, b','), (expected, open));
    }

    #[test]
    fn column_names_are_made_distinct_and_never_empty() {
        let names = ["a", "", "a", " a ", "a_2", ""].map(str::to_owned);
        assert_eq!(distinct(&names), ["a", "column_2", "a_3", "a_4", "a_2", "column_6"]);
    }
}
