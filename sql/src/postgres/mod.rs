//! Statements as clients of PostgreSQL write them.
//!
//! [`path`] completes names by the search path of the connection, [`shows`] those of `SHOW` and `DESCRIBE`; [`rewrite`] puts
//! PostgreSQL's own forms (casts to `regclass`, `OPERATOR(pg_catalog.~)`, `array(SELECT ...)`) as the planner has them, [`calls`]
//! its functions, [`from`] functions that stand in a FROM, and [`lists`] and [`within`] those that take a list apart beside its row,
//! [`series`] those that give rows anywhere;
//! [`procedures`] and [`vectors`] are types of columns that the engine does not have, [`order`] what it cannot sort by, [`merged`] columns of `USING`;
//! [`empty`] leaves out what is read from catalogs that are always empty here; [`columns`] gives the columns of an answer the
//! names that PostgreSQL gives them; [`functions`] has the functions that its clients call. Everything works on the parsed
//! statement, but for what takes types to understand: [`parameters`] that it casts, and [`unknown`] texts beside what is none.
//! [`forms`] are about times ([`interval`], [`moment`], [`zone`]) and patterns ([`like`], [`pattern`]); [`array`] reads lists.
//! The catalogs themselves are tables of [`crate::system`].

mod array;
mod ast;
mod calls;
mod columns;
mod compare;
mod empty;
mod forms;
mod from;
mod functions;
mod interval;
mod like;
mod lists;
mod merged;
mod moment;
mod order;
mod parameters;
mod path;
mod pattern;
mod procedures;
mod rewrite;
mod series;
mod shows;
mod unknown;
mod vectors;
mod within;
mod zone;

pub use array::array_items;
pub(crate) use functions::shared;
pub use interval::Interval;
pub use moment::{Moment, out_of_range};
pub(crate) use shows::complete_asked;

use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::Statement;

use crate::{
    Error, Session, dialect, fault,
    planner::{self, Sources},
    session::Planned,
};
use parameters::Written;

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

/// The key under which the field of a parameter has the name of its type, where the engine reads that type as a text.
pub const NAMED_TYPE: &str = "postgres.type";

/// A statement as the engine has it.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) statement: Statement,
    /// What its answer may be kept by; `None` where it tells of the connection.
    pub(crate) text: Option<String>,
    /// Parameters that the text has at least: some may stand where nothing is planned.
    pub(crate) parameters: usize,
}

/// Parses a statement and puts it as the engine has it.
///
/// # Errors
/// [`Error::Invalid`] for what cannot be parsed, [`Error::Catalog`].
pub(crate) async fn read(session: &Session, own: &Postgres, sql: &str) -> Result<Parsed, Error> {
    let statement = dialect::parse(sql)?;
    let parameters = Written::of(&statement).count;
    let mut statement = shows::place(session, own, statement).await?;
    path::complete(session, own, &mut statement).await?;
    columns::name(&mut statement, own);
    let is_lasting = rewrite::rewrite(&mut statement, own);
    // Names of an answer's columns are another dialect's, and what a name means is the path's.
    let text = is_lasting.then(|| format!("{sql}\0{}\0{:?}", own.database, own.parameters));
    Ok(Parsed { statement, text, parameters })
}

/// The fields of parameters, with the names of types that clients know and the engine reads as texts, where a statement casts
/// a parameter to one.
pub(crate) fn named(parameters: SchemaRef, sql: &str) -> SchemaRef {
    let lower = sql.to_lowercase();
    if !lower.contains('$') || !["uuid", "json"].iter().any(|name| lower.contains(name)) {
        return parameters;
    }
    let Ok(statement) = dialect::parse(sql) else { return parameters };
    let names = Written::of(&statement).spelled();
    let fields = parameters.fields().iter().enumerate().map(|(place, field)| {
        let name = names.get(place).copied().flatten();
        let key = name.map(|name| (NAMED_TYPE.to_owned(), name.to_owned()));
        field.as_ref().clone().with_metadata(key.into_iter().collect())
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Plans a statement whose names are resolved. A parameter is what the client declared, or what the statement says by itself.
///
/// # Errors
/// As [`planner::plan`].
pub(crate) fn plan(
    session: &Session,
    own: &Postgres,
    sources: &Sources,
    statement: Statement,
) -> Result<Planned, Error> {
    let mut state = session.state()?;
    functions::register(session, own, &mut state)?;
    let told = Written::of(&statement).told(own, &state);
    let plan = planner::plan_typed(&state, sources, statement, &told.fixed)?;
    let plan = unknown::fit(plan).map_err(|error| fault::planning(&error))?;
    let known = planner::parameters(&plan)?.into_iter().enumerate();
    let known = known.map(|(place, known)| known.or_else(|| told.otherwise.get(place).cloned().flatten()));
    let known = known.collect();
    session.passed_with(plan, state, known)
}
