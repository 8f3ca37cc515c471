//! What a SQLite database says of its tables, and what their values say of their types.

use arrow::datatypes::{DataType, TimeUnit};
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use crate::{ForeignKey, SourceColumn, TableKind, TableRef};

/// A table or view.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: String,
    is_view: bool,
    has_rowid: bool,
}

impl Table {
    pub(super) fn reference(&self) -> TableRef {
        TableRef { schema: None, name: self.name.clone() }
    }

    pub(super) fn kind(&self) -> TableKind {
        if self.is_view { TableKind::View } else { TableKind::Table }
    }

    /// A name of the rowid that no column hides.
    pub(super) fn rowid(&self, columns: &[SourceColumn]) -> Option<&'static str> {
        if !self.has_rowid || self.is_view {
            return None;
        }
        ["rowid", "_rowid_", "oid"]
            .into_iter()
            .find(|name| !columns.iter().any(|column| column.name.eq_ignore_ascii_case(name)))
    }
}

/// A column as it is declared.
#[derive(Debug, Clone)]
pub(super) struct Declared {
    pub(super) name: String,
    declared: String,
    not_null: bool,
    /// Place in the primary key, from 1; 0 outside.
    key_place: i64,
}

/// An identifier as SQL text.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(super) async fn tables(connection: &mut SqliteConnection) -> Result<Vec<Table>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT name, type, wr FROM pragma_table_list \
         WHERE schema = 'main' AND type IN ('table', 'view', 'virtual') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
    )
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let kind: String = row.try_get(1)?;
            Ok(Table {
                name: row.try_get(0)?,
                is_view: kind == "view",
                has_rowid: kind == "table" && row.try_get_unchecked::<i64, _>(2)? == 0,
            })
        })
        .collect()
}

pub(super) async fn columns(connection: &mut SqliteConnection, table: &Table) -> Result<Vec<Declared>, sqlx::Error> {
    let rows =
        sqlx::query("SELECT name, type, \"notnull\", pk FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid")
            .bind(&table.name)
            .fetch_all(connection)
            .await?;
    rows.iter()
        .map(|row| {
            Ok(Declared {
                name: row.try_get(0)?,
                declared: row.try_get::<Option<String>, _>(1)?.unwrap_or_default(),
                not_null: row.try_get_unchecked::<i64, _>(2)? != 0,
                key_place: row.try_get_unchecked(3)?,
            })
        })
        .collect()
}

/// The columns with the types that all their values have.
pub(super) async fn typed_columns(
    connection: &mut SqliteConnection,
    table: &Table,
    declared: &[Declared],
) -> Result<Vec<SourceColumn>, sqlx::Error> {
    let mut columns = Vec::with_capacity(declared.len());
    // SQLite allows 2,000 result columns; 8 counts a column.
    for part in declared.chunks(200) {
        let counts: Vec<String> = part.iter().map(|column| count_sql(&quoted(&column.name))).collect();
        let sql = format!("SELECT {} FROM {}", counts.join(", "), quoted(&table.name));
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut *connection).await?;
        for (place, column) in part.iter().enumerate() {
            let mut seen = [0_i64; 8];
            for (number, count) in seen.iter_mut().enumerate() {
                *count = row.try_get_unchecked::<Option<i64>, _>(place * 8 + number)?.unwrap_or_default();
            }
            columns.push(SourceColumn {
                name: column.name.clone(),
                data_type: type_of(&column.declared, &Seen::new(seen)),
                nullable: !column.not_null,
                source_type: if column.declared.is_empty() { "ANY".to_owned() } else { column.declared.clone() },
                comment: None,
            });
        }
    }
    Ok(columns)
}

fn count_sql(column: &str) -> String {
    let counted = |condition: String| format!("sum({condition})");
    [
        counted(format!("typeof({column}) = 'integer'")),
        counted(format!("typeof({column}) = 'real'")),
        counted(format!("typeof({column}) = 'text'")),
        counted(format!("typeof({column}) = 'blob'")),
        counted(format!("typeof({column}) = 'integer' AND {column} IN (0, 1)")),
        counted(format!("typeof({column}) = 'integer' AND {column} BETWEEN -9007199254740992 AND 9007199254740992")),
        counted(format!("typeof({column}) = 'text' AND length({column}) = 10 AND date({column}) IS {column}")),
        counted(format!(
            "typeof({column}) = 'text' AND length({column}) = 19 AND datetime({column}) IS replace({column}, 'T', ' ')"
        )),
    ]
    .join(", ")
}

/// How many values of a column have which storage class or form.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    integers: i64,
    reals: i64,
    texts: i64,
    blobs: i64,
    bits: i64,
    exact_integers: i64,
    dates: i64,
    times: i64,
}

