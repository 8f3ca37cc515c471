//! Files taken apart into entries, the same way in both passes.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use mavis_fhir::{
    bundle::{self, Entry},
    json,
};

/// A file up to this size is read as a whole by whoever works on it.
const SMALL: u64 = 8 << 20;
/// Bytes of text that are worked on at once: what is made of them should stay near the core.
const BLOCK: usize = 2 << 20;
/// How much larger a compressed file's text is, about.
const RATIO: u64 = 10;

/// Where an entry stands in the set; later positions win over earlier ones of the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) file: u32,
    /// Line of an NDJSON file, from 1; 0 where the file is one document.
    pub(crate) line: u32,
    /// Entry of a Bundle, from 0.
    pub(crate) entry: u32,
}

/// What is worked on at once.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    /// Small files, by their number.
    Files(Vec<u32>),
    /// A part of a large file of lines.
    Lines { file: u32, first_line: u32, text: Vec<u8> },
    /// A large document.
    Document { file: u32, text: Vec<u8> },
    /// A file that cannot be read at all.
    Broken { file: u32, reason: String },
}

/// An entry of a file, or what is wrong with it.
pub(crate) enum Item<'a> {
    Entry {
        entry: Entry<'a>,
        /// The exact text, where the entry is a line or a file of its own.
        text: Option<&'a str>,
    },
    Broken {
        reason: String,
        text: &'a [u8],
    },
}

/// Opens a file and takes its compression away, by its first bytes.
pub(crate) fn open(path: &Path) -> std::io::Result<Box<dyn BufRead + Send>> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let start = file.fill_buf()?;
    Ok(if start.starts_with(b"BZh") {
        Box::new(BufReader::with_capacity(1 << 20, bzip2::bufread::MultiBzDecoder::new(file)))
    } else if start.starts_with(&[0x1f, 0x8b]) {
        Box::new(BufReader::with_capacity(1 << 20, flate2::bufread::MultiGzDecoder::new(file)))
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Box::new(BufReader::with_capacity(1 << 20, zstd::stream::read::Decoder::with_buffer(file)?))
    } else {
        Box::new(file)
    })
}

fn is_compressed(path: &Path) -> bool {
    let mut start = [0_u8; 4];
    let read = File::open(path).and_then(|mut file| file.read(&mut start)).unwrap_or(0);
    let start = &start[..read];
    start.starts_with(b"BZh") || start.starts_with(&[0x1f, 0x8b]) || start == [0x28, 0xb5, 0x2f, 0xfd]
}

/// Cuts these files of the set into pieces; blocks, and stops when `send` says that nobody listens.
pub(crate) fn pieces(paths: &[std::path::PathBuf], which: &[u32], send: &mut dyn FnMut(Piece) -> bool) {
    let (mut small, mut weight) = (Vec::new(), 0_u64);
    for (file, path) in which.iter().filter_map(|file| Some((*file, paths.get(*file as usize)?))) {
        let bytes = std::fs::metadata(path).map_or(0, |meta| meta.len());
        let weighs = if is_compressed(path) { bytes * RATIO } else { bytes };
        if weighs <= SMALL {
            small.push(file);
            weight += weighs;
            if weight >= SMALL {
                weight = 0;
                if !send(Piece::Files(std::mem::take(&mut small))) {
                    return;
                }
            }
            continue;
        }
        // Positions must come in order.
        if !small.is_empty() && !send(Piece::Files(std::mem::take(&mut small))) {
            return;
        }
        weight = 0;
        match large(file, path, send) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                if !send(Piece::Broken { file, reason: format!("cannot be read to its end: {error}") }) {
                    return;
                }
            }
        }
    }
    if !small.is_empty() {
        send(Piece::Files(small));
    }
}

fn large(file: u32, path: &Path, send: &mut dyn FnMut(Piece) -> bool) -> std::io::Result<bool> {
    let mut reader = open(path)?;
    let mut text = Vec::with_capacity(BLOCK + (64 << 10));
    reader.read_until(b'\n', &mut text)?;
    if !is_line(&text) {
        reader.read_to_end(&mut text)?;
        return Ok(send(Piece::Document { file, text }));
    }
    let (mut first_line, mut lines) = (1_u32, 1_u32);
    loop {
        let read = reader.read_until(b'\n', &mut text)?;
        lines += u32::from(read > 0);
        if read == 0 || text.len() >= BLOCK {
            let block = std::mem::replace(&mut text, Vec::with_capacity(BLOCK + (64 << 10)));
            if !block.is_empty() && !send(Piece::Lines { file, first_line, text: block }) {
                return Ok(false);
            }
            first_line += lines;
            lines = 0;
            if read == 0 {
                return Ok(true);
            }
        }
    }
}

/// Whether a text's first line is a whole JSON value: then the file has one to a line.
fn is_line(text: &[u8]) -> bool {
    let line = text.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty()).unwrap_or_default();
    json::parse(trimmed(line)).is_ok()
}

fn trimmed(text: &[u8]) -> &[u8] {
    text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text).trim_ascii()
}

