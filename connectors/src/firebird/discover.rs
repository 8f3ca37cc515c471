//! What tables there are, asked in three statements however many tables that is.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use rsfbclient::RawValue;

pub(super) use super::table::{Described, Found, find};
use super::{
    Inner,
    session::{self, Attachment, name, number},
    table,
    types::{ColumnType, UNORDERED, literal, orders, quote, travel, written},
};
use crate::{
    Discovery, Error, ForeignKey, ReadMode, Selection, SourceColumn, SourceTable, TableKind, TableRef, reading::aside,
};

/// Why a table without a key is not read incrementally.
pub(super) const KEYLESS: &str = "a table of `cursor_columns` needs a primary key, or a unique key of columns that are \
                                  never null; without one, take it out of `cursor_columns` and it is compared whole";

/// A key, and how many rows its index had when its statistics were taken.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Key {
    pub(super) columns: Vec<String>,
    rows: Option<u64>,
}

pub(super) async fn discover(inner: &Arc<Inner>, selection: &Selection) -> Result<Discovery, Error> {
    let (attachment, relay) = session::open(inner).await?;
    let (declared, selection) = (Arc::clone(inner), selection.clone());
    let discovery = aside(&inner.endpoint(), move || {
        let mut attachment = attachment;
        let discovery = read_schema(&declared, &mut attachment, &selection);
        session::close(attachment);
        discovery
    })
    .await;
    drop(relay);
    discovery
}

/// How many tables of what is declared there are; the first is tried.
pub(super) fn count(inner: &Inner, attachment: &mut Attachment) -> Result<usize, Error> {
    let tables = tables(inner, attachment, None)?;
    let declared = inner.selection();
    let mut taken = tables.keys().filter(|name| declared.takes(&reference(name)));
    let Some(first) = taken.next() else { return Ok(0) };
    session::rows(inner, attachment, &format!("SELECT FIRST 1 1 FROM {}", quote(first)), |_| ())?;
    Ok(1 + taken.count())
}

fn reference(name: &str) -> TableRef {
    TableRef { schema: None, name: name.to_owned() }
}

/// Comments are BLOBs; their beginning comes as bytes.
fn comment(column: &str) -> String {
    format!("CAST(SUBSTRING({column} FROM 1 FOR 500) AS VARCHAR(2000) CHARACTER SET OCTETS)")
}

/// Columns of every table and view that is not the system's, or of one. Temporary tables have no rows that anybody else sees.
pub(super) fn tables(
    inner: &Inner,
    attachment: &mut Attachment,
    only: Option<&str>,
) -> Result<BTreeMap<String, Found>, Error> {
    let only = only.map(|table| format!(" AND R.RDB$RELATION_NAME = {}", literal(table))).unwrap_or_default();
    let sql = format!(
        "SELECT R.RDB$RELATION_NAME, CASE WHEN R.RDB$VIEW_BLR IS NULL THEN 0 ELSE 1 END, {}, \
         C.RDB$FIELD_NAME, F.RDB$FIELD_TYPE, F.RDB$FIELD_SUB_TYPE, F.RDB$FIELD_SCALE, F.RDB$FIELD_PRECISION, \
         F.RDB$FIELD_LENGTH, F.RDB$CHARACTER_LENGTH, S.RDB$CHARACTER_SET_NAME, F.RDB$DIMENSIONS, \
         COALESCE(C.RDB$NULL_FLAG, F.RDB$NULL_FLAG, 0), CASE WHEN F.RDB$COMPUTED_BLR IS NULL THEN 0 ELSE 1 END, {} \
         FROM RDB$RELATIONS R \
         JOIN RDB$RELATION_FIELDS C ON C.RDB$RELATION_NAME = R.RDB$RELATION_NAME \
         JOIN RDB$FIELDS F ON F.RDB$FIELD_NAME = C.RDB$FIELD_SOURCE \
         LEFT JOIN RDB$CHARACTER_SETS S ON S.RDB$CHARACTER_SET_ID = F.RDB$CHARACTER_SET_ID \
         WHERE COALESCE(R.RDB$SYSTEM_FLAG, 0) = 0 AND COALESCE(R.RDB$RELATION_TYPE, 0) NOT IN (4, 5){only} \
         ORDER BY R.RDB$RELATION_NAME, C.RDB$FIELD_POSITION",
        comment("R.RDB$DESCRIPTION"),
        comment("C.RDB$DESCRIPTION")
    );
    let mut tables: BTreeMap<String, Found> = BTreeMap::new();
    session::rows(inner, attachment, &sql, |row| {
        let found = tables.entry(name(row.first()).unwrap_or_default()).or_default();
        found.is_view = number(row.get(1)) == Some(1);
        found.comment = said(inner, row.get(2));
        match described(inner, row) {
            Ok(described) => found.columns.push(described),
            Err(reason) => found.unreadable.push(reason),
        }
    })?;
    Ok(tables)
}

