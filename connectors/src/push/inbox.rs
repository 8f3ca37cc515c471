//! The files of a source's uploads on the local disk.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema, SchemaRef},
    ipc::writer::FileWriter,
};
use futures::{StreamExt, stream::BoxStream};
use serde::{Deserialize, Serialize};

use super::PushParams;
use crate::{Error, ReadMode, SourceColumn, SourceTable, TableKind, TableRef, reading::aside};

/// Longest name of a table.
const NAME: usize = 128;
const DESCRIPTION: &str = "table.json";
const IDENTITY: &str = ".inbox";

/// The inbox of one source. Whoever takes uploads takes them one after the other for a table.
#[derive(Debug, Clone)]
pub struct Inbox {
    pub(super) folder: PathBuf,
    pub(super) params: PushParams,
    /// Held while an upload gets its number and its name: uploads are seen in the order of their numbers.
    order: Arc<Mutex<()>>,
}

/// An upload that is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Its number, greater than that of every earlier one of the table.
    pub number: u64,
    pub rows: u64,
}

/// What is known of a table besides its files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Description {
    pub(super) schema: Schema,
    /// The greatest number given.
    pub(super) last: u64,
}

/// An upload on its way into a file.
pub(super) struct Part {
    pub(super) path: PathBuf,
    pub(super) writer: FileWriter<BufWriter<File>>,
    rows: u64,
}

impl Part {
    /// The whole file onto the disk.
    pub(super) fn store(&mut self) -> Result<(), Error> {
        let stored = |error: std::io::Error| failed("storing an upload", &error);
        self.writer.finish().map_err(unwritten)?;
        self.writer.get_mut().flush().map_err(stored)?;
        self.writer.get_ref().get_ref().sync_all().map_err(stored)
    }
}

impl Inbox {
    /// `folder`: the source's own; `order`: one for all inboxes of a process.
    #[must_use]
    pub fn new(folder: PathBuf, params: PushParams, order: Arc<Mutex<()>>) -> Self {
        Self { folder, params, order }
    }

    /// What tells this inbox from those of other servers and from one that was lost: numbers are its own.
    pub(super) fn id(&self) -> Result<String, Error> {
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.folder.join(IDENTITY);
        match fs::read_to_string(&path) {
            Ok(id) if !id.is_empty() => return Ok(id),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("reading the inbox", &error)),
        }
        let id = uuid::Uuid::now_v7().to_string();
        fs::create_dir_all(&self.folder).map_err(|error| failed("making a folder of the inbox", &error))?;
        write_whole(&path, id.as_bytes())?;
        Ok(id)
    }

    /// Takes an upload in: on the disk when this returns, and not there at all where it fails.
    ///
    /// # Errors
    /// [`Error::Refused`] for a table that is not declared or a column whose type is another than before;
    /// [`Error::Malformed`] where the disk is full; the stream's own error.
    pub async fn take<E: From<Error>>(
        &self,
        table: &str,
        schema: &SchemaRef,
        mut batches: BoxStream<'_, Result<RecordBatch, E>>,
    ) -> Result<Taken, E> {
        let folder = self.table_folder(table)?;
        let place = format!("an upload into `{table}`");
        let plain = Arc::new(plain_schema(schema));
        let begin = {
            let (folder, plain) = (folder.clone(), Arc::clone(&plain));
            move || {
                let known = description(&folder)?;
                merged(known.as_ref().map(|known| &known.schema), &plain)?;
                begin(&folder, &plain)
            }
        };
        let mut part = aside(&place, begin).await?;
        loop {
            let batch = match batches.next().await {
                None => break,
                Some(Ok(batch)) => batch,
                Some(Err(error)) => {
                    discard(part).await;
                    return Err(error);
                }
            };
            let to = Arc::clone(&plain);
            let (returned, outcome) = match tokio::task::spawn_blocking(move || {
                let outcome = push(&mut part, &batch, &to);
                (part, outcome)
            })
            .await
            {
                Ok(done) => done,
                Err(error) => return Err(Error::Malformed { place, reason: error.to_string() }.into()),
            };
            part = returned;
            if let Err(error) = outcome {
                discard(part).await;
                return Err(error.into());
            }
        }
        let order = Arc::clone(&self.order);
        let finish = move || {
            let _order = order.lock().unwrap_or_else(PoisonError::into_inner);
            finish(&folder, part, &plain)
        };
        Ok(aside(&place, finish).await?)
    }

    /// Deletes one upload whose sender was told that it failed.
    pub async fn withdraw(&self, table: &str, taken: Taken) -> Result<(), Error> {
        let path = self.table_folder(table)?.join(file_name(taken.number));
        aside(table, move || fs::remove_file(path).map_err(|error| failed("taking an upload back", &error))).await
    }

    pub(super) fn table_folder(&self, table: &str) -> Result<PathBuf, Error> {
        let declared = self.params.tables.is_empty() || self.params.tables.contains_key(table);
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if table.is_empty() || table.len() > NAME || !table.chars().all(fits) {
            return Err(refused(table, "a table that is sent is named with letters, digits, `_` and `-`".to_owned()));
        }
        if !declared {
            let known: Vec<&str> = self.params.tables.keys().map(String::as_str).collect();
            return Err(refused(table, format!("the source does not declare it; it declares {}", known.join(", "))));
        }
        Ok(self.folder.join(table))
    }

    /// The tables that something was sent for.
    pub(super) fn tables(&self) -> Result<Vec<SourceTable>, Error> {
        let mut tables = Vec::new();
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(tables),
            Err(error) => return Err(failed("reading the inbox", &error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| failed("reading the inbox", &error))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if self.table_folder(&name).is_err() {
                continue;
            }
            if let Some(known) = description(&entry.path())? {
                tables.push(self.described(&name, &known.schema));
            }
        }
        tables.sort_by(|a, b| a.table.cmp(&b.table));
        Ok(tables)
    }

    fn described(&self, name: &str, schema: &Schema) -> SourceTable {
        let declared = self.params.tables.get(name).map(|table| table.key.clone()).unwrap_or_default();
        let key: Vec<String> =
            declared.into_iter().filter(|column| schema.column_with_name(column).is_some()).collect();
        SourceTable {
            table: TableRef { schema: None, name: name.to_owned() },
            kind: TableKind::Table,
            columns: schema
                .fields()
                .iter()
                .map(|field| SourceColumn {
                    name: field.name().clone(),
                    data_type: field.data_type().clone(),
                    nullable: true,
                    source_type: field.data_type().to_string(),
                    comment: None,
                })
                .collect(),
            mode: if key.is_empty() { ReadMode::Append } else { ReadMode::Incremental },
            key,
            foreign_keys: Vec::new(),
            comment: None,
            row_estimate: None,
        }
    }
}

