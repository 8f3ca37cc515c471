//! The list of an import's files in the raw zone, which says what an import has finished with.
//!
//! It is written when everything that the files hold is committed. A file that stands in it with its content's hash, and of
//! which nothing was set aside, would change nothing if it were read again; one of which something was set aside may do
//! better when what it refers to has come.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray},
    compute::cast,
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef},
};
use datafusion::prelude::ident;
use futures::TryStreamExt;
use mavis_catalog::{NewTable, Source, Step};
use mavis_lake::{AppId, End, TableSpec, WriteMode};
use mavis_types::{Counts, SourceName, TableName, Zone};

use super::spool::Spooled;
use crate::{
    context::{Context, Running},
    failure::Failure,
    quarantine::{Aside, Rejected, hash},
    retry,
    tables::SESSION_BYTES,
};

/// Column that says how many entries of a file were set aside.
const SET_ASIDE: &str = "set_aside";

/// What the second pass could not land.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// What is no resource at all.
    pub(super) broken: Vec<Rejected>,
    /// Entries set aside, by file.
    set_aside: HashMap<u128, i64>,
    /// References to a `urn:` that no entry has.
    pub(super) dangling: u64,
}

impl Read {
    pub(super) fn note(&mut self, rejected: &Rejected) {
        *self.set_aside.entry(file_hash(file_of(&rejected.origin))).or_insert(0) += 1;
    }
}

pub(super) fn file_hash(name: &str) -> u128 {
    hash(name)
}

/// The file of an origin: what stands before `line 12` or `entry 12`.
pub(super) fn file_of(origin: &str) -> &str {
    origin.rsplitn(3, ' ').nth(2).unwrap_or(origin)
}

fn name(source: &SourceName) -> TableName {
    TableName::new(Zone::Raw, source.as_str(), "files")
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("name", DataType::Utf8, true),
        Field::new("bytes", DataType::Int64, true),
        Field::new("sha256", DataType::Utf8, true),
        Field::new(SET_ASIDE, DataType::Int64, true),
    ]))
}

/// Names and hashes of the files that an import has finished with.
pub(crate) async fn finished(context: &Context, source: &SourceName) -> Result<HashMap<String, String>, Failure> {
    let mut files = HashMap::new();
    let Some(table) = context.catalog.find_table(&name(source)).await? else { return Ok(files) };
    let provider = match context.lake.provider(table.id, None).await {
        Ok(provider) => provider,
        Err(mavis_lake::Error::NoSuchTable { .. }) => return Ok(files),
        Err(error) => return Err(error.into()),
    };
    // A list of an earlier make does not say what was set aside.
    if provider.schema().field_with_name(SET_ASIDE).is_err() {
        return Ok(files);
    }
    let session = context.lake.sessions().session(SESSION_BYTES);
    let frame = session.read_table(provider)?.select(["name", "sha256", SET_ASIDE].map(ident))?;
    let mut stream = frame.execute_stream().await?;
    while let Some(batch) = stream.try_next().await? {
        let text = |index: usize| cast(batch.column(index), &DataType::Utf8);
        let (names, hashes) = (text(0)?, text(1)?);
        let (names, hashes) = (names.as_string::<i32>(), hashes.as_string::<i32>());
        let set_aside = batch.column(2).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            if set_aside.is_valid(row) && set_aside.value(row) == 0 {
                files.insert(names.value(row).to_owned(), hashes.value(row).to_owned());
            }
        }
    }
    Ok(files)
}

/// Lists files that were landed; what of them is no resource waits in the list's quarantine.
pub(super) async fn note(
    running: &Running,
    source: &Source,
    files: &[&Spooled],
    read: Read,
) -> Result<Counts, Failure> {
    let schema = schema();
    let spec = TableSpec {
        table: NewTable {
            name: name(&source.name),
            source: Some(source.id),
            source_schema: None,
            source_table: Some("files".to_owned()),
            key: vec!["name".to_owned()],
            comment: Some("the files that were imported; their content is in the spool".to_owned()),
        },
        schema: Arc::clone(&schema),
        columns: Vec::new(),
        change_feed: true,
        statistics: Vec::new(),
        sort: Vec::new(),
    };
    let table = Box::pin(running.lake().ensure(&spec)).await?;
    let line = running.unit(Step::ToRaw, &table, Some(files.len() as u64)).await;
    let unit = retry::begin(running, table.id, &AppId::ingest(source.id, table.id)).await?;
    let cursor = unit.cursor().cloned();
    let mut writer = unit.write(WriteMode::Upsert, Arc::clone(&schema)).await?;
    let filled = async {
        let mut aside = Aside::by(running, table.id, Step::ToRaw, |row| file_hash(file_of(&row.origin))).await?;
        let set_aside = |file: &Spooled| read.set_aside.get(&file_hash(&file.name)).copied().unwrap_or(0);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(files.iter().map(|file| Some(file.name.as_str())).collect::<StringArray>()),
            Arc::new(files.iter().map(|file| i64::try_from(file.bytes).ok()).collect::<Int64Array>()),
            Arc::new(files.iter().map(|file| Some(file.digest.as_str())).collect::<StringArray>()),
            Arc::new(files.iter().map(|file| Some(set_aside(file))).collect::<Int64Array>()),
        ];
        writer.push(&RecordBatch::try_new(schema, columns)?).await?;
        for rejected in read.broken {
            aside.put(running, &mut writer, rejected).await?;
        }
        // A file that came again was read as a whole.
        let names: HashSet<u128> = files.iter().map(|file| file_hash(&file.name)).collect();
        aside.close_of(running, &names).await?;
        Ok::<_, Failure>(aside)
    };
    let outcome = match filled.await {
        Ok(aside) => match writer.finish(End { cursor, whole: false }).await {
            Ok(committed) => {
                aside.report(running, &table.name.to_string()).await;
                // The run counts resources; of the files only what could not be read.
                Ok((committed.counts, aside.rows))
            }
            Err(error) => Err(error.into()),
        },
        Err(failure) => {
            writer.abandon().await;
            Err(failure)
        }
    };
    line.finish(&outcome.as_ref().map(|(counts, _)| *counts).map_err(Clone::clone)).await;
    outcome.map(|(_, rows)| Counts { read: rows, quarantined: rows, ..Counts::default() })
}
