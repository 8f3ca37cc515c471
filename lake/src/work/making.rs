use std::{collections::HashMap, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use deltalake_core::kernel::{Action, transaction::CommitBuilder};
use mavis_catalog::{Made, Table};
use mavis_types::{TableId, TableName};
use tracing::info;

use super::{folders::empty, new_columns, stored_as};
use crate::{
    Error, Lake,
    conform::conform,
    create::{birth, default_statistics, plain_commit},
    scan::add,
    stage::{FileKind, Stage, StageOptions, TARGET_FILE_BYTES},
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
                Ok(table)
            }
            Err(error) => {
                if matches!(error, mavis_catalog::Error::Exists { .. }) {
                    empty(&lake, &made.location).await;
                }
                Err(error.into())
            }
        }
    }
}
