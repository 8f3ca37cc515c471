//! `pg_catalog`, and `information_schema` as PostgreSQL has it: what its clients ask when they connect and when they list.
//!
//! A zone is a database, so every row is about one zone. Schemas and tables have numbers ([`mavis_catalog::Numbered`]), tables
//! with a key also an index and a constraint that tell it (nothing is enforced: the key is what the source says, or what was
//! discovered). Rows are those that the principal may see. [`empty`] are catalogs of what there is not: triggers, policies,
//! sequences. Only sessions of PostgreSQL's clients reach these tables; elsewhere no listing shows them.

mod attributes;
mod classes;
mod empty;
mod fixed;
mod grid;
mod information;
mod keys;
mod procedures;
mod relations;
mod types;

use super::{Definition, INFORMATION, Lines, Request};

pub(crate) use empty::is_empty;
pub(crate) use fixed::{OWNER, REGPROCS, USER_OID};
pub(crate) use procedures::{number_of_procedure, procedure_of_number};
pub(crate) use relations::{number_of_own, own_of_number};
pub(crate) use types::{by_name, format};

/// The schema of the catalogs.
pub(crate) const PG_CATALOG: &str = "pg_catalog";
/// The schema of `information_schema` as PostgreSQL has it. No name that is written means it.
pub(crate) const PG_INFORMATION: &str = "postgres information";

/// The schema where a table of `pg_catalog` or `information_schema` stands for PostgreSQL's clients.
pub(crate) fn of_postgres(schema: &str, table: &str) -> Option<&'static str> {
    let own = match schema {
        PG_CATALOG => PG_CATALOG,
        INFORMATION => PG_INFORMATION,
        _ => return None,
    };
    definition(own, table).map(|_| own)
}

pub(super) fn definition(schema: &str, table: &str) -> Option<&'static Definition> {
    let groups: [&'static [Definition]; 3] = [&TABLES, &empty::TABLES, &information::TABLES];
    groups.into_iter().flatten().find(|definition| definition.schema == schema && definition.table == table)
}

static TABLES: [Definition; 34] = [
    classes::CLASS,
    classes::NAMESPACE,
    classes::TABLES,
    classes::VIEWS,
    classes::RULES,
    classes::DESCRIPTION,
    classes::STATISTICS,
    classes::USER_STATISTICS,
    classes::READS,
    classes::USER_READS,
    attributes::ATTRIBUTE,
    keys::INDEX,
    keys::CONSTRAINT,
    keys::INDEXES,
    keys::STATISTICS,
    keys::USER_STATISTICS,
    keys::READS,
    keys::USER_READS,
    fixed::TYPE,
    fixed::DATABASE,
    fixed::DATABASE_STATISTICS,
    fixed::ROLES,
    fixed::AUTHID,
    fixed::USER,
    fixed::SHADOW_USER,
    fixed::GROUP,
    fixed::ACCESS_METHOD,
    fixed::TABLESPACE,
    fixed::LANGUAGE,
    fixed::SETTINGS,
    fixed::ACTIVITY,
    fixed::OPERATOR_CLASS,
    fixed::TIME_ZONES,
    procedures::PROCEDURE,
];

/// A catalog with its columns and how its rows are read.
macro_rules! catalog {
    ($name:literal, $spec:expr, $read:expr) => {
        crate::system::Definition {
            schema: crate::system::PG_CATALOG,
            table: $name,
            comment: "As PostgreSQL's catalog of this name.",
            for_admins: false,
            columns: || crate::system::postgres::grid::schema($spec),
            read: $read,
        }
    };
}
use catalog;

/// Rows that are known at once.
fn rows(spec: &'static str, rows: Vec<grid::Row>) -> Lines {
    Box::pin(futures::stream::once(async move { grid::batch(spec, &rows) }))
}
