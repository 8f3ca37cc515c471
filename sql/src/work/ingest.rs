use std::{sync::Arc, time::Duration};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream::BoxStream};
use mavis_lake::work::{Doing, Finished, Kept};
use mavis_types::{RunId, TableName, Zone};

use super::{
    Executed,
    define::{derived, storable_name},
    rows::{broken, fill, finished},
    run::exists,
    statement::refused,
    target::{may_write, sees_all},
};
use crate::{Error, Limits, QueryStream, Session, fault};

/// What becomes of a table that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It is made, with the columns of the batches.
    Create,
    Fail,
}

/// What becomes of a table that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    Fail,
    /// The rows are added; columns are matched by name, those that the batches lack are null.
    Append,
    /// The rows and columns take the place of all that was there.
    Replace,
}

/// Where batches go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingest {
    /// `work`, which `None` means too.
    pub catalog: Option<String>,
    /// `None`: the caller's own.
    pub schema: Option<String>,
    pub table: String,
    pub missing: Missing,
    pub existing: Existing,
}

impl Session {
    /// Writes batches into a table of `work`, as they come, in one commit. `schema`: their columns; a name that Delta cannot
    /// hold is spelled as a source's would be.
    ///
    /// # Errors
    /// As [`Session::execute`]; the first error of `batches`, after which nothing was written; [`Error::Limit`] where none
    /// comes for as long as a query may take.
    pub fn ingest(
        &self,
        ingest: Ingest,
        schema: SchemaRef,
        batches: BoxStream<'static, Result<RecordBatch, Error>>,
        limits: Option<Limits>,
    ) -> BoxFuture<'_, Result<Executed, Error>> {
        async move {
            let patience = self.allowed(limits).limits.time;
            let name = self.ingested(&ingest)?;
            let target = name.to_string();
            let rows = QueryStream {
                id: uuid::Uuid::now_v7(),
                schema: Arc::clone(&schema),
                batches: patient(batches, patience),
            };
            let rows = match (self.find_target(&name).await?, ingest.existing) {
                (None, _) if ingest.missing == Missing::Fail => {
                    return Err(Error::NoSuchTable { table: target, hint: String::new() });
                }
                (None, existing) => {
                    let schema = derived(&schema)?;
                    let (making, count) = self.written_aside(&name, &schema, Some(rows)).await?;
                    let by = self.principal().name.clone();
                    // From here on it goes to its end, whether anybody waits for the answer or not.
                    let finishing = tokio::spawn(async move { making.finish_or_keep(None, &by).await });
                    match finishing.await.map_err(|_| broken())?? {
                        Finished::Made(_) => count,
                        // Somebody else made it while these rows came.
                        Finished::Taken(kept) => self.put_into(&name, kept, existing).await?,
                    }
                }
                (Some(_), Existing::Fail) => return Err(exists(&name)),
                (Some(table), _) if table.view.is_some() => {
                    return Err(refused(format!(
                        "`{name}` is a view: it has no rows of its own that could be written"
                    )));
                }
                (Some(_), Existing::Replace) => {
                    sees_all(self.principal(), &name)?;
                    let schema = derived(&schema)?;
                    self.make(&name, schema, Some(rows), true, false, None).await?.unwrap_or(0)
                }
                (Some(table), Existing::Append) => {
                    let mut change = self.lake().change(table.id, RunId::new()).await?;
                    let filled = match by_name(change.schema(), &schema, &name) {
                        Ok(from) => fill(&mut change, rows, Some(&from)).await,
                        Err(error) => Err(error),
                    };
                    finished(change, Doing::Insert, filled).await?
                }
            };
            Ok(Executed { command: "INGEST", target, rows })
        }
        .boxed()
    }

    /// Puts rows that were written for a new table into the one that has its name now, as if it had been there before.
    async fn put_into(&self, name: &TableName, kept: Kept, existing: Existing) -> Result<u64, Error> {
        let put = async {
            let table =
                self.find_target(name).await?.filter(|table| table.view.is_none()).ok_or_else(|| exists(name))?;
            let batches = kept.batches()?.map_err(Error::from).boxed();
            let schema = Arc::clone(kept.schema());
            let rows = QueryStream { id: uuid::Uuid::now_v7(), schema: Arc::clone(&schema), batches };
            match existing {
                Existing::Fail => Err(exists(name)),
                Existing::Append => {
                    let mut change = self.lake().change(table.id, RunId::new()).await?;
                    let filled = match by_name(change.schema(), &schema, name) {
                        Ok(from) => fill(&mut change, rows, Some(&from)).await,
                        Err(error) => Err(error),
                    };
                    finished(change, Doing::Insert, filled).await
                }
                Existing::Replace => {
                    sees_all(self.principal(), name)?;
                    let mut change = self.lake().change(table.id, RunId::new()).await?;
                    change.replace(&schema);
                    let filled = fill(&mut change, rows, None).await;
                    finished(change, Doing::Replace, filled).await
                }
            }
        };
        let put = Box::pin(put).await;
        kept.discard().await;
        put
    }

    fn ingested(&self, ingest: &Ingest) -> Result<TableName, Error> {
        if let Some(catalog) = ingest.catalog.as_deref().filter(|catalog| *catalog != Zone::Work.as_str()) {
            return Err(refused(format!("`{catalog}` is read-only: batches go into `work`")));
        }
        let schema = ingest.schema.as_ref().map_or_else(|| self.own_place(), |schema| schema.to_lowercase());
        let name = TableName::new(Zone::Work, schema, ingest.table.to_lowercase());
        may_write(self.principal(), &name)?;
        Ok(name)
    }
}

/// For each column of the table, which column of the batches it takes.
fn by_name(table: &SchemaRef, given: &SchemaRef, name: &TableName) -> Result<Vec<Option<usize>>, Error> {
    let mut from = vec![None; table.fields().len()];
    for (index, field) in given.fields().iter().enumerate() {
        let stored = storable_name(field.name());
        let exact = table.fields().iter().position(|own| *own.name() == stored);
        let same = |own: &String| own.to_lowercase() == stored.to_lowercase();
        let at = exact.or_else(|| table.fields().iter().position(|own| same(own.name())));
        let at = at.ok_or_else(|| fault::invalid(format!("table `{name}` has no column `{}`", field.name())))?;
        if from[at].replace(index).is_some() {
            return Err(fault::invalid(format!(
                "two columns of the rows are column `{}` of `{name}`",
                table.field(at).name()
            )));
        }
    }
    Ok(from)
}

/// Ends a stream whose next batch does not come.
fn patient(
    mut batches: BoxStream<'static, Result<RecordBatch, Error>>,
    patience: Duration,
) -> BoxStream<'static, Result<RecordBatch, Error>> {
    async_stream::stream! {
        loop {
            match tokio::time::timeout(patience, batches.next()).await {
                Ok(Some(batch)) => yield batch,
                Ok(None) => break,
                Err(_) => {
                    yield Err(Error::Limit {
                        limit: "time limit",
                        detail: "no rows came for too long; nothing was written".to_owned(),
                    });
                    break;
                }
            }
        }
    }
    .boxed()
}
