//! Whether there is anything to read, asked without reading it.

use mavis_types::Cursor;
use sqlx::PgConnection;

use super::{
    Inner, describe,
    read::{self, Order},
    session,
    types::quote,
    xmin::Since,
};
use crate::{Error, ReadRequest, Stage, TableRef};

/// `None` for a table that is always read whole.
pub(super) async fn changed(inner: &Inner, table: &TableRef, from: &Cursor) -> Result<Option<bool>, Error> {
    let cursor = inner.cursor_column(table);
    if cursor.is_none() && !inner.by_xmin(table) {
        return Ok(None);
    }
    let mut connection = session::open(inner, Some(table)).await?;
    let answer = ask(inner, &mut connection, table, cursor, from).await;
    read::close(connection).await;
    answer
}

async fn ask(
    inner: &Inner,
    connection: &mut PgConnection,
    table: &TableRef,
    cursor: Option<&str>,
    from: &Cursor,
) -> Result<Option<bool>, Error> {
    let request = ReadRequest { from: Some(from.clone()), ..ReadRequest::whole(table.clone()) };
    let condition = match cursor {
        Some(cursor) => {
            let columns = describe::table(inner, connection, table).await?;
            Order::new(inner, connection, &columns, cursor, &request).await?.condition()
        }
        None => match Since::new(inner, connection, &request).await? {
            Some(since) => since.condition(),
            None => return Ok(None),
        },
    };
    let (schema, name) = (quote(inner.schema_of(table)), quote(&table.name));
    let question = format!("SELECT EXISTS (SELECT 1 FROM {schema}.{name} AS t {condition})");
    sqlx::query_scalar(sqlx::AssertSqlSafe(question))
        .fetch_one(connection)
        .await
        .map(Some)
        .map_err(|error| session::refused(inner, Stage::Read, &error))
}
