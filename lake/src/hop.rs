//! From one table to the next: the change feed of the input since the last hop, or the whole input to compare.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::{catalog::TableProvider, logical_expr::lit};
use mavis_types::{RunId, TableId};

use crate::{
    AppId, Error, Lake, WriteMode, Writer,
    changes::last_changes,
    history::rows_changed,
    scan::row_count,
    table::version_of,
    unit::{Kind, Work},
    write::{Missing, Writing},
};

/// Name of the boolean column that a hop's input has after the table's own: true where the row is gone. A table that has
/// a column of this name itself (a history with tombstones) keeps it as data, and gets no second one.
pub const DELETED: &str = "__deleted";

/// A unit whose transaction version is the input's Delta version.
#[derive(Debug)]
pub struct Hop {
    work: Box<Work>,
    input: HopInput,
}

/// What the output has not seen yet.
#[derive(Debug, Clone)]
pub enum HopInput {
    /// The output is up to date.
    Nothing,
    /// The last change of each key in `(from, to]`: the input's columns as of the change, and [`DELETED`]. No rows where
    /// the input was only rearranged; writing nothing then moves the hop on.
    Changes { rows: Arc<dyn TableProvider>, from: i64, to: i64 },
    /// All rows at version `to` (and [`DELETED`], false), to be compared by key and hash: a first hop, a new rule, a feed
    /// that is gone, or an output without a key, in which changes cannot find their rows.
    Whole { rows: Arc<dyn TableProvider>, to: i64 },
}

pub(crate) async fn begin(lake: &Lake, input: TableId, output: TableId, rule: &str, run: RunId) -> Result<Hop, Error> {
    let source = lake.opened(input).await?;
    let mut work = Box::new(Work::begin(lake, output, AppId::hop(input, rule), run, Kind::Hop).await?);
    // The input is read after the lease was taken: a hop that waited sees what came meanwhile.
    let table = source.newest().await?;
    let to = version_of(&table)?;
    work.sequence = to;
    let changes = match work.previous {
        Some(from) if from == to => return Ok(Hop { work, input: HopInput::Nothing }),
        Some(from) if from < to && !work.table.key.is_empty() => {
            let key = lake.catalog().table_by_id(input).await?.key;
            let rows = last_changes(lake, (&table, &source.name, &source.location), &key, from, to).await?;
            rows.map(|rows| HopInput::Changes { rows, from, to })
        }
        _ => None,
    };
    let input = match changes {
        Some(changes) => changes,
        None => HopInput::Whole { rows: whole(lake, input, to).await?, to },
    };
    Ok(Hop { work, input })
}

/// The right to write the output while the input's next version is still being written, by whoever holds the input's
/// lease: both are staged side by side, and committed one after the other. The rows must be exactly what that version
/// changes; [`Writer::finish_at`] tells which one it came to be. Where it did not come to be, the writer is abandoned.
#[derive(Debug)]
pub struct Ahead {
    work: Box<Work>,
}

impl Ahead {
    /// Starts writing: rows pushed replace those of their key, rows with [`DELETED`] true delete it.
    ///
    /// # Errors
    /// As [`crate::Unit::write`].
    pub async fn write(self, schema: SchemaRef) -> Result<Writer, Error> {
        let writing = Box::pin(Writing::start(*self.work, WriteMode::Upsert, &schema, Missing::IfWhole, None)).await?;
        Ok(Writer { writing: Box::new(writing) })
    }
}

/// `None` where the output lacks something of the input as it is.
pub(crate) async fn ahead(
    lake: &Lake,
    input: TableId,
    output: TableId,
    rule: &str,
    run: RunId,
) -> Result<Option<Ahead>, Error> {
    let source = lake.opened(input).await?;
    let work = Box::new(Work::begin(lake, output, AppId::hop(input, rule), run, Kind::Hop).await?);
    let even = async {
        let table = source.newest().await?;
        let empty = || Ok::<_, Error>(row_count(&table)? == Some(0) && work.base_rows()? == Some(0));
        match work.previous {
            // Files that were put together bring nothing.
            Some(previous) => Ok(!rows_changed(&table, previous, version_of(&table)?).await?),
            None => empty(),
        }
    };
    match even.await {
        Ok(true) => Ok(Some(Ahead { work })),
        Ok(false) => {
            work.hold.release().await;
            Ok(None)
        }
        Err(error) => {
            work.hold.release().await;
            Err(error)
        }
    }
}

/// Versions of both tables that belong together; `None` where the output lacks something of the input. Nobody is waited
/// for.
pub(crate) async fn even(
    lake: &Lake,
    input: TableId,
    output: TableId,
    rule: &str,
) -> Result<Option<(i64, i64)>, Error> {
    let source = lake.opened(input).await?.newest().await?;
    let from = version_of(&source)?;
    let table = lake.opened(output).await?.newest().await?;
    let app = AppId::hop(input, rule);
    let reached = table.snapshot()?.transaction_version(&table.log_store(), app.as_str()).await?;
    let even = match reached {
        // What was committed to the input since it was looked at is not asked for.
        Some(reached) if reached <= from => !rows_changed(&source, reached, from).await?,
        _ => false,
    };
    Ok(even.then_some((from, version_of(&table)?)))
}

async fn whole(lake: &Lake, input: TableId, version: i64) -> Result<Arc<dyn TableProvider>, Error> {
    let rows = lake.provider(input, Some(version)).await?;
    if rows.schema().field_with_name(DELETED).is_ok() {
        return Ok(rows);
    }
    Ok(lake.sessions().internal().read_table(rows)?.with_column(DELETED, lit(false))?.into_view())
}

impl Hop {
    #[must_use]
    pub fn input(&self) -> &HopInput {
        &self.input
    }

    /// Starts writing the output, with its key. Rows pushed replace those of their key; rows with [`DELETED`] true delete
    /// it (they need only the key, and do not count as read). For [`HopInput::Whole`], output rows of this input that were
    /// not pushed are deleted whatever [`crate::End::whole`] says: those for which the SQL condition `owned` over the
    /// output holds (`None`: all). Names in the condition are taken as they are written.
    ///
    /// # Errors
    /// As [`crate::Unit::write`].
    pub async fn write(self, schema: SchemaRef, owned: Option<&str>) -> Result<Writer, Error> {
        let schema: &Schema = &schema;
        let writing = match self.input {
            HopInput::Whole { .. } => {
                Box::pin(Writing::start(*self.work, WriteMode::Snapshot, schema, Missing::Delete, owned)).await?
            }
            HopInput::Nothing | HopInput::Changes { .. } => {
                Box::pin(Writing::start(*self.work, WriteMode::Upsert, schema, Missing::IfWhole, None)).await?
            }
        };
        Ok(Writer { writing: Box::new(writing) })
    }

    /// Gives the lease back without writing.
    pub async fn abandon(self) {
        self.work.hold.release().await;
    }
}
