//! A big table read by several connections, each a range of pages at a time, all in one snapshot.
//!
//! The ranges come out in the order of the pages, as from one connection; each is held whole until its turn, and as many are
//! under way as there are connections. Below PostgreSQL 14 a range of pages cannot be looked up, so that one connection reads.

use std::sync::Arc;

use futures::{StreamExt, stream};
use sqlx::{PgConnection, Row};
use tokio::sync::{Mutex, mpsc};

use super::{
    Inner,
    pace::Pace,
    read::{Out, Reading, Sender, close, send},
    session,
    types::literal,
};
use crate::{Error, ReadRequest, Stage};

/// Pages of a range: about what a batch holds.
const PAGES: i64 = 2048;
/// Tables below so many ranges are read by one connection.
const WORTH: usize = 4;

/// Pages from `first` on, up to the next range.
#[derive(Debug, Clone)]
pub(super) struct Range {
    pub(super) first: i64,
    end: Option<i64>,
}

impl Range {
    pub(super) fn condition(&self) -> String {
        let from = format!("WHERE t.ctid >= '({},0)'", self.first);
        match self.end {
            Some(end) => format!("{from} AND t.ctid < '({end},0)'"),
            None => from,
        }
    }
}

/// The ranges of a table that is worth it; none where one connection reads.
pub(super) async fn ranges(
    inner: &Inner,
    connection: &mut PgConnection,
    request: &ReadRequest,
) -> Result<Vec<Range>, Error> {
    if inner.params.parallel < 2 {
        return Ok(Vec::new());
    }
    let broken = |error: sqlx::Error| session::refused(inner, Stage::Read, &error);
    let row = sqlx::query(
        "SELECT current_setting('server_version_num')::int4 AS version,
                pg_relation_size(c.oid) / current_setting('block_size')::int8 AS pages
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'm')",
    )
    .bind(inner.schema_of(&request.table))
    .bind(&request.table.name)
    .fetch_optional(connection)
    .await
    .map_err(broken)?;
    let Some(row) = row else { return Ok(Vec::new()) };
    let version: i32 = row.try_get("version").map_err(broken)?;
    let pages: i64 = row.try_get("pages").map_err(broken)?;
    let mut ranges = Vec::new();
    let mut first = 0;
    while version >= 140_000 && first < pages {
        let end = first + PAGES;
        // Pages that come after the snapshot hold nothing that it sees; the last range has no end all the same.
        ranges.push(Range { first, end: (end < pages).then_some(end) });
        first = end;
    }
    Ok(if ranges.len() < WORTH { Vec::new() } else { ranges })
}

/// Reads the ranges; `connection` holds the snapshot.
pub(super) async fn run(
    reading: &Arc<Reading>,
    connection: &mut PgConnection,
    ranges: Vec<Range>,
    sender: &Sender,
) -> Result<(), Error> {
    let inner = &reading.inner;
    let broken = |error: sqlx::Error| session::refused(inner, Stage::Read, &error);
    let snapshot: String =
        sqlx::query_scalar("SELECT pg_export_snapshot()").fetch_one(&mut *connection).await.map_err(broken)?;
    let readers = usize::from(inner.params.parallel).min(ranges.len());
    let (give, take) = mpsc::channel(readers);
    for _ in 0..readers {
        let mut one = session::plain(inner).await?;
        let begin = format!(
            "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET TRANSACTION SNAPSHOT {}",
            literal(&snapshot)
        );
        sqlx::Executor::execute(&mut one, sqlx::AssertSqlSafe(begin)).await.map_err(broken)?;
        if give.send(one).await.is_err() {
            break;
        }
    }
    let take = Arc::new(Mutex::new(take));
    let pace = Arc::new(Pace::new(&inner.params));
    let mut parts = stream::iter(ranges)
        .map(|range| {
            let (reading, give, take, pace) = (Arc::clone(reading), give.clone(), Arc::clone(&take), Arc::clone(&pace));
            Aborted(tokio::spawn(async move {
                let one = take.lock().await.recv().await;
                let Some(mut one) = one else { return Ok(Vec::new()) };
                let mut items = Vec::new();
                reading.copy(&mut one, Some(&range), &pace, &mut Out::Later(&mut items)).await?;
                // The last ones find nobody who takes it.
                drop(give.send(one).await);
                Ok::<_, Error>(items)
            }))
        })
        .buffered(readers);
    while let Some(part) = parts.next().await {
        let items = part.map_err(|error| Error::Interrupted {
            place: reading.request.table.to_string(),
            reason: format!("a part of the reading ended early: {error}"),
        })??;
        for item in items {
            send(sender, item).await;
        }
    }
    drop(parts);
    let mut take = take.lock().await;
    while let Ok(one) = take.try_recv() {
        close(one).await;
    }
    Ok(())
}

/// A task that ends with whoever waits for it.
struct Aborted<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Aborted<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> Future for Aborted<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(context)
    }
}
