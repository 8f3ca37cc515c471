use chrono::{DateTime, Utc};
use mavis_types::{SourceId, TableId, TableName};

use crate::{
    Catalog, Error,
    engine::{Durability, Tx},
    value::{Row, json, signed, values},
};

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
    /// Set where this is a view of SQL: it has columns, and no rows of its own in the lake.
    pub view: Option<SqlView>,
    /// Who made it by a statement.
    pub made_by: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// The definition of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlView {
    /// One query, its tables with their whole names.
    pub text: String,
    /// Whole names of the tables that it reads.
    pub reads: Vec<String>,
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

/// Tables that are made in one transaction.
const ONE_TRANSACTION: usize = 200;

impl Catalog {
    /// The table of that name, made if it is not there: an id, and a location `<zone>/<schema>/<table>` (with a number
    /// where the folder was another table's). Calling it again changes nothing.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn ensure_table(&self, new: NewTable) -> Result<Table, Error> {
        if let Some(table) = self.find_table(&new.name).await? {
            return Ok(table);
        }
        let base = location(&new.name);
        let mut number = 1_u64;
        loop {
            let location = if number == 1 { base.clone() } else { format!("{base}_{number}") };
            let mut tx = self.engine.begin(Durability::Disk).await?;
            let made = insert_table(&mut tx, &new, &location).await?;
            tx.commit().await?;
            if let Some(table) = made {
                return Ok(table);
            }
            // Either somebody made the table in this moment, or its folder is another table's.
            if let Some(table) = self.find_table(&new.name).await? {
                return Ok(table);
            }
            number += 1;
        }
    }

    /// Makes the tables that are not there yet, with their columns, in one transaction; of one that is there and was never
    /// written to, the columns are replaced.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn ensure_tables(&self, tables: Vec<(NewTable, Vec<NewColumn>)>) -> Result<(), Error> {
        let mut rest = Vec::new();
        for many in tables.chunks(ONE_TRANSACTION) {
            let mut tx = self.engine.begin(Durability::Disk).await?;
            for (new, columns) in many {
                let known = tx
                    .one(
                        "SELECT * FROM lake_tables WHERE zone = $1 AND schema_name = $2 AND table_name = $3",
                        values![new.name.zone.as_str(), &new.name.schema, &new.name.table],
                    )
                    .await?;
                let id = match known {
                    Some(row) => {
                        let table = read_table(&row)?;
                        if table.version.is_some() {
                            continue;
                        }
                        table.id
                    }
                    None => match insert_table(&mut tx, new, &location(&new.name)).await? {
                        Some(table) => table.id,
                        // Its folder is another table's.
                        None => {
                            rest.push((new, columns));
                            continue;
                        }
                    },
                };
                replace_columns(&mut tx, id, columns).await?;
            }
            tx.commit().await?;
        }
        for (new, columns) in rest {
            let table = self.ensure_table(new.clone()).await?;
            if table.version.is_none() {
                self.set_columns(table.id, columns).await?;
            }
        }
        Ok(())
    }

    /// # Errors
    /// [`Error::NotFound`].
    pub async fn table(&self, name: &TableName) -> Result<Table, Error> {
        self.find_table(name).await?.ok_or_else(|| Error::NotFound { what: "table", name: name.to_string() })
    }

    /// # Errors
    /// [`Error::Database`].
    pub async fn find_table(&self, name: &TableName) -> Result<Option<Table>, Error> {
        let (known, stamp) = self.kept(|kept| kept.table(name));
        if known.is_some() {
            return Ok(known);
        }
        let row = self
            .engine
            .one(
                "SELECT * FROM lake_tables WHERE zone = $1 AND schema_name = $2 AND table_name = $3",
                values![name.zone.as_str(), &name.schema, &name.table],
            )
            .await?;
        let table = row.as_ref().map(read_table).transpose()?;
        if let Some(table) = &table {
            self.keep(stamp, |kept| kept.keep_table(table));
        }
        Ok(table)
    }

    /// # Errors
    /// [`Error::NotFound`].
    pub async fn table_by_id(&self, id: TableId) -> Result<Table, Error> {
        let (known, stamp) = self.kept(|kept| kept.table_by_id(id));
        if let Some(known) = known {
            return Ok(known);
        }
        match self.engine.one("SELECT * FROM lake_tables WHERE id = $1", values![id.to_string()]).await? {
            Some(row) => {
                let table = read_table(&row)?;
                self.keep(stamp, |kept| kept.keep_table(&table));
                Ok(table)
            }
            None => Err(not_found(id)),
        }
    }

    /// Replaces the columns of a table. A loss of power may take it back: the lake compares with the table and says it again.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such table.
    pub async fn set_columns(&self, table: TableId, columns: &[NewColumn]) -> Result<(), Error> {
        let mut tx = self.engine.begin(Durability::System).await?;
        // First the table's own row: it locks out whoever replaces the same columns.
        tx.one("UPDATE lake_tables SET updated_at = NOW_MICROS WHERE id = $1 RETURNING id", values![table.to_string()])
            .await?
            .ok_or_else(|| not_found(table))?;
        replace_columns(&mut tx, table, columns).await?;
        tx.commit().await
    }

    /// Records the key of a table.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such table.
    pub async fn set_key(&self, table: TableId, key: &[String]) -> Result<(), Error> {
        let set = self
            .engine
            .write(
                Durability::Disk,
                "UPDATE lake_tables SET key_columns = $2, updated_at = NOW_MICROS WHERE id = $1 RETURNING id",
                values![table.to_string(), json(&key, "lake_tables.key_columns")?],
            )
            .await?;
        if set.is_empty() { Err(not_found(table)) } else { Ok(()) }
    }

    /// Told after each commit: the newest version and, where known, its rows. News of an older version, that came late,
    /// changes nothing; a newer version whose rows are not known leaves them unknown.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such table.
    pub async fn note_table_state(&self, table: TableId, version: i64, rows: Option<u64>) -> Result<(), Error> {
        let noted = self
            .engine
            .write(
                Durability::System,
                "UPDATE lake_tables SET
                    row_count = CASE WHEN version > $2 THEN row_count
                                     WHEN version = $2 THEN COALESCE($3, row_count)
                                     ELSE $3 END,
                    updated_at = CASE WHEN version > $2 THEN updated_at ELSE NOW_MICROS END,
                    version = CASE WHEN version > $2 THEN version ELSE $2 END
                 WHERE id = $1
                 RETURNING id",
                values![table.to_string(), version, rows.map(signed)],
            )
            .await?;
        if noted.is_empty() { Err(not_found(table)) } else { Ok(()) }
    }
}