/// A comment, in UTF-8 or, as old programs wrote it, in what NONE is declared to be.
fn said(inner: &Inner, value: Option<&RawValue>) -> Option<String> {
    let Some(RawValue::Text(bytes)) = value else { return None };
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => inner.none_charset.decode(bytes.to_vec().into()).ok()?.into_owned(),
    };
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn described(inner: &Inner, row: &[RawValue]) -> Result<Described, String> {
    let column = name(row.get(3)).unwrap_or_default();
    let of = ColumnType {
        code: number(row.get(4)).unwrap_or_default(),
        sub_type: number(row.get(5)).unwrap_or_default(),
        scale: number(row.get(6)).unwrap_or_default(),
        precision: number(row.get(7)).filter(|precision| *precision > 0),
        length: number(row.get(8)).unwrap_or_default(),
        characters: number(row.get(9)),
        character_set: name(row.get(10)),
        is_array: number(row.get(11)).is_some_and(|dimensions| dimensions > 0),
    };
    let travel = travel(&column, &of, inner.none_charset).map_err(|reason| format!("`{column}`, {reason}"))?;
    let computed = if number(row.get(13)) == Some(1) { " COMPUTED" } else { "" };
    let column = SourceColumn {
        data_type: travel.wire.data_type(),
        nullable: number(row.get(12)) != Some(1),
        source_type: format!("{}{computed}", written(&of)),
        comment: said(inner, row.get(14)),
        name: column,
    };
    Ok(Described { column, of, travel })
}

/// Columns of one table.
///
/// # Errors
/// [`Error::NoSuchTable`] where there is none.
pub(super) fn describe(inner: &Inner, attachment: &mut Attachment, table: &TableRef) -> Result<Vec<Described>, Error> {
    let absent = || Error::NoSuchTable { table: table.to_string() };
    if table.schema.is_some() || !inner.selection().takes(table) {
        return Err(absent());
    }
    let found = tables(inner, attachment, Some(&table.name))?.remove(&table.name).ok_or_else(absent)?;
    if found.columns.is_empty() {
        return Err(absent());
    }
    Ok(found.columns)
}

/// The key of each table, or of one: the primary key, else the unique index with the fewest columns whose columns are all
/// NOT NULL. An index over an expression is none, nor (Firebird 5) one with a condition.
pub(super) fn keys(
    inner: &Inner,
    attachment: &mut Attachment,
    only: Option<&str>,
) -> Result<HashMap<String, Key>, Error> {
    let version = session::rows(
        inner,
        attachment,
        "SELECT RDB$GET_CONTEXT('SYSTEM', 'ENGINE_VERSION') FROM RDB$DATABASE",
        |row| name(row.first()).unwrap_or_default(),
    )?;
    let major: u32 = version.first().and_then(|v| v.split('.').next()?.parse().ok()).unwrap_or(0);
    let whole = if major >= 5 { " AND I.RDB$CONDITION_BLR IS NULL" } else { "" };
    let only = only.map(|table| format!(" AND I.RDB$RELATION_NAME = {}", literal(table))).unwrap_or_default();
    let sql = format!(
        "SELECT I.RDB$RELATION_NAME, I.RDB$INDEX_NAME, G.RDB$FIELD_NAME, \
         CASE WHEN EXISTS (SELECT 1 FROM RDB$RELATION_CONSTRAINTS K WHERE K.RDB$INDEX_NAME = I.RDB$INDEX_NAME \
         AND K.RDB$CONSTRAINT_TYPE = 'PRIMARY KEY') THEN 1 ELSE 0 END, \
         COALESCE(C.RDB$NULL_FLAG, F.RDB$NULL_FLAG, 0), I.RDB$STATISTICS \
         FROM RDB$INDICES I JOIN RDB$INDEX_SEGMENTS G ON G.RDB$INDEX_NAME = I.RDB$INDEX_NAME \
         JOIN RDB$RELATION_FIELDS C ON C.RDB$RELATION_NAME = I.RDB$RELATION_NAME \
         AND C.RDB$FIELD_NAME = G.RDB$FIELD_NAME \
         JOIN RDB$FIELDS F ON F.RDB$FIELD_NAME = C.RDB$FIELD_SOURCE \
         WHERE I.RDB$UNIQUE_FLAG = 1 AND COALESCE(I.RDB$INDEX_INACTIVE, 0) = 0 \
         AND COALESCE(I.RDB$SYSTEM_FLAG, 0) = 0 AND I.RDB$EXPRESSION_BLR IS NULL{whole}{only} \
         ORDER BY I.RDB$RELATION_NAME, I.RDB$INDEX_NAME, G.RDB$FIELD_POSITION"
    );
    let mut indexes: BTreeMap<(String, String), (bool, bool, Key)> = BTreeMap::new();
    session::rows(inner, attachment, &sql, |row| {
        let place = (name(row.first()).unwrap_or_default(), name(row.get(1)).unwrap_or_default());
        let (primary, usable, key) = indexes.entry(place).or_insert((false, true, Key::default()));
        *primary = number(row.get(3)) == Some(1);
        *usable &= number(row.get(4)) == Some(1);
        key.columns.extend(name(row.get(2)));
        // The selectivity of a unique index is one by the number of its rows.
        if let Some(RawValue::Floating(selectivity)) = row.get(5)
            && *selectivity > 1e-12
        {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and below 1e12")]
            let rows = (1.0 / selectivity).round() as u64;
            key.rows = Some(rows);
        }
    })?;
    let mut best: HashMap<String, (bool, Key)> = HashMap::new();
    for ((table, _), (primary, usable, key)) in indexes {
        let better = best
            .get(&table)
            .is_none_or(|(is_primary, known)| !is_primary && (primary || key.columns.len() < known.columns.len()));
        if usable && better {
            best.insert(table, (primary, key));
        }
    }
    Ok(best.into_iter().map(|(table, (_, key))| (table, key)).collect())
}

