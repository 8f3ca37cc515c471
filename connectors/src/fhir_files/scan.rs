//! One pass over a file: what it holds, and (for Bundles and small files) the records themselves, compressed, so that the
//! reading of each type need not parse the file again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::runtime::Handle;

use super::{
    Shared, UNREADABLE,
    record::{Found, Record, from_document, from_line},
};
use crate::{
    Error,
    objects::{FileEntry, Lines, Place, open, read_whole, unreadable},
    reading::Halt,
};

/// Compressed bytes of records that a source may keep.
const SPOOL_BUDGET_BYTES: usize = 128 << 20;
/// An NDJSON file above this size is read again instead of kept.
const SPOOL_FILE_BYTES: u64 = 8 << 20;

/// What is known of the files of a source.
#[derive(Debug, Default)]
pub(super) struct Scans {
    files: Mutex<HashMap<String, Arc<Scan>>>,
    kept_bytes: AtomicUsize,
}

/// What one pass over a file found.
#[derive(Debug)]
pub(super) struct Scan {
    stamp: String,
    /// Records and rejects by table.
    pub(super) counts: BTreeMap<String, u64>,
    /// Where the file ends.
    pub(super) end: Place,
    /// The records by table, where they are kept.
    pub(super) kept: Option<BTreeMap<String, Vec<u8>>>,
}

impl Scans {
    pub(super) fn known(&self, entry: &FileEntry) -> Option<Arc<Scan>> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.get(&entry.name).filter(|scan| scan.stamp == entry.stamp).cloned()
    }

    /// The scan of a file, made when there is none; on a blocking thread.
    pub(super) fn of(&self, shared: &Shared, runtime: &Handle, entry: &FileEntry) -> Result<Arc<Scan>, Error> {
        if let Some(scan) = self.known(entry) {
            return Ok(scan);
        }
        let mut room = if is_large_ndjson(entry) {
            0
        } else {
            SPOOL_BUDGET_BYTES.saturating_sub(self.kept_bytes.load(Ordering::Relaxed))
        };
        let mut raw: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let mut raw_bytes = 0;
        let visited = visit(shared, runtime, entry, 0, 0, &mut |position, found, _| {
            let table = table_of(&found).to_owned();
            if room > 0 {
                let buffer = raw.entry(table.clone()).or_default();
                let before = buffer.len();
                encode(position, &found, buffer);
                raw_bytes += buffer.len() - before;
                // Raw records of one file are held until they are compressed: not more than the budget either.
                if raw_bytes > room {
                    room = 0;
                    raw.clear();
                }
            }
            *counts.entry(table).or_default() += 1;
            Ok(())
        });
        let end = match visited {
            Ok(end) => end,
            Err(Halt::Failed(error)) => return Err(error),
            Err(Halt::Dropped) => Place::default(),
        };
        let kept = if room > 0 {
            let compress =
                |(table, buffer): (String, Vec<u8>)| Some((table, zstd::encode_all(buffer.as_slice(), 1).ok()?));
            raw.into_iter().map(compress).collect::<Option<BTreeMap<_, _>>>()
        } else {
            None
        };
        let bytes: usize = kept.iter().flat_map(BTreeMap::values).map(Vec::len).sum();
        self.kept_bytes.fetch_add(bytes, Ordering::Relaxed);
        let scan = Arc::new(Scan { stamp: entry.stamp.clone(), counts, end, kept });
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = files.insert(entry.name.clone(), Arc::clone(&scan)) {
            let freed = old.kept.iter().flat_map(BTreeMap::values).map(Vec::len).sum();
            self.kept_bytes.fetch_sub(freed, Ordering::Relaxed);
        }
        Ok(scan)
    }
}

/// Whether a file is read line by line each time, without being kept.
pub(super) fn is_large_ndjson(entry: &FileEntry) -> bool {
    is_ndjson(entry) && entry.size > SPOOL_FILE_BYTES
}

fn is_ndjson(entry: &FileEntry) -> bool {
    let (_, endings) = entry.stem_and_endings();
    endings.iter().any(|ending| ending == "ndjson" || ending == "jsonl")
}

pub(super) fn table_of(found: &Found) -> &str {
    match found {
        Found::Record(record) => &record.kind,
        Found::Reject { kind, .. } => kind.as_deref().unwrap_or(UNREADABLE),
    }
}

/// Receives each piece of a file with its position and, where a cursor may stand after it, the place.
pub(super) type Visitor<'a> = dyn FnMut(u64, Found, Option<&dyn Fn() -> Place>) -> Result<(), Halt> + 'a;

