//! The two backends behind one door: the same statement texts, the same arguments, the same rows.
//!
//! Texts use `$1` arguments (SQLite knows them too) and two words that differ: `NOW_MICROS`, the database's own clock in
//! microseconds since 1970, and `LIKE_CASED`, a `LIKE` that tells `a` from `A` (see [`Engine::pattern`]).

use std::{borrow::Cow, sync::Arc, time::Duration};

use sqlx::{AssertSqlSafe, PgPool, Postgres, SqlSafeStr, SqlStr, Sqlite, SqlitePool, Transaction};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::{
    Error,
    value::{Row, Value, bind_postgres, bind_sqlite},
};

/// How long a statement waits for another process's write on SQLite.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// What a commit promises when it returns. A crash of the process loses neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// On disk: survives a loss of power.
    Disk,
    /// With the operating system: a loss of power may take the last moments of it. For logs and progress only.
    System,
}

#[derive(Debug, Clone)]
pub(crate) enum Engine {
    Sqlite(SqliteEngine),
    Postgres(PgPool),
}

/// SQLite lets one connection write at a time. Writers take turns here, in order, so that none of them meets the
/// database's own lock, which is unfair and gives up; other processes are waited for ([`BUSY_TIMEOUT`]).
#[derive(Debug, Clone)]
pub(crate) struct SqliteEngine {
    pub(crate) readers: SqlitePool,
    /// One connection with `synchronous = FULL`.
    pub(crate) disk: SqlitePool,
    /// One connection with `synchronous = NORMAL`.
    pub(crate) system: SqlitePool,
    pub(crate) turn: Arc<Mutex<()>>,
}

impl SqliteEngine {
    fn writer(&self, durability: Durability) -> &SqlitePool {
        match durability {
            Durability::Disk => &self.disk,
            Durability::System => &self.system,
        }
    }
}

const SQLITE_NOW: &str = "(CAST(ROUND(unixepoch('subsec') * 1000) AS INTEGER) * 1000)";
const POSTGRES_NOW: &str = "(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT";

impl Engine {
    fn text(&self, sql: Cow<'static, str>) -> SqlStr {
        if !sql.contains("NOW_MICROS") && !sql.contains("LIKE_CASED") {
            return AssertSqlSafe(sql).into_sql_str();
        }
        let (now, like) = match self {
            Self::Sqlite(_) => (SQLITE_NOW, "GLOB"),
            Self::Postgres(_) => (POSTGRES_NOW, "LIKE"),
        };
        AssertSqlSafe(sql.replace("NOW_MICROS", now).replace("LIKE_CASED", like)).into_sql_str()
    }

    /// The argument of `LIKE_CASED` for a `LIKE` pattern (`%`, `_`, `\` before a character that stands for itself).
    pub(crate) fn pattern(&self, like: &str) -> String {
        match self {
            Self::Sqlite(_) => glob_of_like(like),
            Self::Postgres(_) => like_of_like(like),
        }
    }

