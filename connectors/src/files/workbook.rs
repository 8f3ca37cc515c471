//! Workbooks: opened in memory, one sheet at a time, their cells as text with the type that each has.

use std::{io::Cursor, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray,
        TimestampMicrosecondArray,
    },
    datatypes::{DataType, Date32Type, Field, Schema, TimeUnit},
};
use bytes::Bytes;
use calamine::{Data, Reader, SheetType, Sheets, open_workbook_auto_from_rs};
use chrono::NaiveTime;
use tokio::runtime::Handle;

use super::{
    FileTable, Shared,
    grid::{Cell, Grid, Merge},
    parts,
    sheet::{self, Sheet},
    sink::Sink,
};
use crate::{
    Error, SourceColumn,
    objects::{FileEntry, Place, read_whole},
    reading::Halt,
};

/// The sheets of a workbook that hold a table, and those that are broken.
#[derive(Debug, Default)]
pub(super) struct SheetList {
    /// A sheet, and which of the tables on it, where it has several.
    pub(super) tables: Vec<(String, Option<usize>)>,
    pub(super) failures: Vec<(String, String)>,
}

pub(super) fn sheets(shared: &Shared, runtime: &Handle, entry: &FileEntry) -> Result<SheetList, Error> {
    let mut workbook = open(shared, runtime, entry)?;
    let mut list = SheetList::default();
    for sheet in workbook.sheets_metadata().to_vec() {
        if sheet.typ != SheetType::WorkSheet || shared.params.sheet.as_ref().is_some_and(|wanted| *wanted != sheet.name)
        {
            continue;
        }
        match grid(&mut workbook, &sheet.name) {
            Ok(grid) if grid.is_empty() => {}
            Ok(grid) => {
                let count = if shared.params.header_row.is_some() { 1 } else { parts::parts(&grid).len() };
                let places = (0..count).map(|part| (sheet.name.clone(), (count > 1).then_some(part)));
                list.tables.extend(places);
            }
            Err(reason) => list.failures.push((sheet.name, reason)),
        }
    }
    if let Some(wanted) = &shared.params.sheet
        && list.tables.is_empty()
        && list.failures.is_empty()
    {
        list.failures.push((wanted.clone(), format!("there is no sheet `{wanted}` with cells in `{}`", entry.shown())));
    }
    Ok(list)
}

/// The sheet that a table is read from, in its first workbook.
pub(super) fn table(shared: &Shared, runtime: &Handle, table: &FileTable) -> Result<Sheet, Error> {
    let mut merged: Option<Sheet> = None;
    for entry in &table.files {
        let sheet = load(shared, runtime, table, entry)?;
        match &mut merged {
            None => merged = Some(sheet),
            Some(all) => all.join(sheet, &entry.shown())?,
        }
    }
    merged.ok_or_else(|| Error::NoSuchTable { table: table.name.clone() })
}

fn load(shared: &Shared, runtime: &Handle, table: &FileTable, entry: &FileEntry) -> Result<Sheet, Error> {
    let name = table.sheet.as_deref().unwrap_or_default();
    let mut workbook = open(shared, runtime, entry)?;
    let place = || format!("sheet `{name}` of `{}`", entry.shown());
    let grid = grid(&mut workbook, name).map_err(|reason| Error::Malformed { place: place(), reason })?;
    let grid = match table.part {
        None => grid,
        Some(part) => match parts::parts(&grid).get(part) {
            Some(rows) => parts::part(&grid, rows),
            None => return Err(Error::NoSuchTable { table: table.name.clone() }),
        },
    };
    sheet::find_table(&grid, shared.params.header_row)
        .ok_or_else(|| Error::Malformed { place: place(), reason: "no table is on it".to_owned() })
}