/// `None`: the name or the folder is taken.
async fn insert_table(tx: &mut Tx<'_>, new: &NewTable, location: &str) -> Result<Option<Table>, Error> {
    let made = tx
        .one(
            "INSERT INTO lake_tables (id, zone, schema_name, table_name, source_id, source_schema, source_table,
                                      location, key_columns, comment, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, NOW_MICROS, NOW_MICROS)
             ON CONFLICT DO NOTHING
             RETURNING *",
            values![
                TableId::new().to_string(),
                new.name.zone.as_str(),
                &new.name.schema,
                &new.name.table,
                new.source.map(|id| id.to_string()),
                &new.source_schema,
                &new.source_table,
                location,
                json(&new.key, "lake_tables.key_columns")?,
                &new.comment,
            ],
        )
        .await?;
    made.as_ref().map(read_table).transpose()
}

pub(crate) async fn replace_columns(tx: &mut Tx<'_>, table: TableId, columns: &[NewColumn]) -> Result<(), Error> {
    tx.all("DELETE FROM lake_columns WHERE table_id = $1", values![table.to_string()]).await?;
    tx.insert_many(
        "INSERT INTO lake_columns
            (table_id, position, name, source_name, data_type, source_type, nullable, comment)",
        "",
        columns
            .iter()
            .zip(0_i64..)
            .map(|(column, position)| {
                values![
                    table.to_string(),
                    position,
                    &column.name,
                    &column.source_name,
                    &column.data_type,
                    &column.source_type,
                    column.nullable,
                    &column.comment,
                ]
            })
            .collect(),
    )
    .await
}

/// `<zone>/<schema>/<table>` in characters that every store and file system keeps apart: small letters, digits, `_`
/// and `-`. Other characters become `_`; names that meet there get a number.
pub(crate) fn location(name: &TableName) -> String {
    let folder = |text: &str| -> String {
        text.chars()
            .map(|c| match c.to_ascii_lowercase() {
                c if c.is_ascii_alphanumeric() || c == '_' || c == '-' => c,
                _ => '_',
            })
            .collect()
    };
    format!("{}/{}/{}", name.zone, folder(&name.schema), folder(&name.table))
}

pub(crate) fn not_found(id: TableId) -> Error {
    Error::NotFound { what: "table", name: id.to_string() }
}

pub(crate) fn read_name(row: &Row) -> Result<TableName, Error> {
    Ok(TableName {
        zone: row.parse("lake_tables.zone")?,
        schema: row.text("lake_tables.schema_name")?,
        table: row.text("lake_tables.table_name")?,
    })
}

pub(crate) fn read_table(row: &Row) -> Result<Table, Error> {
    Ok(Table {
        id: row.parse("lake_tables.id")?,
        name: read_name(row)?,
        source: row.opt_parse("lake_tables.source_id")?,
        source_schema: row.opt_text("lake_tables.source_schema")?,
        source_table: row.opt_text("lake_tables.source_table")?,
        location: row.text("lake_tables.location")?,
        key: row.json("lake_tables.key_columns")?,
        comment: row.opt_text("lake_tables.comment")?,
        rows: row.opt_count("lake_tables.row_count")?,
        version: row.opt_int("lake_tables.version")?,
        view: match row.opt_text("lake_tables.view_text")? {
            Some(text) => {
                let reads = row.opt_json("lake_tables.view_reads")?.unwrap_or_default();
                Some(SqlView { text, reads })
            }
            None => None,
        },
        made_by: row.opt_text("lake_tables.made_by")?,
        created_at: row.time("lake_tables.created_at")?,
        updated_at: row.time("lake_tables.updated_at")?,
    })
}

pub(crate) fn read_column(row: &Row) -> Result<Column, Error> {
    Ok(Column {
        table: row.parse("lake_columns.table_id")?,
        position: row.small("lake_columns.position")?,
        name: row.text("lake_columns.name")?,
        source_name: row.opt_text("lake_columns.source_name")?,
        data_type: row.text("lake_columns.data_type")?,
        source_type: row.opt_text("lake_columns.source_type")?,
        nullable: row.flag("lake_columns.nullable")?,
        comment: row.opt_text("lake_columns.comment")?,
    })
}
