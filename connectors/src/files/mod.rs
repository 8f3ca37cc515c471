//! Tables in files: CSV, NDJSON, JSON, Parquet, Excel and ODS, plain or gz/bz2/zstd, on disk or in an object store.
//!
//! Each file (each sheet of a workbook) is a table, named after the file: a snapshot that is read again when the file
//! has changed, and answered with an end that is not `whole` when it has not. Files that share their columns may be
//! declared one table (`table`): if the path is a pattern or a folder such a table is read on (`ReadMode::Append`). New
//! files are read, CSV and NDJSON files that have grown from where the last reading ended; a file whose content has
//! changed is refused, since its rows are in the lake already and cannot be told from new ones.
//!
//! What is text stays text: the columns of CSV files are `Utf8` (`007`, `1,5` and `N/A` arrive as they are), an empty
//! unquoted field is NULL, an empty quoted one is the empty text. JSON has its own types, Parquet exact ones, and the
//! column of a sheet has a type only if every cell has it.
//!
//! Rows of column names are looked for: below titles, on several rows of a sheet; what begins with values has no names and
//! its columns are called `column_1`, `column_2`. Tables one below the other on a sheet, each with names of its own, are
//! tables of their own (`Sheet`, `Sheet 2`); sums and notes below a table are rejects.
//!
//! Folders named `key=value` (Hive's partitions) are columns of the rows in them, as text, where the rows have none of that
//! name.
//!
//! A record that cannot be a row (too many or too few fields, bytes that are no text, a value of another type) is a
//! reject with its line; a file that cannot be read at all is an error or a failure of discovery.

mod declared;
mod delimited;
mod grid;
pub(crate) mod head;
mod header;
mod json;
mod layout;
mod parquet;
mod partition;
mod parts;
pub(crate) mod records;
mod sheet;
mod sink;
pub(crate) mod text;
mod values;
mod workbook;

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::runtime::Handle;

use self::layout::{FileTable, Format, Layout};
use crate::{
    Ambient, Discovery, Error, ReadMode, ReadRequest, ReadStream, Selection, Source, SourceKind, SourceTable,
    StageReport, TableKind,
    objects::{FileEntry, Location, Next, Place, Places},
    reading::{self, Halt, Output},
    source::BoxedSource,
};

/// Parameters of the kind `files`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilesParams {
    /// A file, a folder (everything below it) or a pattern; a path or a URL (`s3://`, `gs://`, `abfss://`, `http://`).
    pub path: String,
    /// Told from the file's ending when absent.
    #[serde(default)]
    pub format: FileFormat,
    /// Makes all files one table of this name.
    pub table: Option<String>,
    /// The character between CSV fields, or `tab`; found out when absent.
    pub delimiter: Option<String>,
    /// The text's encoding (`windows-1252`, `iso-8859-1`, `utf-16le`, ...); UTF-8 when absent.
    pub encoding: Option<String>,
    /// The row of the column names, counted from 1; 0: there is none. Found out when absent.
    pub header_row: Option<u64>,
    /// The only sheet of a workbook to read.
    pub sheet: Option<String>,
    /// Options of the object store (`aws_endpoint`, `aws_region`, ...), never a secret.
    #[serde(default)]
    pub storage: BTreeMap<String, String>,
}

/// What a file is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    #[default]
    Auto,
    Csv,
    Ndjson,
    Json,
    Parquet,
    /// Excel (`xlsx`, `xlsm`, `xlsb`, `xls`) and OpenDocument (`ods`).
    Excel,
}

/// The kind `files`.
pub struct Files;

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Files")
    }
}

impl SourceKind for Files {
    const NAME: &'static str = "files";
    const SUMMARY: &'static str =
        "CSV, NDJSON, JSON, Parquet, Excel and ODS files, plain or compressed, on disk or in an object store";
    type Params = FilesParams;

