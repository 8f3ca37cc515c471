//! Statements as clients of PostgreSQL write them.
//!
//! [`path`] completes names by the search path of the connection; [`rewrite`] puts PostgreSQL's own forms (casts to
//! `regclass`, `OPERATOR(pg_catalog.~)`, `array(SELECT ...)`, functions of `pg_catalog`) as the planner has them, and [`from`]
//! functions that stand in a FROM; [`empty`] leaves out what is read from catalogs that are always empty here; [`columns`]
//! gives the columns of an answer the names that PostgreSQL gives them; [`functions`] has the functions that its clients call.
//! Everything works on the parsed statement. The catalogs themselves are tables of [`crate::system`].

mod ast;
mod columns;
mod compare;
mod empty;
mod from;
mod functions;
mod like;
mod path;
mod rewrite;

pub(crate) use functions::{register, shared};

use std::collections::BTreeMap;

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::Statement;

use crate::{Error, Session, dialect};

/// A connection of a PostgreSQL client, as its statements see it.
#[derive(Debug, Clone, Default)]
pub struct Postgres {
    /// The database that it chose: a zone, or `system`.
    pub database: String,
    /// Schemas of the database in which a table that is named alone is looked for, in order.
    pub path: Vec<String>,
    /// What `current_user` says.
    pub user: String,
    /// What `pg_backend_pid()` says.
    pub process: i32,
    /// What `current_setting()` says, by name.
    pub settings: BTreeMap<String, String>,
    /// Types that the client declared for `$1`, `$2`, ... of the statement.
    pub parameters: Vec<Option<DataType>>,
}

/// Parses a statement and puts it as the engine has it. The text is what its answer may be kept by; `None` where it tells
/// of the connection.
///
/// # Errors
/// [`Error::Invalid`] for what cannot be parsed, [`Error::Catalog`].
pub(crate) async fn read(session: &Session, own: &Postgres, sql: &str) -> Result<(Statement, Option<String>), Error> {
    let mut statement = dialect::parse(sql)?;
    path::complete(session, own, &mut statement).await?;
    columns::name(&mut statement, own);
    let is_lasting = rewrite::rewrite(&mut statement, own);
    // Names of an answer's columns are another dialect's, and what a name means is the path's.
    let text = is_lasting.then(|| format!("{sql}\0{}\0{:?}", own.database, own.parameters));
    Ok((statement, text))
}
