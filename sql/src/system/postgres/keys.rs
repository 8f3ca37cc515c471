use async_stream::try_stream;
use futures::StreamExt;

use super::{
    Definition, Lines, Request,
    attributes::columns_of,
    catalog,
    grid::{Cell, Row, batch},
    relations::{Relation, relations},
};

const INDEX_COLUMNS: &str = "indexrelid:oid indrelid:oid indnatts:int2 indnkeyatts:int2 indisunique:bool=t \
    indnullsnotdistinct:bool=f indisprimary:bool=t indisexclusion:bool=f indimmediate:bool=t indisclustered:bool=f \
    indisvalid:bool=t indcheckxmin:bool=f indisready:bool=t indislive:bool=t indisreplident:bool=f indkey:int2s \
    indcollation:oids indclass:oids indoption:int2s indexprs:text indpred:text tableoid:oid=2610 xmin:oid=1 \
    definition__:text columns__:texts";

pub(super) const INDEX: Definition = catalog!("pg_index", INDEX_COLUMNS, |request| {
    with_keys(request, INDEX_COLUMNS, "indrelid", "indexrelid", |relation, places| {
        let count = i64::try_from(places.len()).unwrap_or_default();
        vec![
            ("indexrelid", (relation.oid + 1).into()),
            ("indrelid", relation.oid.into()),
            ("indnatts", count.into()),
            ("indnkeyatts", count.into()),
            ("indkey", Cell::Ints(places)),
            ("indclass", Cell::Ints(vec![1978; relation.key.len()])),
            ("indcollation", Cell::Ints(vec![0; relation.key.len()])),
            ("indoption", Cell::Ints(vec![0; relation.key.len()])),
            ("definition__", index(relation).into()),
            ("columns__", Cell::Texts(relation.key.clone())),
        ]
    })
});

/// How the index of a key would be made.
fn index(relation: &Relation) -> String {
    let columns = relation.key.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    let name = quoted(&format!("{}_pkey", relation.name));
    let (schema, table) = (quoted(&relation.schema), quoted(&relation.name));
    format!("CREATE UNIQUE INDEX {name} ON {schema}.{table} USING btree ({columns})")
}

const CONSTRAINT_COLUMNS: &str = "oid:oid conname:text connamespace:oid contype:text=p condeferrable:bool=f \
    condeferred:bool=f convalidated:bool=t conrelid:oid contypid:oid=0 conindid:oid conparentid:oid=0 confrelid:oid=0 \
    confupdtype:text= confdeltype:text= confmatchtype:text= conislocal:bool=t coninhcount:int4=0 connoinherit:bool=t \
    conkey:int2s confkey:int2s conpfeqop:oids conppeqop:oids conffeqop:oids confdelsetcols:int2s conexclop:oids conbin:text \
    tableoid:oid=2606 xmin:oid=1 definition__:text";

pub(super) const CONSTRAINT: Definition = catalog!("pg_constraint", CONSTRAINT_COLUMNS, |request| {
    with_keys(request, CONSTRAINT_COLUMNS, "conrelid", "oid", |relation, places| {
        let columns = relation.key.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        vec![
            ("oid", (relation.oid + 2).into()),
            ("conname", format!("{}_pkey", relation.name).into()),
            ("connamespace", relation.namespace.into()),
            ("conrelid", relation.oid.into()),
            ("conindid", (relation.oid + 1).into()),
            ("conkey", Cell::Ints(places)),
            ("definition__", format!("PRIMARY KEY ({columns})").into()),
        ]
    })
});

const INDEXES_COLUMNS: &str = "schemaname:text tablename:text indexname:text tablespace:text indexdef:text";

pub(super) const INDEXES: Definition = catalog!("pg_indexes", INDEXES_COLUMNS, |request| {
    with_keys(request, INDEXES_COLUMNS, "", "", |relation, _| {
        vec![
            ("schemaname", relation.schema.as_str().into()),
            ("tablename", relation.name.as_str().into()),
            ("indexname", format!("{}_pkey", relation.name).into()),
            ("indexdef", index(relation).into()),
        ]
    })
});

const STATISTICS_COLUMNS: &str = "relid:oid indexrelid:oid schemaname:text relname:text indexrelname:text idx_scan:int8 \
    last_idx_scan:time idx_tup_read:int8 idx_tup_fetch:int8";

pub(super) const STATISTICS: Definition = catalog!("pg_stat_all_indexes", STATISTICS_COLUMNS, statistics);
pub(super) const USER_STATISTICS: Definition = catalog!("pg_stat_user_indexes", STATISTICS_COLUMNS, statistics);

const READS_COLUMNS: &str = "relid:oid indexrelid:oid schemaname:text relname:text indexrelname:text idx_blks_read:int8 \
    idx_blks_hit:int8";

pub(super) const READS: Definition = catalog!("pg_statio_all_indexes", READS_COLUMNS, reads);
pub(super) const USER_READS: Definition = catalog!("pg_statio_user_indexes", READS_COLUMNS, reads);

fn statistics(request: Request) -> Lines {
    with_keys(request, STATISTICS_COLUMNS, "relid", "indexrelid", of_index)
}

fn reads(request: Request) -> Lines {
    with_keys(request, READS_COLUMNS, "relid", "indexrelid", of_index)
}

/// An index by its names; how it is used is not counted.
fn of_index(relation: &Relation, _: Vec<i64>) -> Row {
    vec![
        ("relid", relation.oid.into()),
        ("indexrelid", (relation.oid + 1).into()),
        ("schemaname", relation.schema.as_str().into()),
        ("relname", relation.name.as_str().into()),
        ("indexrelname", format!("{}_pkey", relation.name).into()),
    ]
}

/// A row for each table with a key; `row` is given the places of the key's columns. `table`, `own`: the columns of the table's
/// number and of the row's own.
fn with_keys(
    mut request: Request,
    spec: &'static str,
    table: &'static str,
    own: &'static str,
    row: fn(&Relation, Vec<i64>) -> Row,
) -> Lines {
    // A row's own number leads to its table as the table's does.
    if let (None, Some(number)) = (request.equal(table), request.equal(own).map(str::to_owned)) {
        request.equals.insert(table.to_owned(), number);
    }
    try_stream! {
        let mut pages = relations(request.clone(), table, "");
        while let Some(page) = pages.next().await {
            let mut rows: Vec<Row> = Vec::new();
            for relation in page?.iter().filter(|relation| !relation.key.is_empty()) {
                let columns = columns_of(&request, relation).await?;
                let place = |name: &String| columns.iter().position(|column| column.name == *name).and_then(|at| i64::try_from(at + 1).ok());
                let places: Option<Vec<i64>> = relation.key.iter().map(place).collect();
                rows.extend(places.map(|places| row(relation, places)));
            }
            yield batch(spec, &rows)?;
        }
    }
    .boxed()
}

/// A name as SQL writes it.
pub(super) fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty() {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}