    fn connect(name: &str, params: FilesParams, ambient: &Ambient) -> Result<BoxedSource, Error> {
        let refuse = |reason: String| Error::Params { source_name: name.to_owned(), reason };
        let location = Location::new(name, Self::NAME, &params.path, &params.storage, ambient)?;
        let delimiter = match params.delimiter.as_deref() {
            None => None,
            Some("tab" | "\\t" | "\t") => Some(b'\t'),
            Some(text) => match text.as_bytes() {
                [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Some(*byte),
                _ => return Err(refuse("`delimiter` is not one ASCII character or `tab`".to_owned())),
            },
        };
        let encoding = match params.encoding.as_deref() {
            None => None,
            Some(label) => Some(
                encoding_rs::Encoding::for_label(label.as_bytes())
                    .ok_or_else(|| refuse(format!("`encoding`: there is no encoding `{label}`")))?,
            ),
        };
        Ok(Arc::new(FilesSource {
            shared: Arc::new(Shared {
                location,
                params,
                delimiter,
                encoding,
                json: json::Shapes::default(),
                declared: None,
            }),
        }))
    }
}

pub(crate) use self::{
    declared::{Declared, DeclaredColumn},
    partition::partitions,
};

/// What all readings of one source share.
#[derive(Debug)]
pub(crate) struct Shared {
    location: Location,
    params: FilesParams,
    delimiter: Option<u8>,
    encoding: Option<&'static encoding_rs::Encoding>,
    json: json::Shapes,
    /// What somebody says of the columns of the only table.
    declared: Option<Declared>,
}

impl Shared {
    /// A folder of Parquet files that are one table.
    pub(crate) fn of_parquet(location: Location, declared: Option<Declared>) -> Self {
        let params = FilesParams {
            path: location.shown().to_owned(),
            format: FileFormat::Parquet,
            table: None,
            delimiter: None,
            encoding: None,
            header_row: None,
            sheet: None,
            storage: BTreeMap::new(),
        };
        Self { location, params, delimiter: None, encoding: None, json: json::Shapes::default(), declared }
    }
}

/// A folder of Parquet files as one table that is compared when it is read again.
fn parquet_table(name: &str, files: Vec<FileEntry>) -> FileTable {
    FileTable { name: name.to_owned(), format: Format::Parquet, files, sheet: None, part: None, is_append: false }
}

/// Describes a folder of Parquet files.
pub(crate) fn describe_parquet(
    shared: &Shared,
    runtime: &Handle,
    name: &str,
    files: Vec<FileEntry>,
) -> Result<SourceTable, Error> {
    describe(shared, runtime, &parquet_table(name, files))
}

/// Reads a folder of Parquet files.
pub(crate) fn read_parquet(
    shared: &Shared,
    runtime: &Handle,
    name: &str,
    files: Vec<FileEntry>,
    request: &ReadRequest,
    output: &Output,
) -> Result<(), Halt> {
    read(shared, runtime, &parquet_table(name, files), request, output)
}

#[derive(Debug)]
struct FilesSource {
    shared: Arc<Shared>,
}

#[async_trait]
impl Source for FilesSource {
    async fn check(&self) -> Vec<StageReport> {
        self.shared.location.check().await
    }

    async fn discover(&self, selection: &Selection) -> Result<Discovery, Error> {
        let entries = self.shared.location.list().await?;
        let (shared, selection, runtime) = (Arc::clone(&self.shared), selection.clone(), Handle::current());
        reading::aside(self.shared.location.shown(), move || discover(&shared, &runtime, &entries, &selection)).await
    }