fn references(inner: &Inner, attachment: &mut Attachment) -> Result<HashMap<String, Vec<ForeignKey>>, Error> {
    let sql = "SELECT K.RDB$RELATION_NAME, K.RDB$CONSTRAINT_NAME, G.RDB$FIELD_NAME, U.RDB$RELATION_NAME, \
               H.RDB$FIELD_NAME \
               FROM RDB$RELATION_CONSTRAINTS K \
               JOIN RDB$REF_CONSTRAINTS F ON F.RDB$CONSTRAINT_NAME = K.RDB$CONSTRAINT_NAME \
               JOIN RDB$RELATION_CONSTRAINTS U ON U.RDB$CONSTRAINT_NAME = F.RDB$CONST_NAME_UQ \
               JOIN RDB$INDEX_SEGMENTS G ON G.RDB$INDEX_NAME = K.RDB$INDEX_NAME \
               JOIN RDB$INDEX_SEGMENTS H ON H.RDB$INDEX_NAME = U.RDB$INDEX_NAME \
               AND H.RDB$FIELD_POSITION = G.RDB$FIELD_POSITION \
               WHERE K.RDB$CONSTRAINT_TYPE = 'FOREIGN KEY' \
               ORDER BY K.RDB$RELATION_NAME, K.RDB$CONSTRAINT_NAME, G.RDB$FIELD_POSITION";
    let mut tables: HashMap<String, Vec<ForeignKey>> = HashMap::new();
    let mut last = None;
    session::rows(inner, attachment, sql, |row| {
        let field = |place: usize| name(row.get(place)).unwrap_or_default();
        let constraint = (field(0), field(1));
        let keys = tables.entry(field(0)).or_default();
        if last.as_ref() != Some(&constraint) {
            keys.push(ForeignKey { columns: Vec::new(), table: reference(&field(3)), referenced: Vec::new() });
            last = Some(constraint);
        }
        if let Some(key) = keys.last_mut() {
            key.columns.push(field(2));
            key.referenced.push(field(4));
        }
    })?;
    Ok(tables)
}

fn read_schema(inner: &Inner, attachment: &mut Attachment, selection: &Selection) -> Result<Discovery, Error> {
    let found = tables(inner, attachment, None)?;
    let mut keys = keys(inner, attachment, None)?;
    let mut references = references(inner, attachment)?;
    let declared = inner.selection();
    let mut discovery = Discovery::default();
    for (name, described) in &found {
        let table = reference(name);
        if !declared.takes_with(selection, &table) {
            continue;
        }
        let key = keys.remove(name).unwrap_or_default();
        if let Some(reason) = wrong(inner, &table, described, &key, &found) {
            discovery.failures.push((table, reason));
            continue;
        }
        let has = |column: &String| described.columns.iter().any(|described| described.column.name == *column);
        let mut foreign_keys = references.remove(name).unwrap_or_default();
        foreign_keys.retain(|foreign| foreign.columns.iter().all(has));
        let is_incremental = inner.cursor_column(&table).is_some();
        discovery.tables.push(SourceTable {
            kind: if described.is_view { TableKind::View } else { TableKind::Table },
            columns: described.columns.iter().map(|described| described.column.clone()).collect(),
            row_estimate: key.rows,
            key: if key.columns.iter().all(has) { key.columns } else { Vec::new() },
            foreign_keys,
            comment: described.comment.clone(),
            mode: if is_incremental { ReadMode::Incremental } else { ReadMode::Snapshot },
            table,
        });
    }
    Ok(discovery)
}

/// Why a table cannot be read as it is declared.
fn wrong(inner: &Inner, table: &TableRef, found: &Found, key: &Key, all: &BTreeMap<String, Found>) -> Option<String> {
    if !found.unreadable.is_empty() {
        return Some(format!(
            "columns that cannot be read: {}; read a view without them, and exclude the table",
            found.unreadable.join("; ")
        ));
    }
    let cursor = inner.cursor_column(table)?;
    match find(&found.columns, cursor) {
        None => Some(format!("`cursor_columns` names `{cursor}`, which the table does not have")),
        Some(place) if !orders(&found.columns[place].of) => Some(format!(
            "`cursor_columns` names `{cursor}`, a {}: {UNORDERED}",
            found.columns[place].column.source_type
        )),
        // Rows that share the cursor's last value could not be told apart.
        Some(_) if key.columns.is_empty() => Some(KEYLESS.to_owned()),
        Some(_) => {
            let declared = inner.deletions(table)?;
            table::wrong(declared, &key.columns, all)
        }
    }
}
