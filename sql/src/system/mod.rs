//! Tables about the lake itself, read from the catalog database when a query reads them.
//!
//! `system.catalog.*`: what exists. `system.ops.*`: what ran, what was set aside, who did what. `information_schema.*`:
//! what SQL clients look up; it is reachable alone and in every catalog. One file per table: the shape of a row, and how
//! the rows are read. Every table shows a principal only what concerns the schemas that the principal may read.

mod catalog;
mod information;
mod ops;
mod postgres;
mod request;
mod sheet;
mod table;

pub(crate) use postgres::{
    OWNER, PG_CATALOG, REGPROCS, USER_OID, by_name, format, is_empty, number_of_own, number_of_procedure, of_postgres,
    own_of_number, procedure_of_number,
};
pub(crate) use table::SystemTable;

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::catalog::TableProvider;
use futures::stream::BoxStream;
use mavis_catalog::Catalog;
use mavis_types::{Principal, Zone};

use crate::Error;
use request::Request;

/// The catalog of `catalog` and `ops`.
pub(crate) const SYSTEM: &str = "system";
/// The schema that every catalog has.
pub(crate) const INFORMATION: &str = "information_schema";

/// A table about the lake.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) schema: &'static str,
    pub(crate) table: &'static str,
    pub(crate) comment: &'static str,
    /// For everybody else it does not exist.
    pub(crate) for_admins: bool,
    pub(crate) columns: fn() -> SchemaRef,
    read: fn(Request) -> Lines,
}

/// Rows as they are read, a batch at a time.
type Lines = BoxStream<'static, Result<RecordBatch, Error>>;

impl Definition {
    pub(crate) fn is_seen_by(&self, principal: &Principal) -> bool {
        !self.for_admins || principal.may_administer()
    }
}

/// Tables of `system`.
pub(crate) static TABLES: [Definition; 17] = [
    catalog::SOURCES,
    catalog::TABLES,
    catalog::COLUMNS,
    catalog::FILES,
    catalog::MAPPINGS,
    catalog::KNOWN_HOSTS,
    ops::RUNS,
    ops::RUN_UNITS,
    ops::RUN_LOG,
    ops::SCHEDULES,
    ops::FRESHNESS,
    ops::ALERTS,
    ops::DRIFT,
    ops::DISCOVERIES,
    ops::QUARANTINE,
    ops::AUDIT,
    ops::GRANTS,
];

/// Tables of `information_schema`.
pub(crate) static INFORMATION_TABLES: [Definition; 4] =
    [information::SCHEMATA, information::TABLES, information::COLUMNS, information::VIEWS];

/// Every SQL catalog, the zones first.
pub(crate) fn catalogs() -> impl Iterator<Item = &'static str> {
    Zone::ALL.into_iter().map(Zone::as_str).chain([SYSTEM])
}

/// The system table of a name, for a principal, and its whole name. `information_schema.t` alone tells about every
/// catalog, with a catalog before it only about that one.
pub(crate) fn find(
    parts: &[String],
    catalog: &Catalog,
    principal: &Arc<Principal>,
) -> Option<([String; 3], Arc<dyn TableProvider>)> {
    let texts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (place, definition) = locate(&texts)?;
    if !definition.is_seen_by(principal) {
        return None;
    }
    let of_one =
        definition.schema == INFORMATION || postgres::definition(definition.schema, definition.table).is_some();
    let only = (of_one && texts.len() == 3).then(|| place.to_owned());
    let name = [place.to_owned(), definition.schema.to_owned(), definition.table.to_owned()];
    let table = SystemTable::new(definition, catalog.clone(), Arc::clone(principal), only);
    Some((name, Arc::new(table)))
}

/// The catalog and the definition that a name means.
pub(crate) fn locate<'a>(parts: &[&'a str]) -> Option<(&'a str, &'static Definition)> {
    match *parts {
        [INFORMATION, table] => Some((SYSTEM, named(&INFORMATION_TABLES, INFORMATION, table)?)),
        [place, INFORMATION, table] if catalogs().any(|known| known == place) => {
            Some((place, named(&INFORMATION_TABLES, INFORMATION, table)?))
        }
        [place, schema @ (PG_CATALOG | postgres::PG_INFORMATION), table] if catalogs().any(|known| known == place) => {
            Some((place, postgres::definition(schema, table)?))
        }
        [SYSTEM, schema, table] => Some((SYSTEM, named(&TABLES, schema, table)?)),
        _ => None,
    }
}

fn named(tables: &'static [Definition], schema: &str, table: &str) -> Option<&'static Definition> {
    tables.iter().find(|definition| definition.schema == schema && definition.table == table)
}
