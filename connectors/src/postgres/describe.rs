//! The columns of tables, as the system catalogs tell them.

use std::collections::BTreeMap;

use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{
    Inner, session,
    types::{ColumnType, Travel, travel},
};
use crate::{Error, SourceColumn, Stage, TableRef};

/// Columns of one table: as discovery tells them, and as they travel.
#[derive(Debug, Clone)]
pub(super) struct Described {
    pub(super) column: SourceColumn,
    pub(super) travel: Travel,
}

/// Domains are taken down to their base type; columns that are dropped or that the user may not read are left out. What a
/// table costs does not depend on how many others there are: nothing is looked at but by its number (a database of ten thousand
/// tables has twenty thousand types).
const COLUMNS: &str = "
    SELECT n.nspname::text AS schema, c.relname::text AS name, a.attname::text AS column,
           a.attnotnull AS not_null, format_type(a.atttypid, a.atttypmod) AS written,
           t.typname::text AS type, t.typtype::text AS kind, t.typcategory::text AS category,
           CASE WHEN a.atttypmod <> -1 THEN a.atttypmod ELSE coalesce(d.modifier, -1) END AS modifier,
           col_description(c.oid, a.attnum) AS comment
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type own ON own.oid = a.atttypid
    LEFT JOIN LATERAL (
        WITH RECURSIVE down(base, modifier) AS (
            SELECT own.typbasetype, own.typtypmod WHERE own.typtype = 'd'
            UNION ALL
            SELECT i.typbasetype, CASE WHEN down.modifier <> -1 THEN down.modifier ELSE i.typtypmod END
            FROM down JOIN pg_type i ON i.oid = down.base WHERE i.typtype = 'd'
        )
        SELECT down.base AS root, down.modifier
        FROM down JOIN pg_type i ON i.oid = down.base WHERE i.typtype <> 'd'
    ) d ON true
    JOIN pg_type t ON t.oid = coalesce(d.root, own.oid)
    WHERE n.nspname = ANY($1)
      AND ($2::text IS NULL OR c.oid = to_regclass(quote_ident($1[1]) || '.' || quote_ident($2))::oid)
      AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND has_column_privilege(c.oid, a.attnum, 'SELECT')
    ORDER BY n.nspname, c.relname, a.attnum";

/// Columns of every table of some schemas, or of the one table named in the one schema, by `(schema, table)`.
pub(super) async fn columns(
    inner: &Inner,
    connection: &mut PgConnection,
    schemas: &[String],
    table: Option<&str>,
) -> Result<BTreeMap<(String, String), Vec<Described>>, Error> {
    let rows = sqlx::query(COLUMNS)
        .bind(schemas)
        .bind(table)
        .fetch_all(connection)
        .await
        .map_err(|error| session::refused(inner, Stage::Read, &error))?;
    let mut tables: BTreeMap<_, Vec<Described>> = BTreeMap::new();
    for row in &rows {
        let (schema, name, described) = described(row).map_err(|error| session::refused(inner, Stage::Read, &error))?;
        tables.entry((schema, name)).or_default().push(described);
    }
    Ok(tables)
}

fn described(row: &PgRow) -> Result<(String, String, Described), sqlx::Error> {
    let name: String = row.try_get("column")?;
    let of = ColumnType {
        name: row.try_get("type")?,
        kind: row.try_get::<String, _>("kind")?.chars().next().unwrap_or('b'),
        category: row.try_get::<String, _>("category")?.chars().next().unwrap_or('U'),
        modifier: row.try_get("modifier")?,
    };
    let travel = travel(&name, &of);
    let column = SourceColumn {
        data_type: travel.wire.data_type(),
        nullable: !row.try_get::<bool, _>("not_null")?,
        source_type: row.try_get("written")?,
        comment: row.try_get("comment")?,
        name,
    };
    Ok((row.try_get("schema")?, row.try_get("name")?, Described { column, travel }))
}

/// Columns of one table.
///
/// # Errors
/// [`Error::NoSuchTable`] where there is none that the user may read.
pub(super) async fn table(
    inner: &Inner,
    connection: &mut PgConnection,
    table: &TableRef,
) -> Result<Vec<Described>, Error> {
    let schema = inner.schema_of(table).to_owned();
    let mut found = columns(inner, connection, std::slice::from_ref(&schema), Some(&table.name)).await?;
    found.remove(&(schema, table.name.clone())).ok_or_else(|| Error::NoSuchTable { table: table.to_string() })
}
