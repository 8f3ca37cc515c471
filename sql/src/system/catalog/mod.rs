//! `system.catalog`: sources, tables, columns, mappings.

mod columns;
mod mappings;
mod sources;
mod tables;

pub(super) use columns::COLUMNS;
pub(super) use mappings::MAPPINGS;
pub(super) use sources::SOURCES;
pub(super) use tables::TABLES;
