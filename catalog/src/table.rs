use chrono::{DateTime, Utc};
use mavis_types::{SourceId, TableId, TableName, Zone};

use crate::{Catalog, Error};

/// A table of the lake as the catalog knows it; the truth about its rows is in Delta.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    pub id: TableId,
    pub name: TableName,
    pub source: Option<SourceId>,
    /// What the source calls its schema, where it has several.
    pub source_schema: Option<String>,
    /// What the source calls the table.
    pub source_table: Option<String>,
    /// Folder below the lake's root, fixed when the table was made; no slash at either end.
    pub location: String,
    /// Columns of the key, by their names in the lake; empty where there is none.
    pub key: Vec<String>,
    pub comment: Option<String>,
    /// Rows at `version`, as last told by [`Catalog::note_table_state`].
    pub rows: Option<u64>,
    /// Newest Delta version that the catalog was told of.
    pub version: Option<i64>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

#[derive(Debug, Clone)]
pub struct NewTable {
    pub name: TableName,
    pub source: Option<SourceId>,
    pub source_schema: Option<String>,
    pub source_table: Option<String>,
    pub key: Vec<String>,
    pub comment: Option<String>,
}

/// A column in the order of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub table: TableId,
    pub position: u32,
    pub name: String,
    /// What the source calls it, where that differs or is known.
    pub source_name: Option<String>,
    /// Type as Arrow writes it, parseable by `arrow_schema::DataType::from_str`.
    pub data_type: String,
    /// The source's own word for the type.
    pub source_type: Option<String>,
    pub nullable: bool,
    pub comment: Option<String>,
}

#[derive(Debug, Clone)]
pub struct NewColumn {
    pub name: String,
    pub source_name: Option<String>,
    pub data_type: String,
    pub source_type: Option<String>,
    pub nullable: bool,
    pub comment: Option<String>,
}

impl Catalog {
    /// The table of that name, made if it is not there: an id, and a location `<zone>/<schema>/<table>` (with a number
    /// where the folder was another table's). Calling it again changes nothing.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn ensure_table(&self, new: NewTable) -> Result<Table, Error> {
        let _ = new;
        todo!()
    }

    /// # Errors
    /// [`Error::NotFound`].
    pub async fn table(&self, name: &TableName) -> Result<Table, Error> {
        let _ = name;
        todo!()
    }

    /// # Errors
    /// [`Error::Database`].
    pub async fn find_table(&self, name: &TableName) -> Result<Option<Table>, Error> {
        let _ = name;
        todo!()
    }

    /// # Errors
    /// [`Error::NotFound`].
    pub async fn table_by_id(&self, id: TableId) -> Result<Table, Error> {
        let _ = id;
        todo!()
    }

    /// Tables by name, filtered; `limit` and `after` page through a million of them.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn tables(
        &self,
        zone: Option<Zone>,
        schema: Option<&str>,
        after: Option<&TableName>,
        limit: Option<u32>,
    ) -> Result<Vec<Table>, Error> {
        let _ = (zone, schema, after, limit);
        todo!()
    }

    /// Every table of a source, in all zones.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn tables_of_source(&self, source: SourceId) -> Result<Vec<Table>, Error> {
        let _ = source;
        todo!()
    }

    /// Distinct schemas of a zone (of all zones where none is given), by name.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn schemas(&self, zone: Option<Zone>) -> Result<Vec<(Zone, String)>, Error> {
        let _ = zone;
        todo!()
    }

    /// Replaces the columns of a table.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn set_columns(&self, table: TableId, columns: &[NewColumn]) -> Result<(), Error> {
        let _ = (table, columns);
        todo!()
    }

    /// # Errors
    /// [`Error::Database`].
    pub async fn columns(&self, table: TableId) -> Result<Vec<Column>, Error> {
        let _ = table;
        todo!()
    }

    /// Columns of every table of a schema in one statement, by table name and position.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn columns_of_schema(&self, zone: Zone, schema: &str) -> Result<Vec<(TableName, Column)>, Error> {
        let _ = (zone, schema);
        todo!()
    }

    /// Records the key of a table.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn set_key(&self, table: TableId, key: &[String]) -> Result<(), Error> {
        let _ = (table, key);
        todo!()
    }

    /// Told after each commit: the newest version and, where known, its rows.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn note_table_state(&self, table: TableId, version: i64, rows: Option<u64>) -> Result<(), Error> {
        let _ = (table, version, rows);
        todo!()
    }
}
