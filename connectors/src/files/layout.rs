//! Which tables a set of files makes.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use tokio::runtime::Handle;

use super::{FileFormat, Shared, workbook};
use crate::{Error, TableRef, objects::FileEntry};

/// How a table's files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    Ndjson,
    Json,
    Parquet,
    Excel,
}

/// One table and the files that make it.
#[derive(Debug, Clone)]
pub(super) struct FileTable {
    pub(super) name: String,
    pub(super) format: Format,
    pub(super) files: Vec<FileEntry>,
    /// The sheet, where the files are workbooks.
    pub(super) sheet: Option<String>,
    /// Which of several tables on the sheet, from 0.
    pub(super) part: Option<usize>,
    pub(super) is_append: bool,
}

impl FileTable {
    pub(super) fn reference(&self) -> TableRef {
        TableRef { schema: None, name: self.name.clone() }
    }
}

#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) tables: Vec<FileTable>,
    pub(super) failures: Vec<(TableRef, String)>,
}

impl Layout {
    /// The tables of these files; on a blocking thread, since workbooks are opened for their sheets.
    pub(super) fn of(shared: &Shared, runtime: &Handle, entries: &[FileEntry]) -> Result<Self, Error> {
        let mut layout = Layout::default();
        let is_one_file = entries.len() == 1 && shared.location.names_one_file();
        let mut formats = Vec::new();
        for entry in entries {
            let (stem, endings) = entry.stem_and_endings();
            match format_of(shared.params.format, &endings) {
                Some(format) => formats.push((entry, stem, format)),
                // In a folder there may be anything; a file that was named must be one of ours.
                None if is_one_file => {
                    return Err(Error::Unsupported {
                        what: format!("the ending of `{}`", entry.shown()),
                        instead: "set `format` to csv, ndjson, json, parquet or excel".to_owned(),
                    });
                }
                None => layout.failures.push((
                    TableRef { schema: None, name: entry.shown() },
                    "its ending tells no format: set `format`, or a path that leaves the file out".to_owned(),
                )),
            }
        }
        if let Some(name) = &shared.params.table {
            layout.one_table(shared, runtime, name, formats, is_one_file);
        } else {
            layout.table_per_file(shared, runtime, formats, is_one_file);
        }
        Ok(layout)
    }

    fn one_table(
        &mut self,
        shared: &Shared,
        runtime: &Handle,
        name: &str,
        formats: Vec<(&FileEntry, String, Format)>,
        is_one_file: bool,
    ) {
        let Some((_, _, format)) = formats.first() else { return };
        let format = *format;
        let mut files = Vec::new();
        let mut sheet = shared.params.sheet.clone();
        for (entry, _, other) in &formats {
            if *other == format {
                files.push((*entry).clone());
            } else {
                let place = TableRef { schema: None, name: entry.shown() };
                self.failures.push((place, format!("table `{name}` has files of another format already")));
            }
        }
        if format == Format::Excel && sheet.is_none() {
            let sheets = files.first().map(|first| workbook::sheets(shared, runtime, first));
            match sheets {
                Some(Ok(sheets)) => match sheets.tables.as_slice() {
                    [(only, _), rest @ ..] if rest.iter().all(|(sheet, _)| sheet == only) => sheet = Some(only.clone()),
                    _ => {
                        let names: BTreeSet<&str> = sheets.tables.iter().map(|(sheet, _)| sheet.as_str()).collect();
                        let names = names.into_iter().collect::<Vec<_>>().join(", ");
                        let reason = format!("its workbooks have the sheets {names}: set `sheet`");
                        self.failures.push((TableRef { schema: None, name: name.to_owned() }, reason));
                        return;
                    }
                },
                Some(Err(error)) => {
                    self.failures.push((TableRef { schema: None, name: name.to_owned() }, error.to_string()));
                    return;
                }
                None => return,
            }
        }
        let name = name.to_owned();
        self.tables.push(FileTable { name, format, files, sheet, part: None, is_append: !is_one_file });
    }

    fn table_per_file(
        &mut self,
        shared: &Shared,
        runtime: &Handle,
        formats: Vec<(&FileEntry, String, Format)>,
        is_one_file: bool,
    ) {
        let mut stems: BTreeMap<String, usize> = BTreeMap::new();
        for (_, stem, _) in &formats {
            *stems.entry(stem.to_lowercase()).or_default() += 1;
        }
        let mut taken = HashSet::new();
        for (entry, stem, format) in formats {
            // Two files of one stem are told apart by their whole names.
            let base =
                if stems.get(&stem.to_lowercase()).is_some_and(|count| *count > 1) { entry.name.clone() } else { stem };
            // The table is called as the file is.
            let entry = &FileEntry {
                is_known: entry.is_known || base == entry.name || !entry.name.contains('/'),
                ..entry.clone()
            };
            let table = |name: String, sheet: Option<(String, Option<usize>)>| FileTable {
                name,
                format,
                files: vec![entry.clone()],
                part: sheet.as_ref().and_then(|(_, part)| *part),
                sheet: sheet.map(|(sheet, _)| sheet),
                is_append: false,
            };
            if format != Format::Excel {
                taken.insert(base.clone());
                self.tables.push(table(base, None));
                continue;
            }
            let sheets = match workbook::sheets(shared, runtime, entry) {
                Ok(sheets) => sheets,
                Err(error) => {
                    self.failures.push((TableRef { schema: None, name: base }, error.to_string()));
                    continue;
                }
            };
            let named = |sheet: &str| if is_one_file { sheet.to_owned() } else { format!("{base} {sheet}") };
            for (sheet, reason) in sheets.failures {
                self.failures.push((TableRef { schema: None, name: named(&sheet) }, reason));
            }
            for (sheet, part) in sheets.tables {
                // The first table has the sheet's own name.
                let base = match part {
                    Some(part @ 1..) => format!("{} {}", named(&sheet), part + 1),
                    _ => named(&sheet),
                };
                let mut name = base.clone();
                let mut number = 2;
                while !taken.insert(name.clone()) {
                    name = format!("{base} ({number})");
                    number += 1;
                }
                self.tables.push(table(name, Some((sheet, part))));
            }
        }
    }
}

fn format_of(declared: FileFormat, endings: &[String]) -> Option<Format> {
    Some(match declared {
        FileFormat::Csv => Format::Csv,
        FileFormat::Ndjson => Format::Ndjson,
        FileFormat::Json => Format::Json,
        FileFormat::Parquet => Format::Parquet,
        FileFormat::Excel => Format::Excel,
        FileFormat::Auto => {
            return endings.iter().rev().find_map(|ending| match ending.as_str() {
                "csv" | "tsv" | "txt" | "tab" => Some(Format::Csv),
                "ndjson" | "jsonl" => Some(Format::Ndjson),
                "json" => Some(Format::Json),
                "parquet" | "pq" => Some(Format::Parquet),
                "xlsx" | "xlsm" | "xlsb" | "xls" | "ods" => Some(Format::Excel),
                _ => None,
            });
        }
    })
}