    /// Reads.
    pub(crate) async fn all(&self, sql: impl Into<Cow<'static, str>>, args: Vec<Value>) -> Result<Vec<Row>, Error> {
        let sql = self.text(sql.into());
        match self {
            Self::Sqlite(engine) => {
                let rows = bind_sqlite(sqlx::query(sql), args).fetch_all(&engine.readers).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            Self::Postgres(pool) => {
                let rows = bind_postgres(sqlx::query(sql), args).fetch_all(pool).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    pub(crate) async fn one(&self, sql: impl Into<Cow<'static, str>>, args: Vec<Value>) -> Result<Option<Row>, Error> {
        Ok(self.all(sql, args).await?.pop())
    }

    /// One statement that writes, a transaction of its own; rows are those of its `RETURNING`.
    ///
    /// Rows are always read to the end: SQLite commits a statement only when it has finished.
    pub(crate) async fn write(
        &self,
        durability: Durability,
        sql: impl Into<Cow<'static, str>>,
        args: Vec<Value>,
    ) -> Result<Vec<Row>, Error> {
        let sql = self.text(sql.into());
        match self {
            Self::Sqlite(engine) => {
                let _turn = engine.turn.lock().await;
                let rows = bind_sqlite(sqlx::query(sql), args).fetch_all(engine.writer(durability)).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            Self::Postgres(pool) => {
                let rows = bind_postgres(sqlx::query(sql), args).fetch_all(pool).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    /// Begins a transaction that writes: on SQLite it holds the write lock from the start, on PostgreSQL each statement
    /// sees what was committed before it (READ COMMITTED), so the first statement locks the row that serialises.
    pub(crate) async fn begin(&self, durability: Durability) -> Result<Tx<'_>, Error> {
        match self {
            Self::Sqlite(engine) => {
                let turn = Arc::clone(&engine.turn).lock_owned().await;
                let tx = engine.writer(durability).begin_with("BEGIN IMMEDIATE").await?;
                Ok(Tx { engine: self, inner: TxInner::Sqlite(tx, turn) })
            }
            Self::Postgres(pool) => Ok(Tx { engine: self, inner: TxInner::Postgres(pool.begin().await?) }),
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(engine) => {
                engine.readers.close().await;
                engine.system.close().await;
                engine.disk.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }

    /// Whether the database answers.
    pub(crate) async fn ping(&self) -> Result<(), Error> {
        self.all("SELECT 1 AS one", Vec::new()).await.map(|_| ())
    }
}

/// A transaction; it is rolled back unless it is committed.
#[derive(Debug)]
pub(crate) struct Tx<'a> {
    engine: &'a Engine,
    inner: TxInner,
}

#[derive(Debug)]
enum TxInner {
    Sqlite(Transaction<'static, Sqlite>, OwnedMutexGuard<()>),
    Postgres(Transaction<'static, Postgres>),
}

impl Tx<'_> {
    pub(crate) async fn all(&mut self, sql: impl Into<Cow<'static, str>>, args: Vec<Value>) -> Result<Vec<Row>, Error> {
        let sql = self.engine.text(sql.into());
        match &mut self.inner {
            TxInner::Sqlite(tx, _) => {
                let rows = bind_sqlite(sqlx::query(sql), args).fetch_all(&mut **tx).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            TxInner::Postgres(tx) => {
                let rows = bind_postgres(sqlx::query(sql), args).fetch_all(&mut **tx).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    pub(crate) async fn one(
        &mut self,
        sql: impl Into<Cow<'static, str>>,
        args: Vec<Value>,
    ) -> Result<Option<Row>, Error> {
        Ok(self.all(sql, args).await?.pop())
    }

    /// Several statements without arguments.
    pub(crate) async fn script(&mut self, sql: impl Into<Cow<'static, str>>) -> Result<(), Error> {
        let sql = self.engine.text(sql.into());
        match &mut self.inner {
            TxInner::Sqlite(tx, _) => sqlx::raw_sql(sql).execute(&mut **tx).await.map(|_| ())?,
            TxInner::Postgres(tx) => sqlx::raw_sql(sql).execute(&mut **tx).await.map(|_| ())?,
        }
        Ok(())
    }

    /// Inserts many rows, a few hundred to a statement: `head` ends before `VALUES`, `tail` begins after the rows.
    pub(crate) async fn insert_many(&mut self, head: &str, tail: &str, rows: Vec<Vec<Value>>) -> Result<(), Error> {
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let mut sql = format!("{head} VALUES ");
            let mut args: Vec<Value> = Vec::new();
            for (index, row) in rows.by_ref().take(200).enumerate() {
                let places: Vec<String> = (1..=row.len()).map(|n| format!("${}", args.len() + n)).collect();
                sql.push_str(if index == 0 { "(" } else { ", (" });
                sql.push_str(&places.join(", "));
                sql.push(')');
                args.extend(row);
            }
            sql.push(' ');
            sql.push_str(tail);
            self.all(sql, args).await?;
        }
        Ok(())
    }

    /// Raises a counter by `by` and returns its new value. The counter stays locked until the end of the transaction.
    pub(crate) async fn count(&mut self, counter: &'static str, by: i64) -> Result<i64, Error> {
        self.one(
            "UPDATE counters SET value = value + $2 WHERE name = $1 RETURNING value",
            vec![Value::from(counter), Value::from(by)],
        )
        .await?
        .ok_or(Error::Corrupt { place: "counters.name" })?
        .int("counters.value")
    }

    /// The database's clock, in microseconds since 1970.
    pub(crate) async fn now(&mut self) -> Result<i64, Error> {
        self.one("SELECT NOW_MICROS AS now", Vec::new()).await?.ok_or(Error::Corrupt { place: "now" })?.int("now")
    }

    pub(crate) async fn commit(self) -> Result<(), Error> {
        match self.inner {
            TxInner::Sqlite(tx, turn) => {
                tx.commit().await?;
                drop(turn);
            }
            TxInner::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }
}

fn glob_of_like(like: &str) -> String {
    let mut glob = String::with_capacity(like.len());
    for part in parts_of_like(like) {
        match part {
            LikePart::Many => glob.push('*'),
            LikePart::One => glob.push('?'),
            LikePart::Is(c @ ('*' | '?' | '[')) => {
                glob.push('[');
                glob.push(c);
                glob.push(']');
            }
            LikePart::Is(c) => glob.push(c),
        }
    }
    glob
}

/// The pattern again, with an escape at its very end made a character (PostgreSQL refuses it otherwise).
fn like_of_like(like: &str) -> String {
    let mut text = String::with_capacity(like.len());
    for part in parts_of_like(like) {
        match part {
            LikePart::Many => text.push('%'),
            LikePart::One => text.push('_'),
            LikePart::Is(c @ ('%' | '_' | '\\')) => {
                text.push('\\');
                text.push(c);
            }
            LikePart::Is(c) => text.push(c),
        }
    }
    text
}

/// The characters that every match begins with, and whether they are the whole pattern.
pub(crate) fn prefix_of_like(like: &str) -> (String, bool) {
    let mut prefix = String::new();
    for part in parts_of_like(like) {
        match part {
            LikePart::Is(c) => prefix.push(c),
            LikePart::Many | LikePart::One => return (prefix, false),
        }
    }
    (prefix, true)
}

enum LikePart {
    Many,
    One,
    Is(char),
}

fn parts_of_like(like: &str) -> impl Iterator<Item = LikePart> {
    let mut chars = like.chars();
    std::iter::from_fn(move || {
        Some(match chars.next()? {
            '%' => LikePart::Many,
            '_' => LikePart::One,
            '\\' => LikePart::Is(chars.next().unwrap_or('\\')),
            c => LikePart::Is(c),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalog;

    #[tokio::test]
    async fn a_transaction_that_the_disk_has_no_room_for_is_told_and_the_next_one_goes_through() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&format!("sqlite://{}", folder.path().join("c.sqlite").display())).await.unwrap();
        let engine = &catalog.engine;
        engine.write(Durability::Disk, "CREATE TABLE filler (words TEXT)", Vec::new()).await.unwrap();
        // No more than there are.
        engine.write(Durability::Disk, "PRAGMA max_page_count = 1", Vec::new()).await.unwrap();
        let mut tx = engine.begin(Durability::Disk).await.unwrap();
        let mut told = None;
        for _ in 0..100 {
            let filled = tx.all("INSERT INTO filler VALUES (hex(randomblob(5000)))", Vec::new()).await;
            told = filled.err();
            if told.is_some() {
                break;
            }
        }
        assert!(matches!(told, Some(Error::Full)), "{told:?}");
        drop(tx);
        let mut tx = engine.begin(Durability::Disk).await.unwrap();
        tx.all("INSERT INTO filler VALUES ('x')", Vec::new()).await.unwrap();
        tx.commit().await.unwrap();
        let rows = engine.one("SELECT COUNT(*) AS n FROM filler", Vec::new()).await.unwrap().unwrap();
        assert_eq!(rows.int("n").unwrap(), 1, "nothing of the one that failed");
    }
}