/// Passes over a file from a place; answers with the place of its end.
pub(super) fn visit(
    shared: &Shared,
    runtime: &Handle,
    entry: &FileEntry,
    offset: u64,
    record: u64,
    visitor: &mut Visitor<'_>,
) -> Result<Place, Halt> {
    let done = Place { stamp: entry.stamp.clone(), done: true, ..Place::default() };
    if !is_ndjson(entry) && !holds_lines(shared, runtime, entry)? {
        let found = match read_whole(&shared.location, runtime, entry) {
            Ok(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => Vec::new(),
            Ok(bytes) => from_document(&bytes),
            Err(Error::Malformed { reason, .. }) => {
                vec![Found::Reject { kind: None, reason, payload: String::new() }]
            }
            Err(error) => return Err(error.into()),
        };
        let mut last = 0;
        for (position, found) in (1..).zip(found) {
            last = position;
            if position > record {
                let place = || Place { record: position, done: false, ..done.clone() };
                visitor(position, found, Some(&place))?;
            }
        }
        return Ok(Place { record: last, ..done });
    }
    visit_lines(shared, runtime, entry, offset, record, visitor)
}

fn visit_lines(
    shared: &Shared,
    runtime: &Handle,
    entry: &FileEntry,
    offset: u64,
    record: u64,
    visitor: &mut Visitor<'_>,
) -> Result<Place, Halt> {
    let opened = open(&shared.location, runtime, entry, offset)?;
    let is_compressed = opened.is_compressed;
    // A cursor over kept records knows the line, not the byte.
    let (start, skip) = if offset == 0 { (0, record) } else { (record, 0) };
    let mut lines = Lines::new(opened.reader, offset, start);
    let place = |lines: &Lines, done: bool| Place {
        stamp: entry.stamp.clone(),
        offset: lines.offset(),
        record: lines.number(),
        tail: if is_compressed { (0, 0) } else { lines.fingerprint() },
        done,
    };
    let mut before = place(&lines, true);
    loop {
        let line = match lines.next_line() {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error) => match unreadable(entry, &error) {
                // What was read stands; the file is another one once it is repaired, and then read again.
                Error::Malformed { reason, .. } => {
                    let found = Found::Reject { kind: None, reason, payload: String::new() };
                    visitor(lines.number() + 1, found, None)?;
                    return Ok(place(&lines, true));
                }
                error => return Err(error.into()),
            },
        };
        let mut bytes = line.bytes.as_slice();
        if line.start == 0 {
            bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        }
        if bytes.trim_ascii().is_empty() || line.number <= skip {
            before = place(&lines, true);
            continue;
        }
        let mut found = if line.is_cut {
            vec![Found::Reject {
                kind: None,
                reason: "the line is longer than 64 MiB".to_owned(),
                payload: crate::objects::printable(&bytes[..1024]),
            }]
        } else {
            from_line(bytes)
        };
        let is_growing = !line.is_terminated && matches!(found.as_slice(), [Found::Reject { .. }]);
        let last = found.pop();
        for found in found {
            visitor(line.number, found, None)?;
        }
        let after = || if is_growing { Place { done: false, ..before.clone() } } else { place(&lines, false) };
        if let Some(last) = last {
            visitor(line.number, last, if is_growing { None } else { Some(&after) })?;
        }
        if is_growing {
            return Ok(before);
        }
        before = place(&lines, true);
    }
    Ok(place(&lines, true))
}

/// Whether a file that could be either holds one JSON value per line: its first line is complete and another follows.
fn holds_lines(shared: &Shared, runtime: &Handle, entry: &FileEntry) -> Result<bool, Error> {
    let mut lines = Lines::new(open(&shared.location, runtime, entry, 0)?.reader, 0, 0);
    let mut first_is_complete = false;
    while let Ok(Some(line)) = lines.next_line() {
        let bytes = line.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line.bytes).trim_ascii();
        if bytes.is_empty() {
            continue;
        }
        if first_is_complete {
            return Ok(true);
        }
        if line.is_cut || serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_err() {
            return Ok(false);
        }
        first_is_complete = true;
    }
    Ok(false)
}

fn encode(position: u64, found: &Found, buffer: &mut Vec<u8>) {
    let mut put = |text: Option<&str>| match text {
        None => buffer.extend_from_slice(&u32::MAX.to_le_bytes()),
        Some(text) => {
            buffer.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX - 1).to_le_bytes());
            buffer.extend_from_slice(text.as_bytes());
        }
    };
    let number = position.to_string();
    put(Some(&number));
    match found {
        Found::Record(record) => {
            put(Some(&record.kind));
            put(record.id.as_deref());
            put(Some(&record.resource));
            put(record.full_url.as_deref());
            put(record.method.as_deref());
            put(record.url.as_deref());
            put(record.if_none_exist.as_deref());
        }
        Found::Reject { kind, reason, payload } => {
            put(None);
            put(kind.as_deref());
            put(Some(reason));
            put(Some(payload));
        }
    }
}

/// The kept pieces of one table, in order.
pub(super) fn decode(compressed: &[u8]) -> Result<Vec<(u64, Found)>, Error> {
    let broken = || Error::Malformed { place: "kept records".to_owned(), reason: "they do not decode".to_owned() };
    let bytes = zstd::decode_all(compressed).map_err(|_| broken())?;
    let mut rest = bytes.as_slice();
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let mut take = || -> Result<Option<String>, Error> {
            let (length, after) = rest.split_first_chunk::<4>().ok_or_else(broken)?;
            let length = u32::from_le_bytes(*length);
            rest = after;
            if length == u32::MAX {
                return Ok(None);
            }
            let (text, after) = rest.split_at_checked(length as usize).ok_or_else(broken)?;
            rest = after;
            String::from_utf8(text.to_vec()).map(Some).map_err(|_| broken())
        };
        let position = take()?.and_then(|text| text.parse().ok()).ok_or_else(broken)?;
        let found = match take()? {
            Some(kind) => Found::Record(Record {
                kind,
                id: take()?,
                resource: take()?.unwrap_or_default(),
                full_url: take()?,
                method: take()?,
                url: take()?,
                if_none_exist: take()?,
            }),
            None => Found::Reject {
                kind: take()?,
                reason: take()?.unwrap_or_default(),
                payload: take()?.unwrap_or_default(),
            },
        };
        pieces.push((position, found));
    }
    Ok(pieces)
}
