//! One table as rows, and what its first pages tell of its columns.

use std::{collections::HashSet, sync::Arc, time::Instant};

use tokio::runtime::Handle;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    Inner, Kept,
    format::{Item, pass},
    page::{Learned, Page, Walker},
    since::{Since, Stamp},
    table::Table,
};
use crate::{
    Error, ReadRequest, SourceColumn, SourceTable, TableKind, TableRef,
    json::{Rows, Shape, members},
    reading::{Halt, Output},
    web::{Net, shown},
};

/// Pages and bytes that the types of columns are told from.
const SAMPLE_PAGES: usize = 5;
const SAMPLE_BYTES: u64 = 64 << 20;

/// The first pages, until they are enough to tell the types.
fn sample(net: &Net<'_>, table: &Table, walker: &mut Walker, since: Option<&str>) -> Result<Vec<Arc<Page>>, Halt> {
    let mut pages = Vec::new();
    let mut bytes = 0;
    while pages.len() < SAMPLE_PAGES
        && bytes < SAMPLE_BYTES
        && let Some(page) = walker.next(net, table, since, true)?
    {
        bytes += page.answer.body.len();
        pages.push(page);
    }
    Ok(pages)
}

/// The types of the columns: those of the first pages, and those that were declared.
fn shapes(table: &Table, pages: &[Arc<Page>]) -> Vec<(String, Shape)> {
    let mut learned = Learned::default();
    for page in pages {
        learned.join(&page.learned);
    }
    for name in table.types.keys() {
        learned.add(name, Shape::Null);
    }
    declared(table, learned.columns)
}

fn declared(table: &Table, columns: Vec<(String, Shape)>) -> Vec<(String, Shape)> {
    columns
        .into_iter()
        .map(|(name, shape)| {
            let shape = table.types.get(&name).copied().unwrap_or(shape);
            (name, shape)
        })
        .collect()
}

/// Describes a table by its first pages, and keeps them for the reading that follows.
pub(super) fn describe(inner: &Inner, table: &Table, runtime: &Handle) -> Result<SourceTable, Error> {
    let net = Net { client: &inner.client, runtime, output: None };
    let halted = |halt| match halt {
        Halt::Failed(error) => error,
        Halt::Dropped => Error::NoSuchTable { table: table.name.clone() },
    };
    let mut walker = Walker::new();
    let since = Since::maybe(table, None)?.and_then(|since| since.value());
    let pages = sample(&net, table, &mut walker, since.as_deref()).map_err(halted)?;
    let seen: HashSet<&String> = pages.iter().flat_map(|page| &page.learned.columns).map(|(name, _)| name).collect();
    let has_records = pages.iter().any(|page| page.count > 0);
    if let Some(key) = table.params.key.iter().find(|key| has_records && !seen.contains(key)) {
        return Err(Error::Malformed {
            place: format!("`{}`", table.name),
            reason: format!("its key column `{key}` is in none of the first records"),
        });
    }
    let columns: Vec<SourceColumn> = shapes(table, &pages)
        .into_iter()
        .map(|(name, shape)| SourceColumn {
            name,
            data_type: shape.data_type(),
            nullable: true,
            source_type: shape.name().to_owned(),
            comment: None,
        })
        .collect();
    if columns.is_empty() {
        return Err(Error::Malformed {
            place: format!("`{}`", table.name),
            reason: "it has no records to tell the columns by; declare `types`, or discover it later".to_owned(),
        });
    }
    let row_estimate = walker.total();
    inner.keep(&table.name, Kept { at: Instant::now(), pages, walker });
    Ok(SourceTable {
        table: TableRef { schema: None, name: table.name.clone() },
        kind: TableKind::Table,
        columns,
        key: table.params.key.clone(),
        foreign_keys: Vec::new(),
        comment: table.params.comment.clone(),
        row_estimate,
        mode: table.mode(),
    })
}

/// Reads a table; on a blocking thread.
pub(super) fn run(
    inner: &Inner,
    table: &Table,
    runtime: &Handle,
    request: &ReadRequest,
    output: &Output,
) -> Result<(), Halt> {
    let net = Net { client: &inner.client, runtime, output: Some(output) };
    let mut since = Since::maybe(table, request.from.as_ref())?;
    let asked = since.as_ref().and_then(Since::value);
    let known = since.as_ref().map(Since::shapes).filter(|shapes| !shapes.is_empty());
    let (mut first, mut walker) = match inner.kept(&table.name) {
        Some(kept) if request.from.is_none() => (kept.pages, kept.walker),
        _ => (Vec::new(), Walker::new()),
    };
    let shapes = match known {
        Some(known) => declared(table, known),
        None => {
            if first.is_empty() {
                first = sample(&net, table, &mut walker, asked.as_deref())?;
            }
            shapes(table, &first)
        }
    };
    if let Some(since) = &mut since {
        since.set_columns(shapes.iter().map(|(name, shape)| (name.clone(), shape.name())));
    }
    let mut reading = Reading {
        table,
        request,
        output,
        rows: Rows::new(&shapes),
        since,
        told: None,
        before: HashSet::new(),
        taken: 0,
        rejected: 0,
        is_complete: true,
    };
    let mut first = first.into_iter();
    while let Some(page) = match first.next() {
        Some(page) => Some(page),
        None => walker.next(&net, table, asked.as_deref(), false)?,
    } {
        reading.page(&page)?;
    }
    reading.finish()
}

