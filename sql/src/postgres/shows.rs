//! `SHOW` and `DESCRIBE` of a connection: what they name without a database is looked for in its own first.

use datafusion::sql::sqlparser::ast::{Ident, ObjectName, ObjectNamePart, Statement};

use super::{
    Postgres,
    path::{look_up, put_whole},
};
use crate::{
    Error, Home, Session,
    dialect::at_home,
    names::TableKey,
    told::{Asked, Told},
};

/// Completes the name of the table, or the schema, that is asked about.
///
/// # Errors
/// [`Error::Catalog`].
pub(crate) async fn complete_asked(session: &Session, own: &Postgres, asked: &mut Asked) -> Result<(), Error> {
    let table = match asked {
        Asked::Partitions(table)
        | Asked::Told(
            Told::Columns { table, .. }
            | Told::Describe { table, .. }
            | Told::History { table, .. }
            | Told::Properties { table, .. }
            | Told::CreateTable(table),
        ) => table,
        Asked::Told(Told::Database(schema)) => return place_schema(session, own, schema).await,
        Asked::Told(Told::Functions { .. } | Told::Function(_)) => return Ok(()),
    };
    if let Ok(key) = TableKey::read(table, None)
        && let Some(found) = look_up(session, own, &key.parts).await?
    {
        put_whole(table, &found);
    }
    Ok(())
}

/// Puts the connection's database in the place that `SHOW TABLES` leaves out, and before a schema that it has.
///
/// # Errors
/// [`Error::Catalog`].
pub(super) async fn place(session: &Session, own: &Postgres, mut statement: Statement) -> Result<Statement, Error> {
    if let Statement::ShowTables { show_options, .. } | Statement::ShowViews { show_options, .. } = &mut statement
        && let Some(schema) = show_options.show_in.as_mut().and_then(|place| place.parent_name.as_mut())
    {
        place_schema(session, own, schema).await?;
    }
    let home = Home { catalog: Some(own.database.clone()), schema: None };
    Ok(at_home(statement, &home))
}

async fn place_schema(session: &Session, own: &Postgres, schema: &mut ObjectName) -> Result<(), Error> {
    let parts = TableKey::read(schema, None).map(|key| key.parts).unwrap_or_default();
    if let [only] = parts.as_slice()
        && session.sees_schema(&own.database, only).await?
    {
        schema.0.insert(0, ObjectNamePart::Identifier(Ident::with_quote('"', &own.database)));
    }
    Ok(())
}
