//! Rows as the log writes them become what COPY would have sent.
//!
//! Most values are their type's own text. Where a column travels as an expression (an array as JSON, an address with its
//! mask), PostgreSQL itself is asked to apply the same expression to the text from the log.

use bytes::Bytes;
use sqlx::{PgConnection, Row};

use crate::{
    Error, Stage,
    postgres::{Inner, copy::Misfit, describe::Described, session, text, types::quote},
};

/// Rows that are put before the server at once.
const ASKED: usize = 5_000;

/// One row in text, by column.
pub(super) type TextRow = Vec<Option<Bytes>>;
/// One row in the form of the wire, or why it is none.
pub(super) type WireRow = Result<Vec<Option<Vec<u8>>>, Misfit>;

/// A session for questions, opened when the first one is asked.
#[derive(Debug, Default)]
pub(super) struct Asking(Option<PgConnection>);

impl Asking {
    pub(super) async fn connection(&mut self, inner: &Inner) -> Result<&mut PgConnection, Error> {
        match &mut self.0 {
            Some(connection) => Ok(connection),
            none => Ok(none.insert(session::plain(inner).await?)),
        }
    }
}

/// Puts rows of these columns into the form of the wire.
pub(super) async fn to_wire(
    inner: &Inner,
    asking: &mut Asking,
    columns: &[&Described],
    mut rows: Vec<TextRow>,
) -> Result<Vec<WireRow>, Error> {
    let relayed: Vec<usize> = (0..columns.len()).filter(|at| columns[*at].travel.relay).collect();
    if !relayed.is_empty() {
        for part in rows.chunks_mut(ASKED) {
            relay(inner, asking, columns, &relayed, part).await?;
        }
    }
    Ok(rows
        .into_iter()
        .map(|row| {
            row.iter()
                .zip(columns)
                .enumerate()
                .map(|(field, (value, column))| match value {
                    None => Ok(None),
                    Some(value) => {
                        text::to_wire(column.travel.wire, value).map(Some).map_err(|what| Misfit { field, what })
                    }
                })
                .collect()
        })
        .collect())
}

async fn relay(
    inner: &Inner,
    asking: &mut Asking,
    columns: &[&Described],
    relayed: &[usize],
    rows: &mut [TextRow],
) -> Result<(), Error> {
    let broken = |error: sqlx::Error| session::refused(inner, Stage::Read, &error);
    let statement = statement(columns, relayed);
    let mut query = sqlx::query(sqlx::AssertSqlSafe(statement));
    for at in relayed {
        let values: Vec<Option<String>> =
            rows.iter().map(|row| row[*at].as_ref().map(|value| String::from_utf8_lossy(value).into_owned())).collect();
        query = query.bind(values);
    }
    let answers = query.fetch_all(asking.connection(inner).await?).await.map_err(broken)?;
    for (row, answer) in rows.iter_mut().zip(&answers) {
        for (number, at) in relayed.iter().enumerate() {
            row[*at] = answer.try_get::<Option<String>, _>(number).map_err(broken)?.map(Bytes::from);
        }
    }
    Ok(())
}

fn statement(columns: &[&Described], relayed: &[usize]) -> String {
    let list = |each: &dyn Fn(usize, &Described) -> String| {
        relayed.iter().enumerate().map(|(n, at)| each(n, columns[*at])).collect::<Vec<_>>().join(", ")
    };
    format!(
        "SELECT {} FROM (SELECT __n, {} FROM unnest({}) WITH ORDINALITY AS u({}, __n)) AS t ORDER BY __n",
        list(&|_, column| format!("({})::text", column.travel.expression)),
        list(&|n, column| format!("__{n}::{} AS {}", column.column.source_type, quote(&column.column.name))),
        list(&|n, _| format!("${}::text[]", n + 1)),
        list(&|n, _| format!("__{n}")),
    )
}
