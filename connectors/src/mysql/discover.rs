//! What tables there are, asked in four statements however many tables that is.

use std::collections::{BTreeMap, HashMap};

use sqlx::{MySqlConnection, mysql::MySqlRow};

use super::{
    Inner,
    session::{self, fetch, text},
    types::{ColumnType, Travel, literal, orders, quote, travel},
};
use crate::{Discovery, Error, ForeignKey, ReadMode, Selection, SourceColumn, SourceTable, TableKind, TableRef};

/// Why a table without a key is not read incrementally.
pub(super) const KEYLESS: &str = "a table of `cursor_columns` needs a primary key, or a unique key of columns that are \
                                  never null; without one, take it out of `cursor_columns` and it is compared whole";

pub(super) const UNORDERED: &str = "a cursor column is a whole or decimal number, a date, a time stamp or text";

/// A column: as discovery tells it, and as it travels.
#[derive(Debug, Clone)]
pub(super) struct Described {
    pub(super) column: SourceColumn,
    pub(super) of: ColumnType,
    pub(super) travel: Travel,
}

pub(super) async fn discover(inner: &Inner, selection: &Selection) -> Result<Discovery, Error> {
    let mut connection = session::open(inner).await?;
    let discovery = read_schema(inner, &mut connection, selection).await;
    session::close(connection).await;
    discovery
}

/// How many of the declared tables the user may read.
pub(super) async fn count_readable(inner: &Inner) -> Result<usize, Error> {
    let mut connection = session::open(inner).await?;
    let listed = list(inner, &mut connection, &Selection::default()).await;
    session::close(connection).await;
    Ok(listed?.len())
}

/// The databases that the user sees, without the system's own.
pub(super) async fn databases(inner: &Inner) -> Result<Vec<String>, Error> {
    let mut connection = session::connect(inner).await?;
    let statement = "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME NOT IN \
                     ('information_schema', 'mysql', 'performance_schema', 'sys') ORDER BY SCHEMA_NAME";
    let rows = fetch(inner, &mut connection, statement.to_owned()).await;
    session::close(connection).await;
    Ok(rows?.iter().filter_map(|row| text(row, 0)).collect())
}

struct Listed {
    table: TableRef,
    kind: TableKind,
    comment: Option<String>,
    estimate: Option<u64>,
    /// What the server says about a view that it cannot open.
    broken: bool,
}

async fn list(inner: &Inner, connection: &mut MySqlConnection, selection: &Selection) -> Result<Vec<Listed>, Error> {
    let statement = format!(
        "SELECT TABLE_NAME, TABLE_TYPE, TABLE_COMMENT, TABLE_ROWS FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = {} AND TABLE_TYPE NOT IN ('SEQUENCE', 'TEMPORARY', 'SYSTEM VIEW') ORDER BY TABLE_NAME",
        literal(&inner.params.database)
    );
    let declared = inner.selection();
    let rows = fetch(inner, connection, statement).await?;
    Ok(rows.iter().map(listed).filter(|listed| declared.takes_with(selection, &listed.table)).collect())
}

fn listed(row: &MySqlRow) -> Listed {
    let is_view = text(row, 1).as_deref() == Some("VIEW");
    let comment = text(row, 2).filter(|comment| !comment.is_empty());
    Listed {
        table: TableRef { schema: None, name: text(row, 0).unwrap_or_default() },
        kind: if is_view { TableKind::View } else { TableKind::Table },
        broken: is_view && comment.as_ref().is_some_and(|comment| comment != "VIEW"),
        comment: comment.filter(|_| !is_view),
        estimate: text(row, 3).and_then(|rows| rows.parse().ok()),
    }
}

