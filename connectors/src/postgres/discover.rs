//! What tables there are, asked in a handful of statements however many tables that is.

use std::collections::HashMap;

use sqlx::{Connection, PgConnection, Row, postgres::PgRow};

use super::{
    Inner, describe,
    replication::{self, Member},
    session,
};
use crate::{Discovery, Error, ForeignKey, ReadMode, Selection, SourceTable, Stage, TableKind, TableRef};

const SCHEMAS: &str = "
    SELECT nspname::text FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' AND has_schema_privilege(oid, 'USAGE')
    ORDER BY nspname";

/// Partitions are read through their parents.
const TABLES: &str = "
    SELECT n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,
           obj_description(c.oid, 'pg_class') AS comment,
           CASE WHEN c.relkind IN ('r', 'm') AND c.reltuples >= 0 THEN c.reltuples::bigint
                WHEN c.relkind = 'p' THEN (SELECT sum(greatest(p.reltuples, 0))::bigint
                                           FROM pg_partition_tree(c.oid) t JOIN pg_class p ON p.oid = t.relid
                                           WHERE t.isleaf)
           END AS estimate,
           has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT') AS readable
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY($1) AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
    ORDER BY n.nspname, c.relname";

/// The primary key, else the unique index with the fewest columns whose columns are all NOT NULL.
const KEYS: &str = "
    SELECT DISTINCT ON (n.nspname, c.relname) n.nspname::text AS schema, c.relname::text AS name,
           (SELECT array_agg(a.attname::text ORDER BY k.position)
            FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, position)
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
            WHERE k.position <= i.indnkeyatts) AS columns
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY($1) AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
      AND NOT EXISTS (SELECT 1 FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, position)
                      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
                      WHERE k.position <= i.indnkeyatts AND NOT a.attnotnull)
    ORDER BY n.nspname, c.relname, i.indisprimary DESC, i.indnkeyatts, i.indexrelid";

const FOREIGN_KEYS: &str = "
    SELECT n.nspname::text AS schema, c.relname::text AS name, rn.nspname::text AS to_schema, r.relname::text AS to_name,
           (SELECT array_agg(a.attname::text ORDER BY k.position) FROM unnest(f.conkey) WITH ORDINALITY k(attnum, position)
            JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.attnum) AS columns,
           (SELECT array_agg(a.attname::text ORDER BY k.position) FROM unnest(f.confkey) WITH ORDINALITY k(attnum, position)
            JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.attnum) AS referenced
    FROM pg_constraint f
    JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_class r ON r.oid = f.confrelid JOIN pg_namespace rn ON rn.oid = r.relnamespace
    WHERE f.contype = 'f' AND f.conparentid = 0 AND n.nspname = ANY($1)
    ORDER BY n.nspname, c.relname, f.conname";

/// Why a table without a key is not read incrementally.
pub(super) const KEYLESS: &str = "a table of `cursor_columns` needs a primary key, or a unique key of columns that are \
                                  never null; without one, take it out of `cursor_columns` and it is compared whole";

pub(super) async fn discover(inner: &Inner, selection: &Selection) -> Result<Discovery, Error> {
    let mut connection = session::open(inner, None).await?;
    let discovery = read_catalogs(inner, &mut connection, selection).await;
    close(connection).await;
    discovery
}

/// Databases that the user may connect to, without templates and the one that is there for administrators.
const DATABASES: &str = "
    SELECT datname::text FROM pg_database
    WHERE datallowconn AND NOT datistemplate AND datname <> 'postgres' AND has_database_privilege(oid, 'CONNECT')
    ORDER BY datname";

/// The databases of the server.
pub(super) async fn databases(inner: &Inner) -> Result<Vec<String>, Error> {
    let mut connection = session::open(inner, None).await?;
    let databases = sqlx::query_scalar(DATABASES).fetch_all(&mut connection).await;
    close(connection).await;
    databases.map_err(|error| session::refused(inner, Stage::Read, &error))
}

/// How many of the declared tables the user may read.
pub(super) async fn count_readable(inner: &Inner) -> Result<usize, Error> {
    let mut connection = session::open(inner, None).await?;
    let tables = list(inner, &mut connection, &Selection::default()).await;
    close(connection).await;
    Ok(tables?.iter().filter(|table| table.readable).count())
}

/// What there is of the declared replication, for a connection test: the slot, the tables that it tells of, and why it does
/// not tell of others of the publication.
pub(super) async fn replication(inner: &Inner) -> Result<Option<String>, Error> {
    let Some(params) = &inner.params.replication else { return Ok(None) };
    let mut connection = session::open(inner, None).await?;
    let found = replication::describe(inner, &mut connection, params).await;
    close(connection).await;
    found.map(Some)
}

/// Ends a session whose work is done; one that is broken has ended already.
async fn close(connection: PgConnection) {
    if connection.close().await.is_err() {
        tracing::debug!("a connection broke while it was closed");
    }
}

struct Listed {
    schema: String,
    table: TableRef,
    kind: TableKind,
    comment: Option<String>,
    estimate: Option<u64>,
    readable: bool,
}

async fn schemas(inner: &Inner, connection: &mut PgConnection) -> Result<Vec<String>, Error> {
    if !inner.params.schemas.is_empty() {
        return Ok(inner.params.schemas.clone());
    }
    sqlx::query_scalar(SCHEMAS)
        .fetch_all(connection)
        .await
        .map_err(|error| session::refused(inner, Stage::Read, &error))
}

