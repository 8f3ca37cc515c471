//! What statements make, rename and drop: tables and views of the work zone, and the folders behind them.
//!
//! A folder is a table's or it is loose. It is written down as loose before anything is put into it, and becomes a table's in
//! the transaction that makes the table; when a table is dropped its folder is loose again. So a process that dies in between
//! leaves no table that is half there, and no folder that nobody knows of.

use std::time::Duration;

use mavis_types::{TableId, TableName};

use crate::{
    Catalog, Error, NewColumn, Table,
    engine::{Durability, Tx},
    table::{location, not_found, read_table, replace_columns},
    value::{json, signed, values},
};

/// A table whose folder holds its first version already.
#[derive(Debug, Clone)]
pub struct Made {
    pub id: TableId,
    pub name: TableName,
    /// As [`Catalog::reserve_folder`] answered.
    pub location: String,
    pub columns: Vec<NewColumn>,
    pub version: i64,
    pub rows: Option<u64>,
    pub comment: Option<String>,
    /// The principal's name.
    pub by: String,
}

/// A view to be stored.
#[derive(Debug, Clone)]
pub struct NewSqlView {
    pub name: TableName,
    pub text: String,
    pub reads: Vec<String>,
    pub columns: Vec<NewColumn>,
    pub comment: Option<String>,
    /// The principal's name.
    pub by: String,
    /// A view of that name is replaced; otherwise it is in the way.
    pub replace: bool,
}