    async fn read(&self, request: ReadRequest) -> Result<ReadStream, Error> {
        let entries = self.shared.location.list().await?;
        let (shared, runtime) = (Arc::clone(&self.shared), Handle::current());
        Ok(reading::spawn(move |output| {
            let layout = Layout::of(&shared, &runtime, &entries)?;
            let table = layout.tables.into_iter().find(|table| table.reference() == request.table);
            match table {
                Some(table) => read(&shared, &runtime, &table, &request, output),
                // A table that is there but broken says what is wrong with it.
                None => Err(match layout.failures.into_iter().find(|(table, _)| *table == request.table) {
                    Some((table, reason)) => Error::Malformed { place: format!("`{table}`"), reason },
                    None => Error::NoSuchTable { table: request.table.to_string() },
                }
                .into()),
            }
        }))
    }
}

fn discover(
    shared: &Shared,
    runtime: &Handle,
    entries: &[FileEntry],
    selection: &Selection,
) -> Result<Discovery, Error> {
    let layout = Layout::of(shared, runtime, entries)?;
    let mut discovery = Discovery::default();
    discovery.failures.extend(layout.failures.into_iter().filter(|(table, _)| selection.takes(table)));
    for table in layout.tables.into_iter().filter(|table| selection.takes(&table.reference())) {
        match describe(shared, runtime, &table) {
            Ok(described) => discovery.tables.push(described),
            Err(error @ (Error::Unreachable { .. } | Error::Interrupted { .. })) => return Err(error),
            Err(error) => discovery.failures.push((table.reference(), error.to_string())),
        }
    }
    Ok(discovery)
}

fn describe(shared: &Shared, runtime: &Handle, table: &FileTable) -> Result<SourceTable, Error> {
    let (mut columns, comment, rows) = match table.format {
        Format::Csv => {
            let (columns, comment) = delimited::columns(shared, runtime, &table.files)?;
            (columns, comment, None)
        }
        Format::Ndjson | Format::Json => (json::columns(shared, runtime, table)?, None, None),
        Format::Parquet => {
            let (columns, rows) = parquet::columns(shared, runtime, &table.files)?;
            (columns, None, Some(rows))
        }
        Format::Excel => {
            let sheet = workbook::table(shared, runtime, table)?;
            (sheet.source_columns(), sheet.comment.clone(), Some(sheet.rows.len() as u64))
        }
    };
    partition::add_columns(&table.files, &mut columns);
    if let Some(declared) = &shared.declared {
        columns = declared.describe(columns);
    }
    if columns.is_empty() {
        return Err(Error::Malformed { place: format!("`{}`", table.name), reason: "it has no columns".to_owned() });
    }
    Ok(SourceTable {
        table: table.reference(),
        kind: if table.format == Format::Excel { TableKind::Sheet } else { TableKind::File },
        columns,
        key: Vec::new(),
        foreign_keys: Vec::new(),
        comment,
        row_estimate: rows,
        mode: if table.is_append { ReadMode::Append } else { ReadMode::Snapshot },
    })
}

fn read(
    shared: &Shared,
    runtime: &Handle,
    table: &FileTable,
    request: &ReadRequest,
    output: &Output,
) -> Result<(), Halt> {
    let places = Places::from_cursor(request.from.as_ref())?;
    let mut sink = sink::Sink::new(output, request, places, table.is_append, shared.declared.as_ref());
    let mut nothing_new = true;
    for entry in &table.files {
        let (offset, record) = match sink.places.next(&shared.location, runtime, entry)? {
            Next::Skip => continue,
            _ if !table.is_append => (0, 0),
            Next::From { offset, record } => (offset, record),
            Next::Changed => {
                return Err(Error::Refused {
                    endpoint: entry.shown(),
                    stage: crate::Stage::Read,
                    reason: "the file has changed since it was read; a table of several files takes new files and \
                             appended lines only: ingest the table in full to read it again"
                        .to_owned(),
                }
                .into());
            }
        };
        nothing_new = false;
        let end: Place = match table.format {
            Format::Csv => delimited::read(shared, runtime, entry, offset, record, &mut sink)?,
            Format::Ndjson | Format::Json => json::read(shared, runtime, table, entry, offset, record, &mut sink)?,
            Format::Parquet => parquet::read(shared, runtime, table, entry, record, &mut sink)?,
            Format::Excel => workbook::read(shared, runtime, table, entry, record, &mut sink)?,
        };
        sink.file_done(entry, end)?;
    }
    // Read from the beginning, every file that is there was read.
    sink.end(request.from.is_none() || !table.is_append && !nothing_new)
}