/// Columns that the user may select, of all tables or of one, by table.
async fn columns(
    inner: &Inner,
    connection: &mut MySqlConnection,
    table: Option<&str>,
) -> Result<BTreeMap<String, Vec<Described>>, Error> {
    let only = table.map(|table| format!(" AND TABLE_NAME = {}", literal(table))).unwrap_or_default();
    let statement = format!(
        "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, NUMERIC_PRECISION, NUMERIC_SCALE, CHARACTER_SET_NAME, \
         IS_NULLABLE, COLUMN_COMMENT, PRIVILEGES FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = {}{only} ORDER BY TABLE_NAME, ORDINAL_POSITION",
        literal(&inner.params.database)
    );
    let mut tables: BTreeMap<String, Vec<Described>> = BTreeMap::new();
    for row in &fetch(inner, connection, statement).await? {
        if text(row, 9).is_some_and(|rights| !rights.to_ascii_lowercase().contains("select")) {
            continue;
        }
        tables.entry(text(row, 0).unwrap_or_default()).or_default().push(described(inner, row));
    }
    Ok(tables)
}

fn described(inner: &Inner, row: &MySqlRow) -> Described {
    let name = text(row, 1).unwrap_or_default();
    let of = ColumnType {
        name: text(row, 2).unwrap_or_default().to_ascii_lowercase(),
        written: text(row, 3).unwrap_or_default(),
        precision: text(row, 4).and_then(|digits| digits.parse().ok()),
        scale: text(row, 5).and_then(|digits| digits.parse().ok()),
        character_set: text(row, 6),
    };
    let travel = travel(&name, &of, inner.params.zero_dates);
    let column = SourceColumn {
        data_type: travel.wire.data_type(),
        // A zero date may stand where null may not.
        nullable: text(row, 7).as_deref() != Some("NO")
            || matches!(of.name.as_str(), "date" | "datetime" | "timestamp"),
        source_type: of.written.clone(),
        comment: text(row, 8).filter(|comment| !comment.is_empty()),
        name,
    };
    Described { column, of, travel }
}

/// Columns of one table.
///
/// # Errors
/// [`Error::NoSuchTable`] where there is none that the user may read.
pub(super) async fn describe(
    inner: &Inner,
    connection: &mut MySqlConnection,
    table: &TableRef,
) -> Result<Vec<Described>, Error> {
    let absent = || Error::NoSuchTable { table: table.to_string() };
    if table.schema.is_some() || !inner.selection().takes(table) {
        return Err(absent());
    }
    // The server may compare names whatever their case.
    columns(inner, connection, Some(&table.name)).await?.remove(&table.name).ok_or_else(absent)
}

/// The key of each table, or of one: the primary key, else the unique index with the fewest columns whose columns are all
/// NOT NULL. An index over an expression or over the beginning of a column is none.
pub(super) async fn keys(
    inner: &Inner,
    connection: &mut MySqlConnection,
    table: Option<&str>,
) -> Result<HashMap<String, Vec<String>>, Error> {
    let only = table.map(|table| format!(" AND TABLE_NAME = {}", literal(table))).unwrap_or_default();
    let statement = format!(
        "SELECT TABLE_NAME, INDEX_NAME, COLUMN_NAME, NULLABLE, SUB_PART FROM information_schema.STATISTICS \
         WHERE TABLE_SCHEMA = {}{only} AND NON_UNIQUE = 0 ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX",
        literal(&inner.params.database)
    );
    let mut indexes: BTreeMap<(String, String), Option<Vec<String>>> = BTreeMap::new();
    for row in &fetch(inner, connection, statement).await? {
        let place = (text(row, 0).unwrap_or_default(), text(row, 1).unwrap_or_default());
        let index = indexes.entry(place).or_insert_with(|| Some(Vec::new()));
        let usable = text(row, 3).as_deref() != Some("YES") && text(row, 4).is_none();
        match (text(row, 2), usable) {
            (Some(column), true) => {
                if let Some(columns) = index {
                    columns.push(column);
                }
            }
            _ => *index = None,
        }
    }
    let mut best: HashMap<String, (bool, Vec<String>)> = HashMap::new();
    for ((table, index), columns) in indexes {
        let Some(columns) = columns else { continue };
        let primary = index == "PRIMARY";
        let better =
            best.get(&table).is_none_or(|(is_primary, known)| !is_primary && (primary || columns.len() < known.len()));
        if better {
            best.insert(table, (primary, columns));
        }
    }
    Ok(best.into_iter().map(|(table, (_, columns))| (table, columns)).collect())
}