fn open(shared: &Shared, runtime: &Handle, entry: &FileEntry) -> Result<Sheets<Cursor<Bytes>>, Error> {
    let bytes = Bytes::from(read_whole(&shared.location, runtime, entry)?);
    open_workbook_auto_from_rs(Cursor::new(bytes.clone())).map_err(|_| Error::Malformed {
        place: format!("file `{}`", entry.shown()),
        reason: format!("it is not an Excel or OpenDocument workbook{}", instead(&bytes)),
    })
}

/// What the file seems to be, and what to do about it.
fn instead(bytes: &[u8]) -> &'static str {
    const COMPOUND: &[u8] = &[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1];
    let has = |name: &str| {
        let wide: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        bytes.windows(wide.len()).any(|window| window == wide)
    };
    let start = &bytes[..bytes.len().min(4096)];
    let begins = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    if bytes.is_empty() {
        ": it is empty"
    } else if bytes.starts_with(COMPOUND) && has("EncryptedPackage") {
        ": it is protected by a password; save it without one"
    } else if bytes.starts_with(COMPOUND) || bytes.starts_with(b"PK") {
        ", or it is cut or encrypted"
    } else if begins.starts_with(b"<") {
        ": it is a web page or XML under another ending; save it as a workbook or as CSV"
    } else if !start.contains(&0) {
        ": it is text under another ending; set the source's `format`, e.g. csv"
    } else {
        ", or it is cut or encrypted"
    }
}

/// How far below and right of the cells with values a formula without one is still taken for a cell of the table.
const ROWS_BEYOND: usize = 1_000;
const COLUMNS_BEYOND: usize = 100;

fn grid(workbook: &mut Sheets<Cursor<Bytes>>, name: &str) -> Result<Grid, String> {
    let range = workbook.worksheet_range(name).map_err(|error| format!("the sheet is broken: {error}"))?;
    let Some((first_row, first_column)) = range.start() else { return Ok(Grid::default()) };
    let merges = match workbook {
        Sheets::Xlsx(xlsx) => xlsx.merge_cells_by_sheet_name(name).unwrap_or_default(),
        Sheets::Xls(xls) => xls.merge_cells_by_sheet_name(name).unwrap_or_default(),
        _ => Vec::new(),
    };
    let mut rows: Vec<Vec<Cell>> = range.rows().map(|row| row.iter().map(Cell::of).collect()).collect();
    for (row, column, formula) in formulas(workbook, name) {
        // A program that writes formulas leaves their values to Excel: without one, the formula is what the cell says.
        let Some((row, column)) = row.checked_sub(first_row).zip(column.checked_sub(first_column)) else { continue };
        let (row, column) = (row as usize, column as usize);
        // Far from everything else: a sheet of one cell must not become one of a billion.
        if row > rows.len() + ROWS_BEYOND || column > rows.first().map_or(0, Vec::len) + COLUMNS_BEYOND {
            continue;
        }
        if matches!(range.get((row, column)), None | Some(Data::Empty)) {
            let width = rows.first().map_or(0, Vec::len).max(column + 1);
            let height = rows.len().max(row + 1);
            rows.resize(height, Vec::new());
            rows.iter_mut().filter(|row| row.len() < width).for_each(|row| row.resize(width, Cell::Empty));
            rows[row][column] = Cell::Text(format!("={formula}"));
        }
    }
    let merges = merges
        .into_iter()
        .filter(|merge| merge.end.0 >= first_row && merge.end.1 >= first_column)
        .map(|merge| Merge {
            rows: (merge.start.0.saturating_sub(first_row) as usize, (merge.end.0 - first_row) as usize),
            columns: (merge.start.1.saturating_sub(first_column) as usize, (merge.end.1 - first_column) as usize),
        })
        .collect();
    Ok(Grid { rows, merges, first_row: first_row as usize + 1 })
}