/// How much of an entry a pass wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// Its resource as it is.
    All,
    /// Of its resource the type, the id, the identifiers, and the references that are more than `Type/id`: for most files
    /// that is found without reading the rest. `relative`: those references too.
    Names { relative: bool },
}

/// Visits the entries of a piece, in order.
pub(crate) fn visit(
    piece: &Piece,
    paths: &[std::path::PathBuf],
    want: Want,
    visit: &mut dyn FnMut(Position, Item<'_>),
) {
    match piece {
        Piece::Lines { file, first_line, text } => lines(*file, *first_line, text, want, visit),
        Piece::Document { file, text } => document(Position { file: *file, line: 0, entry: 0 }, text, want, visit),
        Piece::Broken { file, reason } => {
            let at = Position { file: *file, line: 0, entry: 0 };
            visit(at, Item::Broken { reason: reason.clone(), text: b"" });
        }
        Piece::Files(files) => {
            for file in files {
                let at = Position { file: *file, line: 0, entry: 0 };
                let mut text = Vec::new();
                let Some(path) = paths.get(*file as usize) else { continue };
                if let Err(error) = open(path).and_then(|mut reader| reader.read_to_end(&mut text)) {
                    visit(at, Item::Broken { reason: format!("cannot be read to its end: {error}"), text: b"" });
                    continue;
                }
                let several = text.trim_ascii().contains(&b'\n');
                if several && is_line(&text) {
                    lines(*file, 1, &text, want, visit);
                } else {
                    document(at, &text, want, visit);
                }
            }
        }
    }
}

fn lines(file: u32, first: u32, text: &[u8], want: Want, visit: &mut dyn FnMut(Position, Item<'_>)) {
    let mut rest = text;
    for line in first.. {
        // What it looks for is found many bytes at a time.
        let mut behind = rest;
        let Ok(length @ 1..) = behind.skip_until(b'\n') else { return };
        let text = &rest[..length];
        if !trimmed(text).is_empty() {
            document(Position { file, line, entry: 0 }, text, want, visit);
        }
        rest = behind;
    }
}

/// The resource with what [`Want::Names`] asks for; a Bundle as it is.
fn names(text: &[u8], relative: bool) -> Result<json::Value<'_>, json::ParseError> {
    let mut references = Vec::new();
    let outline = json::skim(text, "reference", &mut |reference| {
        if relative || reference.contains('?') || reference.starts_with("urn:") {
            references.push(json::Value::from_iter([("reference", json::Value::from(reference.to_owned()))]));
        }
    })?;
    let mut members = Vec::with_capacity(4);
    for (name, text) in outline {
        if matches!(name.as_ref(), "resourceType" | "id" | "identifier") {
            members.push((name, json::parse(text.as_bytes())?));
        }
    }
    if members.iter().any(|(name, value)| name == "resourceType" && value.as_str() == Some("Bundle")) {
        return json::parse(text);
    }
    if !references.is_empty() {
        members.push(("".into(), json::Value::Array(references)));
    }
    Ok(json::Value::Object(members))
}

fn document(at: Position, text: &[u8], want: Want, visit: &mut dyn FnMut(Position, Item<'_>)) {
    let text = trimmed(text);
    let parsed = match want {
        // What fills a file is mostly a Bundle; a list is taken apart below.
        Want::Names { relative } if at.line > 0 && text.starts_with(b"{") => names(text, relative),
        _ => json::parse(text),
    };
    match parsed {
        Err(error) => visit(at, Item::Broken { reason: error.to_string(), text }),
        // A list of resources and Bundles: its entries are counted through.
        Ok(json::Value::Array(items)) => {
            let mut next = 0;
            for item in items {
                next = value(Position { entry: next, ..at }, item, None, visit);
            }
        }
        // What was parsed is UTF-8.
        Ok(one) => {
            value(at, one, std::str::from_utf8(text).ok(), visit);
        }
    }
}

/// Visits a resource, or the entries of a Bundle; answers with the number after the last of them.
fn value(at: Position, value: json::Value<'_>, text: Option<&str>, visit: &mut dyn FnMut(Position, Item<'_>)) -> u32 {
    if value.get("resourceType").and_then(json::Value::as_str) != Some("Bundle") {
        let entry =
            Entry { index: 0, full_url: None, resource: Some(value), method: None, url: None, if_none_exist: None };
        visit(at, Item::Entry { entry, text });
        return at.entry + 1;
    }
    // A history has the newest first, and what comes last counts here.
    let is_history = value.get("type").and_then(json::Value::as_str) == Some("history");
    // Only a Bundle that is none needs its text.
    let is_sound = value.get("entry").is_none_or(|entry| match entry {
        json::Value::Array(items) => items.iter().all(|item| matches!(item, json::Value::Object(_))),
        _ => false,
    });
    let mut known = Vec::new();
    if text.is_none() && !is_sound {
        value.write(&mut known);
    }
    match bundle::entries(value) {
        Ok(mut entries) => {
            let next = at.entry + u32::try_from(entries.len()).unwrap_or(0);
            if is_history {
                entries.reverse();
            }
            for entry in entries {
                let place = at.entry.saturating_add(u32::try_from(entry.index).unwrap_or(u32::MAX));
                visit(Position { entry: place, ..at }, Item::Entry { entry, text: None });
            }
            next
        }
        Err(error) => {
            visit(at, Item::Broken { reason: error.to_string(), text: text.map_or(known.as_slice(), str::as_bytes) });
            at.entry + 1
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn found(files: &[(&str, Vec<u8>)]) -> Vec<(u32, u32, u32, bool)> {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = files
            .iter()
            .map(|(name, content)| {
                let path = folder.path().join(name);
                File::create(&path).unwrap().write_all(content).unwrap();
                path
            })
            .collect();
        let mut all = Vec::new();
        let which: Vec<u32> = (0..).take(paths.len()).collect();
        pieces(&paths, &which, &mut |piece| {
            visit(&piece, &paths, Want::All, &mut |at, item| {
                all.push((at.file, at.line, at.entry, matches!(item, Item::Entry { .. })));
            });
            true
        });
        all
    }

    const BUNDLE: &str = r#"{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient","id":"a"}},{"resource":{"resourceType":"Patient","id":"b"}}]}"#;

    #[test]
    fn bundles_lines_and_single_resources_are_told_apart() {
        let bundle = BUNDLE.as_bytes().to_vec();
        let lines = b"{\"resourceType\":\"Patient\"}\n\n{\"resourceType\":\n{\"resourceType\":\"Patient\"}".to_vec();
        let single = b"{\n  \"resourceType\": \"Patient\"\n}".to_vec();
        let mut packed = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        packed.write_all(&bundle).unwrap();
        let got = found(&[("a", bundle), ("b", lines), ("c", single), ("d", packed.finish().unwrap())]);
        let wanted = [
            (0, 0, 0, true),
            (0, 0, 1, true),
            (1, 1, 0, true),
            (1, 3, 0, false),
            (1, 4, 0, true),
            (2, 0, 0, true),
            (3, 0, 0, true),
            (3, 0, 1, true),
        ];
        assert_eq!(got, wanted);
    }

    #[test]
    fn names_are_the_same_whether_the_rest_is_read_or_not() {
        let line = r#"{"resourceType":"Patient","identifier":[{"system":"s","value":"1"}],"x":[{"reference":"Patient/2"},
            {"y":{"reference":"urn:uuid:3"}}],"id":"a","z":{"reference":"Practitioner?identifier=4"}}"#;
        let found = |text: &str, relative| {
            let value = names(text.as_bytes(), relative).unwrap();
            let mut references = Vec::new();
            bundle::for_each_reference(&value, &mut |reference| references.push(reference.to_owned()));
            (value.get_str("id").map(str::to_owned), value.get("identifier").map(json::Value::to_json), references)
        };
        let identifier = Some(r#"[{"system":"s","value":"1"}]"#.to_owned());
        let few = ["urn:uuid:3", "Practitioner?identifier=4"].map(str::to_owned).to_vec();
        assert_eq!(found(line, false), (Some("a".to_owned()), identifier, few));
        assert_eq!(found(line, true).2.len(), 3);
        assert_eq!(names(BUNDLE.as_bytes(), false).unwrap(), json::parse(BUNDLE.as_bytes()).unwrap());
        assert!(names(br#"{"resourceType":"Patient","id":"a","a":1,"a":2}"#, false).is_err());
    }

    #[test]
    fn a_list_holds_bundles_and_resources() {
        let list = format!(
            r#"[{BUNDLE}, {{"resourceType":"Patient","id":"c"}}, {{"resourceType":"Bundle","entry":3}}, {BUNDLE}]"#
        );
        let wanted =
            [(0, 0, 0, true), (0, 0, 1, true), (0, 0, 2, true), (0, 0, 3, false), (0, 0, 4, true), (0, 0, 5, true)];
        assert_eq!(found(&[("a", list.into_bytes())]), wanted);
    }

    #[test]
    fn a_history_is_read_from_its_oldest_entry() {
        let history = BUNDLE.replace("collection", "history").into_bytes();
        assert_eq!(found(&[("a", history)]), [(0, 0, 1, true), (0, 0, 0, true)]);
    }

    #[test]
    fn a_bundle_cut_in_half_is_one_broken_item() {
        assert_eq!(found(&[("a", BUNDLE.as_bytes()[..80].to_vec())]), [(0, 0, 0, false)]);
    }

    #[test]
    fn large_files_of_lines_come_in_blocks_with_their_line_numbers() {
        let line = format!("{{\"resourceType\":\"Patient\",\"id\":\"{}\"}}\n", "x".repeat(1 << 20));
        let got = found(&[("a", line.repeat(20).into_bytes())]);
        let numbers: Vec<u32> = got.iter().map(|(_, line, _, _)| *line).collect();
        assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    }
}