fn refused(table: &str, reason: String) -> Error {
    Error::Refused { endpoint: table.to_owned(), stage: crate::Stage::Read, reason }
}

pub(super) fn failed(doing: &str, error: &std::io::Error) -> Error {
    let full = error.kind() == std::io::ErrorKind::StorageFull;
    let hint = if full { "; the disk is full, make room and send the rows again" } else { "" };
    Error::Malformed { place: "the inbox".to_owned(), reason: format!("{doing} failed: {}{hint}", error.kind()) }
}

pub(super) fn file_name(number: u64) -> String {
    format!("{number:020}.arrow")
}

/// The numbers of the whole uploads of a table, in order.
pub(super) fn numbers(folder: &Path) -> Result<Vec<u64>, Error> {
    let mut numbers = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(numbers),
        Err(error) => return Err(failed("reading the inbox", &error)),
    };
    for entry in entries {
        let name = entry.map_err(|error| failed("reading the inbox", &error))?.file_name();
        let number: Option<u64> =
            name.to_str().and_then(|name| name.strip_suffix(".arrow")).and_then(|name| name.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

pub(super) fn delete_through(folder: &Path, number: u64) -> Result<(), Error> {
    for passed in numbers(folder)?.into_iter().filter(|found| *found <= number) {
        match fs::remove_file(folder.join(file_name(passed))) {
            Ok(()) => {}
            // Somebody else did it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("deleting an upload that has landed", &error)),
        }
    }
    Ok(())
}

pub(super) fn description(folder: &Path) -> Result<Option<Description>, Error> {
    match fs::read(folder.join(DESCRIPTION)) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|_| Error::Malformed {
            place: "the inbox".to_owned(),
            reason: format!("`{DESCRIPTION}` of a table cannot be read; delete it, and the next upload writes it anew"),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("reading the inbox", &error)),
    }
}

/// Arrow's compact forms of a type mean the type that they hold.
fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::RunEndEncoded(_, values) => plain_type(values.data_type()),
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Null => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        other => other.clone(),
    }
}

