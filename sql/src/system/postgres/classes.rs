use async_stream::try_stream;
use futures::StreamExt;
use mavis_types::Principal;

use super::{
    Definition, Lines, Request, catalog,
    grid::{Row, batch},
    relations::{Relation, relations, schemas, zone},
};
use crate::{known_columns, system::sheet::number};

const CLASS_COLUMNS: &str = "oid:oid relname:text relnamespace:oid reltype:oid=0 reloftype:oid=0 relowner:oid=10 \
    relam:oid=0 relfilenode:oid=0 reltablespace:oid=0 relpages:int4=0 reltuples:float4=-1 relallvisible:int4=0 \
    reltoastrelid:oid=0 relhasindex:bool=f relisshared:bool=f relpersistence:text=p relkind:text relnatts:int2=0 \
    relchecks:int2=0 relhasrules:bool=f relhastriggers:bool=f relhassubclass:bool=f relrowsecurity:bool=f \
    relforcerowsecurity:bool=f relispopulated:bool=t relreplident:text=n relispartition:bool=f relrewrite:oid=0 \
    relfrozenxid:oid=0 relminmxid:oid=0 relacl:texts reloptions:texts relpartbound:text tableoid:oid=1259 \
    relhasoids:bool=f xmin:oid=1";

pub(super) const CLASS: Definition = catalog!("pg_class", CLASS_COLUMNS, |request| {
    // A number may be that of a key's index; then its table is asked for.
    try_stream! {
        let mut pages = relations(request, "oid", "");
        while let Some(page) = pages.next().await {
            let rows: Vec<Row> = page?.iter().flat_map(class).collect();
            yield batch(CLASS_COLUMNS, &rows)?;
        }
    }
    .boxed()
});

fn class(relation: &Relation) -> Vec<Row> {
    let has_key = !relation.key.is_empty();
    let own: Row = vec![
        ("oid", relation.oid.into()),
        ("relname", relation.name.as_str().into()),
        ("relnamespace", relation.namespace.into()),
        ("relkind", relation.kind.into()),
        ("relam", if relation.kind == "r" { 2_u32 } else { 0 }.into()),
        ("relhasindex", has_key.into()),
        ("relhasrules", (relation.kind == "v").into()),
        ("reltuples", relation.rows.map_or(-1, number).into()),
        ("reltype", if relation.own.is_none() { relation.oid + 3 } else { 0 }.into()),
    ];
    let index = has_key.then(|| {
        vec![
            ("oid", (relation.oid + 1).into()),
            ("relname", format!("{}_pkey", relation.name).into()),
            ("relnamespace", relation.namespace.into()),
            ("relkind", "i".into()),
            ("relam", 403_u32.into()),
            ("relnatts", number(relation.key.len() as u64).into()),
        ]
    });
    std::iter::once(own).chain(index).collect()
}

const NAMESPACE_COLUMNS: &str = "oid:oid nspname:text nspowner:oid=10 nspacl:texts tableoid:oid=2615 xmin:oid=1";

pub(super) const NAMESPACE: Definition = catalog!("pg_namespace", NAMESPACE_COLUMNS, |request| {
    try_stream! {
        let rows: Vec<Row> = schemas(&request).await?.into_iter().map(|(oid, name)| vec![("oid", oid.into()), ("nspname", name.into())]).collect();
        yield batch(NAMESPACE_COLUMNS, &rows)?;
    }
    .boxed()
});

const TABLES_COLUMNS: &str = "schemaname:text tablename:text tableowner:text=mavis tablespace:text hasindexes:bool=f \
    hasrules:bool=f hastriggers:bool=f rowsecurity:bool=f";

pub(super) const TABLES: Definition = catalog!("pg_tables", TABLES_COLUMNS, |request| {
    listed(request, TABLES_COLUMNS, "tablename", |_, relation| {
        (relation.kind == "r").then(|| {
            vec![
                ("schemaname", relation.schema.as_str().into()),
                ("tablename", relation.name.as_str().into()),
                ("hasindexes", (!relation.key.is_empty()).into()),
            ]
        })
    })
});

const VIEWS_COLUMNS: &str = "schemaname:text viewname:text viewowner:text=mavis definition:text";

pub(super) const VIEWS: Definition = catalog!("pg_views", VIEWS_COLUMNS, |request| {
    listed(request, VIEWS_COLUMNS, "viewname", |principal, relation| {
        (relation.kind == "v").then(|| {
            vec![
                ("schemaname", relation.schema.as_str().into()),
                ("viewname", relation.name.as_str().into()),
                ("definition", relation.query(principal).into()),
            ]
        })
    })
});

const RULES_COLUMNS: &str = "oid:oid rulename:text=_RETURN ev_class:oid ev_type:text=1 ev_enabled:text=O is_instead:bool=t \
    ev_qual:text ev_action:text tableoid:oid=2618 xmin:oid=1";

