//! `system.catalog`: sources, tables, columns, files, mappings, known hosts.

mod columns;
mod files;
mod known_hosts;
mod mappings;
mod sources;
mod tables;

pub(super) use columns::COLUMNS;
pub(super) use files::FILES;
pub(super) use known_hosts::KNOWN_HOSTS;
pub(super) use mappings::MAPPINGS;
pub(super) use sources::SOURCES;
pub(super) use tables::TABLES;
