//! Rows by key without a plan, under the same guard as every query.

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use chrono::{DateTime, Utc};
use mavis_catalog::Table;
use mavis_lake::{Found, Lake, RowPast};
use mavis_types::TableName;

use crate::{Error, Session, catalogs::State, guard::Seen, time_travel::AsOf};

/// Which state of a table is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The one that the session sees.
    Seen,
    Version(i64),
    /// The newest one that was there at a time.
    At(DateTime<Utc>),
}

/// One version of a table, of which the guard hides nothing from the principal who asked.
#[derive(Debug, Clone)]
pub struct Direct {
    lake: Lake,
    table: Table,
    state: State,
}

impl Session {
    /// The table as this session sees it, to be read by key; `None` where the guard hides rows or values of it: then only a
    /// query is right. `when`: an older state of the table.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`] also for what the principal may not see; [`Error::Lake`] for a version that is not kept.
    pub async fn direct(&self, name: &TableName, when: When) -> Result<Option<Direct>, Error> {
        let view = self.view_of_lake();
        let absent = || Error::NoSuchTable { table: name.to_string(), hint: String::new() };
        let Seen::Through(policy) = view.sees(name).await? else { return Err(absent()) };
        let table = view.lake.catalog().find_table(name).await?.ok_or_else(absent)?;
        // A view has no rows of its own.
        if !policy.is_open() || table.view.is_some() {
            return Ok(None);
        }
        let as_of = match when {
            When::Seen => None,
            When::Version(version) => Some(AsOf::Version(version)),
            When::At(at) => Some(AsOf::Time(at)),
        };
        let state = view.state(&table, as_of).await?;
        self.note(&view);
        Ok(Some(Direct { lake: view.lake.clone(), table, state }))
    }
}

impl Direct {
    /// The table as the catalog knows it.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The version that is read; `None` before the table's first publication.
    ///
    /// # Errors
    /// [`Error::Lake`].
    pub async fn version(&self) -> Result<Option<i64>, Error> {
        match self.state {
            State::Unpublished => Ok(None),
            State::At(Some(version)) => Ok(Some(version)),
            State::At(None) => Ok(Some(self.lake.version(self.table.id).await?)),
        }
    }

    /// The rows that have one of some keys ([`Lake::rows_by_key`]); `None` where they cannot be read this way, or are more than
    /// `most`, so that a query must.
    ///
    /// # Errors
    /// [`Error::Lake`].
    pub async fn rows(&self, keys: &RecordBatch, columns: &[&str], most: usize) -> Result<Option<Found>, Error> {
        let Some(version) = self.version().await? else { return Ok(None) };
        Ok(self.lake.rows_by_key(self.table.id, version, keys, columns, most).await?)
    }

    /// The columns of the version that is read; `None` where its rows cannot be read by key.
    ///
    /// # Errors
    /// [`Error::Lake`].
    pub async fn schema(&self) -> Result<Option<SchemaRef>, Error> {
        let Some(version) = self.version().await? else { return Ok(None) };
        Ok(self.lake.row_schema(self.table.id, version).await?)
    }

    /// The states that the row with a key was in ([`Lake::row_past`]).
    ///
    /// # Errors
    /// [`Error::Lake`].
    pub async fn past(&self, key: &RecordBatch, columns: &[&str], most: usize) -> Result<Option<RowPast>, Error> {
        let Some(version) = self.version().await? else { return Ok(None) };
        Ok(self.lake.row_past(self.table.id, version, key, columns, most).await?)
    }
}