struct Reading<'a> {
    table: &'a Table,
    request: &'a ReadRequest,
    output: &'a Output,
    rows: Rows,
    since: Option<Since<'a>>,
    /// What the server says to ask with next time.
    told: Option<String>,
    /// The records of the page before.
    before: HashSet<u128>,
    taken: u64,
    rejected: u64,
    is_complete: bool,
}

impl Reading<'_> {
    fn page(&mut self, page: &Page) -> Result<(), Halt> {
        self.is_complete &= page.is_complete;
        if self.told.is_none() {
            self.told = self.table.told.as_ref().and_then(|spot| spot.text(&page.said));
        }
        let mut record = 0_u64;
        let place = |record: u64| format!("{} page {} record {record}", self.table.name, page.number);
        // A row that moved to this page while the list was read has been yielded: rows of a key are known again.
        let knows_rows = !self.table.params.key.is_empty();
        let (before, mut current) = (std::mem::take(&mut self.before), HashSet::new());
        let (rows, since, output, request) = (&mut self.rows, &mut self.since, self.output, self.request);
        let (taken, rejected) = (&mut self.taken, &mut self.rejected);
        pass(&page.answer, self.table, &page.layout, &mut |item| {
            record += 1;
            if record <= page.skip {
                return Ok(());
            }
            let text = match item {
                Item::Record(text) => text,
                Item::Bad { reason, payload } => {
                    *rejected += 1;
                    return output.reject(place(record), reason, payload);
                }
            };
            let hash = xxh3_128(text.as_bytes());
            let mut is_new = true;
            if let Some(since) = since.as_mut() {
                is_new = since.pass(stamp(self.table, text), hash);
            }
            if knows_rows {
                is_new &= !before.contains(&hash) && current.insert(hash);
            }
            if !is_new {
                return Ok(());
            }
            match rows.take(text) {
                Ok(()) => *taken += 1,
                Err(reason) => {
                    *rejected += 1;
                    output.reject(place(record), reason, text.to_owned())?;
                }
            }
            if rows.is_full(request) {
                output.batch(rows.finish()?)?;
            }
            Ok(())
        })?;
        self.before = current;
        if let Some(since) = &self.since
            && self.table.params.incremental.as_ref().is_some_and(|declared| declared.sorted)
            && page.count > page.skip
        {
            self.output.batch(self.rows.finish()?)?;
            self.output.cursor(since.cursor(self.told.as_deref())?)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), Halt> {
        if self.taken == 0 && self.rejected > 0 && self.request.from.is_none() {
            return Err(Error::Malformed {
                place: format!("`{}`", self.table.name),
                reason: format!("none of its {} records can be a row; is the answer an error message?", self.rejected),
            }
            .into());
        }
        self.output.batch(self.rows.finish()?)?;
        let cursor = self.since.as_ref().map(|since| since.cursor(self.told.as_deref())).transpose()?;
        let from_beginning = self.request.from.is_none()
            && self.table.params.incremental.as_ref().is_none_or(|declared| declared.initial.is_none());
        self.output.end(cursor, from_beginning && self.is_complete)
    }
}

/// The value of the column that a table is read on by.
fn stamp(table: &Table, text: &str) -> Option<(Stamp, String)> {
    let column = table.params.incremental.as_ref()?.column.as_ref()?;
    let members = members(text).ok()?;
    let (_, value) = members.0.into_iter().find(|(name, _)| name == column)?;
    Stamp::of(value.get())
}

/// The first bytes of an answer, as a connection test sees them.
pub(super) fn looks_right(table: &Table, start: &[u8], url: &url::Url) -> Result<String, Error> {
    let text = String::from_utf8_lossy(start.trim_ascii_start()).to_ascii_lowercase();
    if text.starts_with("<!doctype html") || text.starts_with("<html") {
        return Err(Error::Malformed {
            place: format!("`{}`", shown(url)),
            reason: format!("table `{}` is answered with a page of HTML; is it a login, or an error page?", table.name),
        });
    }
    Ok(format!("`{}` answers", table.name))
}
