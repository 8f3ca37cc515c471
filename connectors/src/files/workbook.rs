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
use calamine::{Reader, SheetType, Sheets, open_workbook_auto_from_rs};
use chrono::NaiveTime;
use tokio::runtime::Handle;

use super::{
    FileTable, Shared,
    grid::{Cell, Grid, Merge},
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
    pub(super) tables: Vec<String>,
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
            Ok(_) => list.tables.push(sheet.name),
            Err(reason) => list.failures.push((sheet.name, reason)),
        }
    }
    if let Some(wanted) = &shared.params.sheet
        && list.tables.is_empty()
        && list.failures.is_empty()
    {
        list.failures.push((wanted.clone(), format!("there is no sheet `{wanted}` with cells in `{}`", entry.name)));
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
            Some(all) => all.join(sheet, &entry.name)?,
        }
    }
    merged.ok_or_else(|| Error::NoSuchTable { table: table.name.clone() })
}

fn load(shared: &Shared, runtime: &Handle, table: &FileTable, entry: &FileEntry) -> Result<Sheet, Error> {
    let name = table.sheet.as_deref().unwrap_or_default();
    let mut workbook = open(shared, runtime, entry)?;
    let place = || format!("sheet `{name}` of `{}`", entry.name);
    let grid = grid(&mut workbook, name).map_err(|reason| Error::Malformed { place: place(), reason })?;
    sheet::find_table(&grid, shared.params.header_row)
        .ok_or_else(|| Error::Malformed { place: place(), reason: "no table is on it".to_owned() })
}

fn open(shared: &Shared, runtime: &Handle, entry: &FileEntry) -> Result<Sheets<Cursor<Bytes>>, Error> {
    let bytes = Bytes::from(read_whole(&shared.location, runtime, entry)?);
    open_workbook_auto_from_rs(Cursor::new(bytes)).map_err(|_| Error::Malformed {
        place: format!("file `{}`", entry.name),
        reason: "it is not an Excel or OpenDocument workbook, or it is cut or encrypted".to_owned(),
    })
}

fn grid(workbook: &mut Sheets<Cursor<Bytes>>, name: &str) -> Result<Grid, String> {
    let range = workbook.worksheet_range(name).map_err(|error| format!("the sheet is broken: {error}"))?;
    let Some((first_row, first_column)) = range.start() else { return Ok(Grid::default()) };
    let merges = match workbook {
        Sheets::Xlsx(xlsx) => xlsx.merge_cells_by_sheet_name(name).unwrap_or_default(),
        Sheets::Xls(xls) => xls.merge_cells_by_sheet_name(name).unwrap_or_default(),
        _ => Vec::new(),
    };
    let rows = range.rows().map(|row| row.iter().map(Cell::of).collect()).collect();
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
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
            .map_err(|error| Error::Malformed { place: format!("file `{}`", entry.name), reason: error.to_string() })?;
        sink.batch(entry, batch, None)?;
    }
    for note in &sheet.notes {
        let origin = format!("{} sheet {} row {}", entry.name, table.sheet.as_deref().unwrap_or_default(), note.number);
        let payload: Vec<String> = note.cells.iter().filter_map(Cell::text).collect();
        sink.reject(origin, "it stands below the table: a note, not a row of it", payload.join(" | "))?;
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
