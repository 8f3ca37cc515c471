//! Encoded chunks into history, and what waits for the current table.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow::datatypes::SchemaRef;
use futures::{Stream, TryStreamExt};
use mavis_catalog::Step;
use mavis_lake::{End, Writer};
use mavis_types::Counts;

use super::{
    Encoded, Shared, Staging, Target, advance,
    current::{Fresh, Together},
};
use crate::{
    context::{Running, UnitLine},
    failure::Failure,
    quarantine::Aside,
};

/// Warnings of validation that a run's log names.
const NAMED: usize = 10;

/// What gathers while a unit's chunks arrive.
#[derive(Debug)]
pub(crate) struct Landing {
    staging: Staging,
    gone: Vec<String>,
    pub(crate) counts: Counts,
    pub(crate) seen: HashSet<u128>,
    warnings: BTreeMap<String, u64>,
    /// Of ids that several rows have, what the first of them said.
    contents: HashMap<u128, [u8; 16]>,
    /// Ids whose rows do not say the same.
    pub(crate) differing: HashSet<u128>,
    aside: Aside,
    /// History's version that the unit stands on.
    before: i64,
    first: bool,
    /// Rows pushed to history.
    versions: u64,
}

impl Landing {
    /// The caller holds the lease of the history table.
    pub(crate) async fn new(running: &Running, target: &Target, shared: &Shared) -> Result<Self, Failure> {
        Ok(Self {
            staging: Staging::default(),
            gone: Vec::new(),
            counts: Counts::default(),
            seen: HashSet::new(),
            warnings: BTreeMap::new(),
            contents: HashMap::new(),
            differing: HashSet::new(),
            aside: Aside::new(running, target.current.id, Step::ToFhir).await?,
            before: running.lake().version(target.history.id).await?,
            first: shared.state.is_empty(),
            versions: 0,
        })
    }

    /// Pushes one chunk.
    pub(crate) async fn put(
        &mut self,
        running: &Running,
        writer: &mut Writer,
        encoded: Encoded,
    ) -> Result<(), Failure> {
        self.counts += encoded.counts;
        self.seen.extend(encoded.seen);
        for (warning, count) in encoded.warnings {
            *self.warnings.entry(warning).or_insert(0) += count;
        }
        for (id, content) in encoded.contents {
            if *self.contents.entry(id).or_insert(content) != content {
                self.differing.insert(id);
            }
        }
        for rejected in encoded.rejected {
            self.aside.put(running, writer, rejected).await?;
        }
        if let Some(history) = encoded.history {
            self.versions += history.num_rows() as u64;
            writer.push(&history).await?;
        }
        if let Some(current) = encoded.current {
            self.staging.put(current)?;
        }
        self.gone.extend(encoded.gone);
        Ok(())
    }

    /// Pushes chunks as they come.
    pub(crate) async fn pour(
        &mut self,
        running: &Running,
        writer: &mut Writer,
        line: &mut UnitLine,
        chunks: impl Stream<Item = Result<Encoded, Failure>>,
    ) -> Result<(), Failure> {
        let mut chunks = std::pin::pin!(chunks);
        while let Some(encoded) = chunks.try_next().await? {
            running.check()?;
            self.put(running, writer, encoded).await?;
            line.progress(self.counts).await;
        }
        Ok(())
    }

    /// Commits history, then brings the current table up to it.
    pub(crate) async fn commit(
        self,
        running: &Running,
        target: &Target,
        writer: Writer,
        end: End,
        columns: SchemaRef,
    ) -> Result<(Counts, Together), Failure> {
        let name = target.current.name.to_string();
        if !self.counts.balances() {
            writer.abandon().await;
            return Err(Failure::Permanent(format!(
                "counts of `{name}` do not add up ({:?}); nothing was committed",
                self.counts
            )));
        }
        let committed = writer.finish(end).await?;
        if committed.counts.inserted != self.versions {
            return Err(Failure::Permanent(format!(
                "history of `{name}`: {} versions were made and {} were stored",
                self.versions, committed.counts.inserted
            )));
        }
        let fresh = Fresh {
            batches: self.staging,
            gone: self.gone,
            before: self.before,
            after: committed.version,
            first: self.first,
            columns,
        };
        let together = Box::pin(advance(running, target, Some(fresh))).await?;
        self.aside.report(running, &name).await;
        let mut warnings: Vec<(&String, &u64)> = self.warnings.iter().collect();
        warnings.sort_by_key(|(warning, count)| (std::cmp::Reverse(**count), (*warning).clone()));
        for (warning, count) in warnings.iter().take(NAMED) {
            running.warn(format!("`{name}`: {count} x {warning} (kept)")).await;
        }
        if warnings.len() > NAMED {
            running.warn(format!("`{name}`: {} other kinds of warnings", warnings.len() - NAMED)).await;
        }
        Ok((self.counts, together))
    }
}