impl Seen {
    fn new([integers, reals, texts, blobs, bits, exact_integers, dates, times]: [i64; 8]) -> Self {
        Self { integers, reals, texts, blobs, bits, exact_integers, dates, times }
    }
}

fn type_of(declared: &str, seen: &Seen) -> DataType {
    let upper = declared.to_ascii_uppercase();
    let has = |word: &str| upper.contains(word);
    let count = seen.integers + seen.reals + seen.texts + seen.blobs;
    let numbers = if seen.reals == 0 && !(has("REAL") || has("FLOA") || has("DOUB") || has("NUMERIC") || has("DECIMAL"))
    {
        DataType::Int64
    } else if seen.exact_integers == seen.integers {
        DataType::Float64
    } else {
        DataType::Utf8
    };
    if count == 0 {
        return match () {
            () if has("BOOL") => DataType::Boolean,
            () if has("INT") => DataType::Int64,
            () if upper == "DATE" => DataType::Date32,
            () if upper == "DATETIME" || has("TIMESTAMP") => DataType::Timestamp(TimeUnit::Microsecond, None),
            () if has("BLOB") => DataType::Binary,
            () if has("REAL") || has("FLOA") || has("DOUB") || has("NUMERIC") || has("DECIMAL") => DataType::Float64,
            () => DataType::Utf8,
        };
    }
    match () {
        () if seen.blobs == count => DataType::Binary,
        () if has("BOOL") && seen.bits == count => DataType::Boolean,
        () if upper == "DATE" && seen.dates == count => DataType::Date32,
        () if (upper == "DATETIME" || has("TIMESTAMP")) && seen.times == count => {
            DataType::Timestamp(TimeUnit::Microsecond, None)
        }
        () if (has("CHAR") || has("CLOB") || has("TEXT")) && !has("INT") => DataType::Utf8,
        () if seen.integers + seen.reals == count => numbers,
        () => DataType::Utf8,
    }
}

/// The primary key, or else the first unique index over NOT NULL columns.
pub(super) async fn key(
    connection: &mut SqliteConnection,
    table: &Table,
    declared: &[Declared],
) -> Result<Vec<String>, sqlx::Error> {
    let mut primary: Vec<&Declared> = declared.iter().filter(|column| column.key_place > 0).collect();
    primary.sort_by_key(|column| column.key_place);
    if !primary.is_empty() {
        return Ok(primary.into_iter().map(|column| column.name.clone()).collect());
    }
    let indexes =
        sqlx::query("SELECT name FROM pragma_index_list(?) WHERE \"unique\" = 1 AND partial = 0 ORDER BY seq DESC")
            .bind(&table.name)
            .fetch_all(&mut *connection)
            .await?;
    for index in &indexes {
        let name: String = index.try_get(0)?;
        let parts = sqlx::query("SELECT name FROM pragma_index_info(?) ORDER BY seqno")
            .bind(&name)
            .fetch_all(&mut *connection)
            .await?;
        let names: Vec<Option<String>> = parts.iter().map(|part| part.try_get(0)).collect::<Result<_, _>>()?;
        let names: Option<Vec<String>> = names.into_iter().collect();
        if let Some(names) = names
            && names.iter().all(|name| declared.iter().any(|column| column.name == *name && column.not_null))
        {
            return Ok(names);
        }
    }
    Ok(Vec::new())
}

pub(super) async fn foreign_keys(
    connection: &mut SqliteConnection,
    table: &Table,
) -> Result<Vec<ForeignKey>, sqlx::Error> {
    let rows = sqlx::query("SELECT id, \"table\", \"from\", \"to\" FROM pragma_foreign_key_list(?) ORDER BY id, seq")
        .bind(&table.name)
        .fetch_all(connection)
        .await?;
    let mut keys: Vec<(i64, ForeignKey)> = Vec::new();
    for row in &rows {
        let id: i64 = row.try_get_unchecked(0)?;
        if keys.last().is_none_or(|(last, _)| *last != id) {
            let table = TableRef { schema: None, name: row.try_get(1)? };
            keys.push((id, ForeignKey { columns: Vec::new(), table, referenced: Vec::new() }));
        }
        if let Some((_, key)) = keys.last_mut() {
            key.columns.push(row.try_get(2)?);
            key.referenced.extend(row.try_get::<Option<String>, _>(3)?);
        }
    }
    Ok(keys.into_iter().map(|(_, key)| key).collect())
}

pub(super) async fn count(connection: &mut SqliteConnection, table: &Table) -> Result<Option<u64>, sqlx::Error> {
    let sql = format!("SELECT count(*) FROM {}", quoted(&table.name));
    let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(connection).await?;
    Ok(u64::try_from(row.try_get_unchecked::<i64, _>(0)?).ok())
}