fn plain_schema(schema: &Schema) -> Schema {
    let field = |field: &Arc<Field>| Field::new(field.name(), plain_type(field.data_type()), true);
    Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>())
}

/// The columns that a table has after an upload with these.
fn merged(known: Option<&Schema>, new: &Schema) -> Result<Schema, Error> {
    let mut fields: Vec<Field> =
        known.map_or_else(Vec::new, |known| known.fields().iter().map(|field| field.as_ref().clone()).collect());
    for (at, field) in new.fields().iter().enumerate() {
        if new.fields()[..at].iter().any(|other| other.name() == field.name()) {
            return Err(refused(field.name(), "two columns of the upload have this name".to_owned()));
        }
        match fields.iter().find(|known| known.name() == field.name()) {
            Some(known) if known.data_type() == field.data_type() => {}
            Some(known) => {
                return Err(refused(
                    field.name(),
                    format!(
                        "the column is {} so far, and the upload has {}: cast it",
                        known.data_type(),
                        field.data_type()
                    ),
                ));
            }
            None => fields.push(field.as_ref().clone()),
        }
    }
    Ok(Schema::new(fields))
}

pub(super) fn begin(folder: &Path, schema: &SchemaRef) -> Result<Part, Error> {
    fs::create_dir_all(folder).map_err(|error| failed("making a folder of the inbox", &error))?;
    let path = folder.join(format!("part-{}", uuid::Uuid::now_v7()));
    let file = File::create(&path).map_err(|error| failed("taking an upload in", &error))?;
    let writer = FileWriter::try_new(BufWriter::with_capacity(1 << 20, file), schema).map_err(unwritten)?;
    Ok(Part { path, writer, rows: 0 })
}

pub(super) fn unwritten(error: arrow::error::ArrowError) -> Error {
    match error {
        arrow::error::ArrowError::IoError(_, error) => failed("taking an upload in", &error),
        // Its words may hold a value.
        _ => Error::Malformed {
            place: "the upload".to_owned(),
            reason: "its batches do not have the columns that it began with".to_owned(),
        },
    }
}

fn push(part: &mut Part, batch: &RecordBatch, schema: &SchemaRef) -> Result<(), Error> {
    let rows = batch.num_rows() as u64;
    if batch.num_columns() != schema.fields().len() {
        return Err(unwritten(arrow::error::ArrowError::NotYetImplemented(String::new())));
    }
    let columns = batch.columns().iter().zip(schema.fields());
    let columns: Result<Vec<_>, _> =
        columns.map(|(column, field)| arrow::compute::cast(column, field.data_type())).collect();
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let batch = RecordBatch::try_new_with_options(Arc::clone(schema), columns.map_err(unwritten)?, &options);
    part.writer.write(&batch.map_err(unwritten)?).map_err(unwritten)?;
    part.rows += rows;
    Ok(())
}

async fn discard(part: Part) {
    let Part { path, writer, .. } = part;
    drop(writer);
    // The next start's readers pass over what is no whole upload.
    if let Err(error) = tokio::fs::remove_file(&path).await {
        tracing::debug!(kind = %error.kind(), "a part of an upload stays behind");
    }
}

/// Makes the upload one of the table's: number, columns, both on the disk.
fn finish(folder: &Path, mut part: Part, schema: &Schema) -> Result<Taken, Error> {
    let stored = |error: std::io::Error| failed("storing an upload", &error);
    part.store()?;
    let known = description(folder)?;
    let schema = merged(known.as_ref().map(|known| &known.schema), schema)?;
    let number = numbers(folder)?.last().copied().max(known.map(|known| known.last)).unwrap_or(0) + 1;
    let text = serde_json::to_vec(&Description { schema, last: number })
        .map_err(|error| Error::Malformed { place: "the inbox".to_owned(), reason: error.to_string() })?;
    write_whole(&folder.join(DESCRIPTION), &text)?;
    fs::rename(&part.path, folder.join(file_name(number))).map_err(stored)?;
    for folder in [Some(folder), folder.parent()].into_iter().flatten() {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(stored)?;
    }
    Ok(Taken { number, rows: part.rows })
}

/// A small file, whole or as it was before.
fn write_whole(path: &Path, content: &[u8]) -> Result<(), Error> {
    let stored = |error: std::io::Error| failed("writing to the inbox", &error);
    let part = path.with_extension(format!("part-{}", uuid::Uuid::now_v7()));
    let mut file = File::create(&part).map_err(stored)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(stored)?;
    fs::rename(&part, path).map_err(stored)
}