/// A view is a rule there: its action is the view's query.
pub(super) const RULES: Definition = catalog!("pg_rewrite", RULES_COLUMNS, |request| {
    try_stream! {
        let mut pages = relations(request.clone(), "ev_class", "");
        while let Some(page) = pages.next().await {
            let page = page?;
            let views = page.iter().filter(|relation| relation.kind == "v");
            let rows: Vec<Row> = views.map(|view| rule(&request.principal, view)).collect();
            yield batch(RULES_COLUMNS, &rows)?;
        }
    }
    .boxed()
});

fn rule(principal: &Principal, view: &Relation) -> Row {
    vec![("oid", (view.oid + 2).into()), ("ev_class", view.oid.into()), ("ev_action", view.query(principal).into())]
}

const STATISTICS_COLUMNS: &str = "relid:oid schemaname:text relname:text seq_scan:int8 seq_tup_read:int8 idx_scan:int8 \
    idx_tup_fetch:int8 n_tup_ins:int8=0 n_tup_upd:int8=0 n_tup_del:int8=0 n_live_tup:int8 n_dead_tup:int8=0 last_vacuum:time \
    last_analyze:time n_tup_hot_upd:int8=0 n_mod_since_analyze:int8=0 n_ins_since_vacuum:int8=0 last_autovacuum:time \
    last_autoanalyze:time vacuum_count:int8=0 autovacuum_count:int8=0 analyze_count:int8=0 autoanalyze_count:int8=0";

pub(super) const STATISTICS: Definition = catalog!("pg_stat_all_tables", STATISTICS_COLUMNS, statistics);
pub(super) const USER_STATISTICS: Definition = catalog!("pg_stat_user_tables", STATISTICS_COLUMNS, statistics);

fn statistics(request: Request) -> Lines {
    of_tables(request, STATISTICS_COLUMNS)
}

const READS_COLUMNS: &str = "relid:oid schemaname:text relname:text heap_blks_read:int8 heap_blks_hit:int8 idx_blks_read:int8 \
    idx_blks_hit:int8 toast_blks_read:int8 toast_blks_hit:int8 tidx_blks_read:int8 tidx_blks_hit:int8";

pub(super) const READS: Definition = catalog!("pg_statio_all_tables", READS_COLUMNS, reads);
pub(super) const USER_READS: Definition = catalog!("pg_statio_user_tables", READS_COLUMNS, reads);

fn reads(request: Request) -> Lines {
    of_tables(request, READS_COLUMNS)
}

/// What is known of tables, none of which is counted but their rows.
fn of_tables(request: Request, spec: &'static str) -> Lines {
    listed(request, spec, "relname", |_, relation| {
        (relation.own.is_none() && relation.kind == "r").then(|| {
            vec![
                ("relid", relation.oid.into()),
                ("schemaname", relation.schema.as_str().into()),
                ("relname", relation.name.as_str().into()),
                ("n_live_tup", relation.rows.map(number).into()),
            ]
        })
    })
}

/// A row for each relation that `row` takes; `name` is the column of its name.
fn listed(
    request: Request,
    spec: &'static str,
    name: &'static str,
    row: fn(&Principal, &Relation) -> Option<Row>,
) -> Lines {
    try_stream! {
        let mut pages = relations(request.clone(), "", name);
        while let Some(page) = pages.next().await {
            let rows: Vec<Row> = page?.iter().filter_map(|relation| row(&request.principal, relation)).collect();
            yield batch(spec, &rows)?;
        }
    }
    .boxed()
}

const DESCRIPTION_COLUMNS: &str =
    "objoid:oid classoid:oid objsubid:int4=0 description:text tableoid:oid=2609 xmin:oid=1";

/// Comments of tables and of their columns.
pub(super) const DESCRIPTION: Definition = catalog!("pg_description", DESCRIPTION_COLUMNS, |request| {
    try_stream! {
        let wants_columns = request.equal("objsubid") != Some("0");
        let mut pages = relations(request.clone(), "objoid", "");
        while let Some(page) = pages.next().await {
            let page = page?;
            let of_tables = page.iter().filter_map(|relation| Some(description(relation.oid, 0, relation.comment.as_deref()?)));
            let rows: Vec<Row> = of_tables.collect();
            yield batch(DESCRIPTION_COLUMNS, &rows)?;
            if wants_columns && zone(&request).is_some() {
                let mut rows: Vec<Row> = Vec::new();
                for relation in page {
                    let Some(table) = &relation.table else { continue };
                    let columns = request.catalog.columns(table.id).await?;
                    let columns = known_columns(&request.principal, &table.name, columns);
                    let told = (1..).zip(&columns).filter_map(|(number, column)| Some(description(relation.oid, number, column.comment.as_deref()?)));
                    rows.extend(told);
                }
                yield batch(DESCRIPTION_COLUMNS, &rows)?;
            }
        }
    }
    .boxed()
});

fn description(oid: u32, column: i64, text: &str) -> Row {
    vec![
        ("objoid", oid.into()),
        ("classoid", 1259_u32.into()),
        ("objsubid", column.into()),
        ("description", text.into()),
    ]
}
