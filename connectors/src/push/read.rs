//! An inbox as a source.

use std::{collections::BTreeMap, fs::File, io::BufReader, path::Path, sync::Arc};

use arrow::{
    array::{RecordBatch, RecordBatchOptions, new_null_array},
    datatypes::SchemaRef,
    ipc::reader::FileReader,
};
use async_trait::async_trait;
use mavis_types::Cursor;

use super::{
    Inbox, Taken,
    inbox::{delete_through, description, failed, file_name, numbers},
};
use crate::{
    Discovery, Error, ReadRequest, ReadStream, Selection, Source, Stage, StageOutcome, StageReport,
    reading::{Halt, Output, aside, spawn},
};

/// For each inbox that was read, the number of its last upload.
type Places = BTreeMap<String, u64>;

fn places(cursor: Option<&Cursor>) -> Result<Places, Error> {
    let Some(cursor) = cursor else { return Ok(Places::new()) };
    serde_json::from_value(cursor.0.clone()).map_err(|_| Error::Malformed {
        place: "an inbox".to_owned(),
        reason: "the table's cursor is not one of this connector".to_owned(),
    })
}

fn cursor(places: &Places) -> Option<Cursor> {
    serde_json::to_value(places).ok().filter(|_| !places.is_empty()).map(Cursor)
}

impl Inbox {
    /// Whether a committed cursor is behind an upload of this inbox.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a cursor of another connector.
    pub fn has_passed(&self, taken: Taken, cursor: Option<&Cursor>) -> Result<bool, Error> {
        Ok(self.landed(cursor)? >= taken.number)
    }

    /// The number of the last upload of this inbox that a committed cursor is behind; 0: none.
    pub(super) fn landed(&self, cursor: Option<&Cursor>) -> Result<u64, Error> {
        let places = places(cursor)?;
        Ok(if places.is_empty() { 0 } else { places.get(&self.id()?).copied().unwrap_or(0) })
    }
}

#[async_trait]
impl Source for Inbox {
    async fn check(&self) -> Vec<StageReport> {
        let (inbox, began) = (self.clone(), std::time::Instant::now());
        let (outcome, message) = match aside("the inbox", move || inbox.tables()).await {
            Ok(tables) => (StageOutcome::Passed, format!("{} tables were sent so far", tables.len())),
            Err(error) => (StageOutcome::Failed, error.to_string()),
        };
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        vec![StageReport { stage: Stage::Read, outcome, message, millis }]
    }

    async fn discover(&self, selection: &Selection) -> Result<Discovery, Error> {
        let inbox = self.clone();
        let mut tables = aside("the inbox", move || inbox.tables()).await?;
        tables.retain(|table| selection.takes(&table.table));
        Ok(Discovery { tables, failures: Vec::new() })
    }

    async fn read(&self, request: ReadRequest) -> Result<ReadStream, Error> {
        let name = request.table.name.clone();
        let folder = self.table_folder(&name)?;
        let known = {
            let folder = folder.clone();
            aside(&name, move || description(&folder)).await?
        };
        let known = known.ok_or_else(|| Error::NoSuchTable { table: name.clone() })?;
        let schema: SchemaRef = Arc::new(known.schema);
        let id = {
            let inbox = self.clone();
            aside(&name, move || inbox.id()).await?
        };
        let mut places = places(request.from.as_ref())?;
        Ok(spawn(move |output| {
            let last = places.get(&id).copied().unwrap_or(0);
            // What a committed cursor has passed is in the lake.
            delete_through(&folder, last)?;
            for number in numbers(&folder)?.into_iter().filter(|number| *number > last).collect::<Vec<_>>() {
                upload(&folder.join(file_name(number)), &schema, request.batch_rows.max(1), output)?;
                places.insert(id.clone(), number);
                if let Some(cursor) = cursor(&places) {
                    output.cursor(cursor)?;
                }
            }
            output.end(cursor(&places), false)
        }))
    }
}

/// The rows of one upload with all columns of the table.
fn upload(path: &Path, schema: &SchemaRef, rows: usize, output: &Output) -> Result<(), Halt> {
    let file = File::open(path).map_err(|error| failed("reading an upload", &error))?;
    let broken = |_| Error::Malformed { place: "an upload".to_owned(), reason: "its file cannot be read".to_owned() };
    for batch in FileReader::try_new(BufReader::new(file), None).map_err(broken)? {
        let batch = batch.map_err(broken)?;
        let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
            Some(column) => Arc::clone(column),
            None => new_null_array(field.data_type(), batch.num_rows()),
        });
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(schema), columns.collect(), &options);
        let batch = batch.map_err(broken)?;
        for from in (0..batch.num_rows()).step_by(rows) {
            output.batch(batch.slice(from, rows.min(batch.num_rows() - from)))?;
        }
    }
    Ok(())
}