impl Catalog {
    /// A folder that is nobody's, for a table of this name, written down as loose.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn reserve_folder(&self, name: &TableName) -> Result<String, Error> {
        let base = location(name);
        let mut number = 1_u64;
        loop {
            let folder = if number == 1 { base.clone() } else { format!("{base}_{number}") };
            let reserved = self
                .engine
                .write(
                    Durability::Disk,
                    "INSERT INTO loose_folders (location, since)
                     SELECT $1, NOW_MICROS WHERE NOT EXISTS (SELECT 1 FROM lake_tables WHERE location = $1)
                     ON CONFLICT DO NOTHING RETURNING location",
                    values![&folder],
                )
                .await?;
            if !reserved.is_empty() {
                return Ok(folder);
            }
            number += 1;
        }
    }

    /// Makes a table of a folder that was reserved; from here on it can be seen.
    ///
    /// # Errors
    /// [`Error::Exists`] where a table or view of that name is there; [`Error::NotFound`] where the folder was given up.
    pub async fn add_made_table(&self, made: &Made) -> Result<Table, Error> {
        let mut tx = self.engine.begin(Durability::Disk).await?;
        let gone =
            tx.all("DELETE FROM loose_folders WHERE location = $1 RETURNING location", values![&made.location]).await?;
        if gone.is_empty() {
            return Err(Error::NotFound { what: "folder", name: made.location.clone() });
        }
        let row = tx
            .one(
                "INSERT INTO lake_tables (id, zone, schema_name, table_name, location, key_columns, comment, row_count,
                                          version, made_by, created_at, updated_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, NOW_MICROS, NOW_MICROS)
                 ON CONFLICT DO NOTHING
                 RETURNING *",
                values![
                    made.id.to_string(),
                    made.name.zone.as_str(),
                    &made.name.schema,
                    &made.name.table,
                    &made.location,
                    "[]",
                    &made.comment,
                    made.rows.map(signed),
                    made.version,
                    &made.by,
                ],
            )
            .await?;
        let row = row.ok_or_else(|| exists(&made.name))?;
        replace_columns(&mut tx, made.id, &made.columns).await?;
        tx.commit().await?;
        read_table(&row)
    }

    /// Stores a view.
    ///
    /// # Errors
    /// [`Error::Exists`] where a table has the name, or a view that is not to be replaced.
    pub async fn put_sql_view(&self, new: &NewSqlView) -> Result<Table, Error> {
        let mut tx = self.engine.begin(Durability::Disk).await?;
        let id = TableId::new();
        let reads = json(&new.reads, "lake_tables.view_reads")?;
        let there = named(&mut tx, &new.name).await?;
        let row = match there {
            Some(there) if there.view.is_some() && new.replace => {
                tx.one(
                    "UPDATE lake_tables SET view_text = $2, view_reads = $3, comment = $4, made_by = $5,
                                            updated_at = NOW_MICROS
                     WHERE id = $1 RETURNING *",
                    values![there.id.to_string(), &new.text, reads, &new.comment, &new.by],
                )
                .await?
            }
            Some(_) => None,
            None => {
                tx.one(
                    "INSERT INTO lake_tables (id, zone, schema_name, table_name, location, key_columns, comment, view_text,
                                              view_reads, made_by, created_at, updated_at)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, NOW_MICROS, NOW_MICROS)
                     ON CONFLICT DO NOTHING
                     RETURNING *",
                    values![
                        id.to_string(),
                        new.name.zone.as_str(),
                        &new.name.schema,
                        &new.name.table,
                        // it has none, and the column wants one of its own
                        format!("views/{id}"),
                        "[]",
                        &new.comment,
                        &new.text,
                        reads,
                        &new.by,
                    ],
                )
                .await?
            }
        };
        let table = read_table(&row.ok_or_else(|| exists(&new.name))?)?;
        replace_columns(&mut tx, table.id, &new.columns).await?;
        tx.commit().await?;
        Ok(table)
    }

    /// Takes a table or view out of the catalog; the folder of a table is loose from here on.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn remove_table(&self, table: TableId) -> Result<(), Error> {
        let mut tx = self.engine.begin(Durability::Disk).await?;
        let id = table.to_string();
        // First the table's own row: it locks out whoever changes it.
        let row = tx
            .one("UPDATE lake_tables SET updated_at = NOW_MICROS WHERE id = $1 RETURNING *", values![&id])
            .await?
            .ok_or_else(|| not_found(table))?;
        let gone = read_table(&row)?;
        tx.all("DELETE FROM lake_columns WHERE table_id = $1", values![&id]).await?;
        tx.all("DELETE FROM lake_tables WHERE id = $1", values![&id]).await?;
        if gone.view.is_none() {
            tx.all(
                "INSERT INTO loose_folders (location, since) VALUES ($1, NOW_MICROS) ON CONFLICT DO NOTHING",
                values![&gone.location],
            )
            .await?;
        }
        tx.commit().await
    }

    /// Gives a table or view another name; its folder stays.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Exists`] where the name is taken.
    pub async fn rename_table(&self, table: TableId, name: &TableName) -> Result<(), Error> {
        let mut tx = self.engine.begin(Durability::Disk).await?;
        if named(&mut tx, name).await?.is_some() {
            return Err(exists(name));
        }
        let renamed = tx
            .all(
                "UPDATE lake_tables SET zone = $2, schema_name = $3, table_name = $4, updated_at = NOW_MICROS
                 WHERE id = $1 RETURNING id",
                values![table.to_string(), name.zone.as_str(), &name.schema, &name.table],
            )
            .await
            .map_err(|error| if matches!(error, Error::Refused { .. }) { exists(name) } else { error })?;
        if renamed.is_empty() {
            return Err(not_found(table));
        }
        tx.commit().await
    }

    /// Sets what is said of a table, or of one of its columns; `None` takes it away.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such table or column.
    pub async fn comment(&self, table: TableId, column: Option<&str>, comment: Option<&str>) -> Result<(), Error> {
        let id = table.to_string();
        let set = match column {
            None => {
                let sql = "UPDATE lake_tables SET comment = $2, updated_at = NOW_MICROS WHERE id = $1 RETURNING id";
                self.engine.write(Durability::Disk, sql, values![id, comment]).await?
            }
            Some(column) => {
                let sql = "UPDATE lake_columns SET comment = $3 WHERE table_id = $1 AND name = $2 RETURNING name";
                self.engine.write(Durability::Disk, sql, values![id, column, comment]).await?
            }
        };
        match (set.is_empty(), column) {
            (false, _) => Ok(()),
            (true, None) => Err(not_found(table)),
            (true, Some(column)) => Err(Error::NotFound { what: "column", name: column.to_owned() }),
        }
    }

    /// Folders that have been loose for at least this long.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn loose_folders(&self, age: Duration) -> Result<Vec<String>, Error> {
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let rows = self
            .engine
            .all(
                "SELECT location FROM loose_folders WHERE since <= NOW_MICROS - $1 ORDER BY since, location",
                values![age],
            )
            .await?;
        rows.iter().map(|row| row.text("loose_folders.location")).collect()
    }

    /// Forgets a loose folder, when nothing is left in it.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn forget_folder(&self, location: &str) -> Result<(), Error> {
        let sql = "DELETE FROM loose_folders WHERE location = $1 RETURNING location";
        self.engine.write(Durability::Disk, sql, values![location]).await.map(drop)
    }
}

async fn named(tx: &mut Tx<'_>, name: &TableName) -> Result<Option<Table>, Error> {
    let row = tx
        .one(
            "SELECT * FROM lake_tables WHERE zone = $1 AND schema_name = $2 AND table_name = $3",
            values![name.zone.as_str(), &name.schema, &name.table],
        )
        .await?;
    row.as_ref().map(read_table).transpose()
}

fn exists(name: &TableName) -> Error {
    Error::Exists { what: "table", name: name.to_string() }
}
