//! Every query passes here: zones as SQL catalogs, one guard, limits, our dialect, time travel.
//!
//! A statement is parsed by our [`dialect`] and refused unless it only reads. The tables that it names (and no others) are
//! resolved against the catalog database and opened, each behind a guarded provider for the principal who asks
//! ([`catalogs`], [`guard`], [`time_travel`]); [`names`] spells its identifiers as the tables do; [`planner`] plans it ([`micros`] and [`exact`]
//! make its times reach as far as those of tables, and its arithmetic exact or refused, [`lengths`] compares
//! intervals by how long they are, [`multisets`] counts rows where the standard does, [`subqueries`] answers queries that are asked
//! for each row); the
//! plan is walked once more and denied by default; and it runs within the limits of [`admission`] on threads of its own
//! ([`run`], [`stream`]); what was answered before is answered from memory ([`answers`]). [`system`] has the tables about the lake itself, [`views`] those that SQL on FHIR
//! defines.
//!
//! [`postgres`] reads statements as PostgreSQL's clients write them.
//!
//! Who knows a key needs no plan: [`Session::direct`] asks the same guard and reads rows by it ([`Direct`]).
//!
//! [`work`] is what writes: tables and views of the `work` zone ([`Session::execute`], [`Session::ingest`]), whose reading half
//! goes the same way as a query. The crate never imports `pipeline`.

mod admission;
mod answers;
mod calendar;
mod catalogs;
mod cpu;
mod dialect;
mod direct;
mod engine;
mod error;
mod exact;
mod extent;
mod fault;
mod functions;
mod guard;
mod home;
mod inferred;
mod lateral;
mod lengths;
mod limits;
mod listing;
mod micros;
mod multisets;
mod names;
mod planner;
mod postgres;
mod progress;
mod reduce;
mod rights;
mod run;
mod session;
mod sight;
mod stop;
mod stream;
mod subqueries;
mod system;
mod time_travel;
mod told;
mod views;
mod work;

pub use cpu::STACK;
pub use direct::{Direct, When};
pub use engine::{Engine, EngineOptions};
pub use error::{Error, REFUSED};
pub use home::Home;
pub use limits::{Limits, OWN_TIME, RoleLimits};
pub use listing::{TableFilter, TableListing};
pub use postgres::{Interval, Moment, NAMED_TYPE, Postgres, array_items, out_of_range};
pub use session::{Prepared, QueryStream, Session};
pub use sight::{
    Payloads, Sizes, known_columns, known_table, knows_counts, knows_run, knows_source, not_whole, not_whole_of,
    origin, unknown_table,
};
pub use views::Only;
pub use work::{Executed, Existing, Ingest, Missing};

use datafusion::sql::sqlparser::ast::Statement;

/// Whether a statement makes, changes or drops tables or views, so that [`Session::execute`] runs it. One that cannot be
/// parsed (with parameters by name, or wrong) is known by its first word.
#[must_use]
pub fn writes(sql: &str) -> bool {
    let first = sql.trim_start().split(|letter: char| !letter.is_ascii_alphabetic()).next().unwrap_or_default();
    // By far the most: they need not be parsed for it.
    if first.eq_ignore_ascii_case("select") {
        return false;
    }
    // Statements about rights are answered as queries are.
    if !matches!(rights::read(sql), Ok(None)) {
        return false;
    }
    match dialect::parse(sql) {
        Ok(statement) => work::is_write(&statement),
        Err(_) => {
            let words = ["insert", "update", "delete", "merge", "truncate", "create", "drop", "alter"];
            words.iter().any(|word| first.eq_ignore_ascii_case(word))
        }
    }
}

/// Whether a statement changes who may see what (`GRANT`, `CREATE POLICY`, `BREAK GLASS`, ...): [`Session::query`] runs it, and
/// answers a row that says what was done.
#[must_use]
pub fn changes_rights(sql: &str) -> bool {
    matches!(rights::read(sql), Ok(Some(statement)) if !matches!(statement, rights::Statement::Show { .. }))
}

/// What is said to whoever sends a statement that answers rows where one that writes is wanted.
fn only_reads(statement: &Statement) -> Error {
    let reason = match statement {
        Statement::Query(_) | Statement::Explain { .. } => "this statement writes nothing: send it as a query",
        _ => {
            "statements that write are CREATE, DROP and ALTER TABLE, CREATE and DROP VIEW, INSERT, UPDATE, DELETE, MERGE, \
             TRUNCATE and COMMENT, in `work`"
        }
    };
    Error::Refused { reason: reason.to_owned() }
}