/// The formulas of a sheet, with their places. A sheet without one costs a second pass over its cells.
fn formulas(workbook: &mut Sheets<Cursor<Bytes>>, name: &str) -> Vec<(u32, u32, String)> {
    let Sheets::Xlsx(xlsx) = workbook else { return Vec::new() };
    let Ok(mut cells) = xlsx.worksheet_cells_reader(name) else { return Vec::new() };
    let mut found = Vec::new();
    while let Ok(Some(cell)) = cells.next_formula() {
        let (row, column) = cell.get_position();
        if !cell.get_value().is_empty() {
            found.push((row, column, cell.get_value().clone()));
        }
    }
    found
}

/// Reads a sheet from a row on; answers with the place of its end.
pub(super) fn read(
    shared: &Shared,
    runtime: &Handle,
    table: &FileTable,
    entry: &FileEntry,
    record: u64,
    sink: &mut Sink<'_>,
) -> Result<Place, Halt> {
    // The types are those of all workbooks of the table.
    let types: Vec<SourceColumn> =
        if table.files.len() > 1 { self::table(shared, runtime, table)?.source_columns() } else { Vec::new() };
    let sheet = load(shared, runtime, table, entry)?;
    let types = if types.is_empty() { sheet.source_columns() } else { types };
    let done = Place { stamp: entry.stamp.clone(), done: true, ..Place::default() };
    let rows: Vec<&sheet::Row> = sheet.rows.iter().filter(|row| row.number as u64 > record).collect();
    for chunk in rows.chunks(sink.request.batch_rows.max(1)) {
        let (mut fields, mut arrays) = (Vec::new(), Vec::new());
        for (place, column) in sheet.columns.iter().enumerate() {
            let data_type = types
                .iter()
                .find(|typed| typed.name == column.name)
                .map_or(DataType::Utf8, |typed| typed.data_type.clone());
            arrays.push(array(chunk.iter().map(|row| &row.cells[place]), &data_type));
            fields.push(Field::new(&column.name, data_type, true));
        }
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(|error| Error::Malformed {
            place: format!("file `{}`", entry.shown()),
            reason: error.to_string(),
        })?;
        sink.batch(entry, batch, None)?;
    }
    for note in &sheet.notes {
        let origin = format!("{} sheet {} row {}", entry.name, table.sheet.as_deref().unwrap_or_default(), note.number);
        let payload: Vec<String> = note.cells.iter().filter_map(Cell::text).collect();
        let reason = if sheet::is_total(note) {
            "it is a sum below the table, not a row of it"
        } else {
            "it stands below the table: a note, not a row of it"
        };
        sink.reject(origin, reason, payload.join(" | "))?;
    }
    Ok(done)
}

/// Cells as a column of a type that all of them have.
fn array<'a>(cells: impl Iterator<Item = &'a Cell>, data_type: &DataType) -> ArrayRef {
    match data_type {
        DataType::Int64 => Arc::new(
            cells
                .map(|cell| match cell {
                    Cell::Number(number) => Some(*number as i64),
                    _ => None,
                })
                .collect::<Int64Array>(),
        ),
        DataType::Float64 => Arc::new(
            cells
                .map(|cell| match cell {
                    Cell::Number(number) => Some(*number),
                    _ => None,
                })
                .collect::<Float64Array>(),
        ),
        DataType::Boolean => Arc::new(
            cells
                .map(|cell| match cell {
                    Cell::Boolean(flag) => Some(*flag),
                    _ => None,
                })
                .collect::<BooleanArray>(),
        ),
        DataType::Date32 => Arc::new(
            cells
                .map(|cell| match cell {
                    Cell::Date(date) => Some(Date32Type::from_naive_date(*date)),
                    _ => None,
                })
                .collect::<Date32Array>(),
        ),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Arc::new(
            cells
                .map(|cell| match cell {
                    Cell::Time(time) => Some(time.and_utc().timestamp_micros()),
                    Cell::Date(date) => Some(date.and_time(NaiveTime::MIN).and_utc().timestamp_micros()),
                    _ => None,
                })
                .collect::<TimestampMicrosecondArray>(),
        ),
        _ => Arc::new(cells.map(Cell::text).collect::<StringArray>()),
    }
}
