//! `information_schema`: what SQL clients look up, from the catalog database; no table of the lake is opened.

mod columns;
mod schemata;
mod tables;
mod views;

pub(super) use columns::COLUMNS;
pub(super) use schemata::SCHEMATA;
pub(super) use tables::TABLES;
pub(super) use views::VIEWS;

use super::{Definition, INFORMATION, INFORMATION_TABLES, Request, SYSTEM, TABLES as SYSTEM_TABLES, catalogs};

/// Tables about the lake that a request asks for, with their catalogs.
fn system_tables(request: &Request) -> Vec<(&'static str, &'static Definition)> {
    let of_system = SYSTEM_TABLES.iter().map(|definition| (SYSTEM, definition));
    let everywhere =
        catalogs().flat_map(|catalog| INFORMATION_TABLES.iter().map(move |definition| (catalog, definition)));
    of_system
        .chain(everywhere)
        .filter(|(catalog, definition)| {
            definition.is_seen_by(&request.principal)
                && request.wants_catalog("table_catalog", catalog)
                && request.equal("table_schema").is_none_or(|wanted| wanted == definition.schema)
                && request.equal("table_name").is_none_or(|wanted| wanted == definition.table)
        })
        .collect()
}

/// The schemas of `system`, and `information_schema` of every catalog.
fn system_schemas() -> Vec<(&'static str, &'static str)> {
    let mut schemas: Vec<_> = SYSTEM_TABLES.iter().map(|definition| (SYSTEM, definition.schema)).collect();
    schemas.extend(catalogs().map(|catalog| (catalog, INFORMATION)));
    schemas.dedup();
    schemas
}