async fn references(
    inner: &Inner,
    connection: &mut MySqlConnection,
) -> Result<HashMap<String, Vec<ForeignKey>>, Error> {
    let statement = format!(
        "SELECT TABLE_NAME, CONSTRAINT_NAME, COLUMN_NAME, REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME, \
         REFERENCED_COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE \
         WHERE TABLE_SCHEMA = {} AND REFERENCED_TABLE_NAME IS NOT NULL \
         ORDER BY TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION",
        literal(&inner.params.database)
    );
    let mut tables: HashMap<String, Vec<ForeignKey>> = HashMap::new();
    let mut last = None;
    for row in &fetch(inner, connection, statement).await? {
        let field = |index| text(row, index).unwrap_or_default();
        let constraint = (field(0), field(1));
        let keys = tables.entry(field(0)).or_default();
        if last.as_ref() != Some(&constraint) {
            let schema = Some(field(3)).filter(|schema| !schema.eq_ignore_ascii_case(&inner.params.database));
            let table = TableRef { schema, name: field(4) };
            keys.push(ForeignKey { columns: Vec::new(), table, referenced: Vec::new() });
            last = Some(constraint);
        }
        if let Some(key) = keys.last_mut() {
            key.columns.push(field(2));
            key.referenced.push(field(5));
        }
    }
    Ok(tables)
}

async fn read_schema(
    inner: &Inner,
    connection: &mut MySqlConnection,
    selection: &Selection,
) -> Result<Discovery, Error> {
    let listed = list(inner, connection, selection).await?;
    // A few tables of many are asked for one by one.
    let only = match listed.as_slice() {
        [one] => Some(one.table.name.clone()),
        _ => None,
    };
    let mut columns = columns(inner, connection, only.as_deref()).await?;
    let mut keys = keys(inner, connection, only.as_deref()).await?;
    let mut references = references(inner, connection).await?;
    let mut discovery = Discovery::default();
    for found in listed {
        let name = found.table.name.clone();
        let described = columns.remove(&name).unwrap_or_default();
        let key = keys.remove(&name).unwrap_or_default();
        let cursor = inner.cursor_column(&found.table);
        if let Some(reason) = wrong(inner, &found, &described, cursor, &key) {
            discovery.failures.push((found.table, reason));
            continue;
        }
        let has = |name: &String| described.iter().any(|described| described.column.name == *name);
        let mut foreign_keys = references.remove(&name).unwrap_or_default();
        foreign_keys.retain(|foreign| foreign.columns.iter().all(has));
        discovery.tables.push(SourceTable {
            kind: found.kind,
            key: if key.iter().all(has) { key } else { Vec::new() },
            columns: described.into_iter().map(|described| described.column).collect(),
            foreign_keys,
            comment: found.comment,
            row_estimate: found.estimate,
            mode: if cursor.is_some() { ReadMode::Incremental } else { ReadMode::Snapshot },
            table: found.table,
        });
    }
    Ok(discovery)
}

/// Why a table cannot be read as it is declared.
fn wrong(
    inner: &Inner,
    found: &Listed,
    described: &[Described],
    cursor: Option<&str>,
    key: &[String],
) -> Option<String> {
    if found.broken {
        return Some("the server cannot open this view: what it refers to is not there; repair the view".to_owned());
    }
    if described.is_empty() {
        return Some(format!("it has no column that user `{}` may read; GRANT SELECT", inner.params.user));
    }
    let cursor = cursor?;
    match described.iter().find(|described| described.column.name == cursor) {
        None => Some(format!("`cursor_columns` names `{cursor}`, which the table does not have")),
        Some(column) if !orders(&column.of) => {
            Some(format!("`cursor_columns` names `{cursor}`, a {}: {UNORDERED}", column.of.written))
        }
        // Rows that share the cursor's last value could not be told apart.
        Some(_) if key.is_empty() => Some(KEYLESS.to_owned()),
        Some(_) => None,
    }
}

/// The table as a statement names it.
pub(super) fn quoted(inner: &Inner, table: &TableRef) -> String {
    format!("{}.{}", quote(&inner.params.database), quote(&table.name))
}