async fn list(inner: &Inner, connection: &mut PgConnection, selection: &Selection) -> Result<Vec<Listed>, Error> {
    let schemas = schemas(inner, connection).await?;
    let rows = fetch(inner, connection, TABLES, &schemas).await?;
    let declared = inner.selection();
    let mut tables = Vec::new();
    for row in &rows {
        let listed = listed(inner, row).map_err(|error| session::refused(inner, Stage::Read, &error))?;
        let takes = |selection: &Selection| inner.takes(selection, &listed.schema, &listed.table.name);
        if takes(&declared) && takes(selection) {
            tables.push(listed);
        }
    }
    Ok(tables)
}

fn listed(inner: &Inner, row: &PgRow) -> Result<Listed, sqlx::Error> {
    let schema: String = row.try_get("schema")?;
    let name: String = row.try_get("name")?;
    let kind = match row.try_get::<String, _>("kind")?.as_str() {
        "v" | "m" => TableKind::View,
        _ => TableKind::Table,
    };
    Ok(Listed {
        table: inner.table_ref(&schema, &name),
        schema,
        kind,
        comment: row.try_get("comment")?,
        estimate: row.try_get::<Option<i64>, _>("estimate")?.and_then(|rows| u64::try_from(rows).ok()),
        readable: row.try_get("readable")?,
    })
}

async fn read_catalogs(
    inner: &Inner,
    connection: &mut PgConnection,
    selection: &Selection,
) -> Result<Discovery, Error> {
    let listed = list(inner, connection, selection).await?;
    let schemas = schemas(inner, connection).await?;
    let broken = |error: sqlx::Error| session::refused(inner, Stage::Read, &error);

    let mut columns = describe::columns(inner, connection, &schemas, None).await?;
    let mut keys: HashMap<(String, String), Vec<String>> = HashMap::new();
    for row in fetch(inner, connection, KEYS, &schemas).await? {
        let place = (row.try_get("schema").map_err(broken)?, row.try_get("name").map_err(broken)?);
        keys.insert(place, row.try_get("columns").map_err(broken)?);
    }
    let mut references: HashMap<(String, String), Vec<ForeignKey>> = HashMap::new();
    for row in fetch(inner, connection, FOREIGN_KEYS, &schemas).await? {
        let place = (row.try_get("schema").map_err(broken)?, row.try_get("name").map_err(broken)?);
        let to_schema: String = row.try_get("to_schema").map_err(broken)?;
        let to_name: String = row.try_get("to_name").map_err(broken)?;
        references.entry(place).or_default().push(ForeignKey {
            columns: row.try_get("columns").map_err(broken)?,
            table: inner.table_ref(&to_schema, &to_name),
            referenced: row.try_get("referenced").map_err(broken)?,
        });
    }

    let mut members: HashMap<(String, String), Member> = HashMap::new();
    if let Some(replication) = &inner.params.replication {
        for member in replication::members(inner, connection, &replication.publication, None).await? {
            members.insert((member.schema.clone(), member.name.clone()), member);
        }
    }

    let mut discovery = Discovery::default();
    for found in listed {
        let place = (found.schema.clone(), found.table.name.clone());
        if !found.readable {
            let reason = format!("user `{}` has no right to read it; GRANT SELECT", inner.params.user);
            discovery.failures.push((found.table, reason));
            continue;
        }
        let Some(described) = columns.remove(&place) else {
            discovery.failures.push((found.table, "it has no column that can be read".to_owned()));
            continue;
        };
        let cursor = inner.cursor_column(&found.table);
        if let Some(cursor) = cursor
            && !described.iter().any(|described| described.column.name == cursor)
        {
            let reason = format!("`cursor_columns` names `{cursor}`, which the table does not have");
            discovery.failures.push((found.table, reason));
            continue;
        }
        let mut key = keys.remove(&place).unwrap_or_default();
        let mut described = described;
        let told = members.remove(&place).filter(|member| cursor.is_none() && member.unfit().is_none());
        if let Some(member) = &told {
            described.retain(|described| member.published.contains(&described.column.name));
            key.clone_from(&member.key);
        }
        let by_xmin = found.kind == TableKind::Table && !key.is_empty() && inner.by_xmin(&found.table);
        if cursor.is_some() && key.is_empty() {
            // Rows that share the cursor's last value could not be told apart.
            discovery.failures.push((found.table, KEYLESS.to_owned()));
            continue;
        }
        let has = |name: &String| described.iter().any(|described| described.column.name == *name);
        discovery.tables.push(SourceTable {
            kind: found.kind,
            key: if key.iter().all(has) { key } else { Vec::new() },
            columns: described.into_iter().map(|described| described.column).collect(),
            foreign_keys: references.remove(&place).unwrap_or_default(),
            comment: found.comment,
            row_estimate: found.estimate,
            mode: if cursor.is_some() || told.is_some() || by_xmin {
                ReadMode::Incremental
            } else {
                ReadMode::Snapshot
            },
            table: found.table,
        });
    }
    Ok(discovery)
}

async fn fetch(
    inner: &Inner,
    connection: &mut PgConnection,
    statement: &'static str,
    schemas: &[String],
) -> Result<Vec<PgRow>, Error> {
    sqlx::query(statement)
        .bind(schemas)
        .fetch_all(connection)
        .await
        .map_err(|error| session::refused(inner, Stage::Read, &error))
}

/// The key of one table, for an incremental reading.
pub(super) async fn key(inner: &Inner, connection: &mut PgConnection, table: &TableRef) -> Result<Vec<String>, Error> {
    let schema = inner.schema_of(table).to_owned();
    for row in fetch(inner, connection, KEYS, &[schema]).await? {
        let broken = |error: sqlx::Error| session::refused(inner, Stage::Read, &error);
        if row.try_get::<String, _>("name").map_err(broken)? == table.name {
            return row.try_get("columns").map_err(broken);
        }
    }
    Ok(Vec::new())
}
