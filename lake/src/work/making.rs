use std::{collections::HashMap, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use deltalake_core::kernel::{Action, transaction::CommitBuilder};
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use mavis_catalog::{Made, Table};
use mavis_types::{TableId, TableName};
use object_store::path::Path;
use tracing::info;

use super::{folders::empty, new_columns, stored_as};
use crate::{
    Error, Lake,
    conform::conform,
    create::{birth, default_statistics, plain_commit},
    scan::{add, read},
    stage::{FileKind, Stage, StageOptions, StagedFile, TARGET_FILE_BYTES},
};

/// A table that is being made: nobody sees it before [`Making::finish`]. Dropping it leaves a folder that is swept later.
#[derive(Debug)]
pub struct Making {
    lake: Lake,
    name: TableName,
    location: String,
    schema: SchemaRef,
    stage: Stage,
    pushed: u64,
}

impl Lake {
    /// Begins to make a table with these columns. Whether the name is free is seen at the end.
    ///
    /// # Errors
    /// [`Error::Catalog`], [`Error::Store`].
    pub async fn make(&self, name: &TableName, schema: &SchemaRef) -> Result<Making, Error> {
        let location = self.catalog().reserve_folder(name).await?;
        let schema = stored_as(schema);
        let stage = Stage::start(StageOptions {
            store: self.store().table(&location)?,
            schema: Arc::clone(&schema),
            statistics: Arc::new(default_statistics(&schema, &[]).into_iter().collect()),
            kind: FileKind::Data,
            file_bytes: TARGET_FILE_BYTES,
        });
        Ok(Making { lake: self.clone(), name: name.clone(), location, schema, stage, pushed: 0 })
    }
}

impl Making {
    /// The columns as they are stored.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Stages rows.
    ///
    /// # Errors
    /// [`Error::Evolution`] for values that do not fit, [`Error::Store`].
    pub async fn push(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let batch = conform(batch, &self.schema).map_err(|refused| refused.on(&self.name))?;
        self.pushed += batch.num_rows() as u64;
        self.stage.write(batch).await
    }

    /// Throws everything away.
    pub async fn abandon(self) {
        self.stage.discard().await;
        empty(&self.lake, &self.location).await;
    }

    /// Commits the first version and tells the catalog; from then on the table is there. `by`: who made it.
    ///
    /// # Errors
    /// [`mavis_catalog::Error::Exists`] where the name was taken meanwhile, [`Error::Store`]. In each case there is no table.
    pub async fn finish(self, comment: Option<String>, by: &str) -> Result<Table, Error> {
        match self.finish_or_keep(comment, by).await? {
            Finished::Made(table) => Ok(*table),
            Finished::Taken(rows) => {
                let error = mavis_catalog::Error::Exists { what: "table", name: rows.name.to_string() };
                rows.discard().await;
                Err(error.into())
            }
        }
    }

    /// As [`Making::finish`], but where the name was taken meanwhile, the rows are kept.
    ///
    /// # Errors
    /// [`Error::Store`]; there is no table then.
    pub async fn finish_or_keep(self, comment: Option<String>, by: &str) -> Result<Finished, Error> {
        let Self { lake, name, location, schema, stage, pushed } = self;
        let files = match stage.finish().await {
            Ok(files) => files,
            Err(error) => {
                empty(&lake, &location).await;
                return Err(error);
            }
        };
        let rows: u64 = files.iter().map(|file| file.rows).sum();
        if rows != pushed {
            empty(&lake, &location).await;
            let detail = format!("{pushed} rows were written as {rows}");
            return Err(Error::Unbalanced { table: name, detail });
        }
        let delta = lake.store().delta(&location)?;
        let (mut actions, operation) =
            birth(&delta, &schema, &default_statistics(&schema, &[]), false, HashMap::new())?;
        actions.extend(files.iter().map(|file| Action::Add(add(file, true))));
        // Nobody else writes into this folder. Where it is not known whether the commit was made, the folder stays loose.
        CommitBuilder::from(plain_commit())
            .with_actions(actions)
            .build(None, delta.log_store(), operation)
            .await
            .map_err(|error| Error::store(&format!("making table `{name}`"), &error))?;
        let made = Made {
            id: TableId::new(),
            name,
            location,
            columns: new_columns(&schema),
            version: 0,
            rows: Some(rows),
            comment,
            by: by.to_owned(),
        };
        match lake.catalog().add_made_table(&made).await {
            Ok(table) => {
                info!(table = %table.name, rows, "made table `{}`", table.name);
                Ok(Finished::Made(Box::new(table)))
            }
            Err(mavis_catalog::Error::Exists { .. }) => {
                let Made { name, location, .. } = made;
                Ok(Finished::Taken(Kept { lake, name, location, schema, files }))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// What became of a table that was made.
#[derive(Debug)]
pub enum Finished {
    Made(Box<Table>),
    /// Somebody else has the name since.
    Taken(Kept),
}

/// Rows that were written for a table whose name somebody else took. Dropping them leaves a folder that is swept later.
#[derive(Debug)]
pub struct Kept {
    lake: Lake,
    name: TableName,
    location: String,
    schema: SchemaRef,
    files: Vec<StagedFile>,
}

impl Kept {
    /// The rows' columns as they are stored.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows as they were written.
    ///
    /// # Errors
    /// [`Error::Store`], also as the stream's first item.
    pub fn batches(&self) -> Result<BoxStream<'static, Result<RecordBatch, Error>>, Error> {
        let store = self.lake.store().table(&self.location)?;
        let (name, schema) = (self.name.clone(), Arc::clone(&self.schema));
        let files: Vec<(Path, u64)> = self.files.iter().map(|file| (file.path.clone(), file.bytes)).collect();
        let files = stream::iter(files).then(move |(path, bytes)| {
            let (store, name, schema) = (Arc::clone(&store), name.clone(), Arc::clone(&schema));
            async move { read(&store, &path, bytes, &schema, &name).await }
        });
        Ok(files.try_flatten().boxed())
    }

    /// Deletes them.
    pub async fn discard(self) {
        empty(&self.lake, &self.location).await;
    }
}
