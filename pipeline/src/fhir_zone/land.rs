//! Encoded chunks into history, and what waits for the current table.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures::{Stream, TryStreamExt};
use mavis_lake::{End, Writer};
use mavis_types::{Counts, SourceId};

use super::{Current, Encoded, Target, current::Together};
use crate::{
    context::{Running, UnitLine},
    failure::Failure,
    quarantine::Aside,
};

/// Warnings of validation that a run's log names.
const NAMED: usize = 10;

/// Which waiting rows a unit has read again: they leave quarantine if they are not set aside once more.
#[derive(Debug, Default)]
pub(crate) enum Closes {
    #[default]
    Nothing,
    /// Those that would have become one of these resources ([`super::state::id_hash`]), or one that was accepted.
    Of(HashSet<u128>),
    /// All that came from these mappings or files, and those whose resource was accepted.
    From(HashSet<u128>),
}

/// What gathers while a unit's chunks arrive.
#[derive(Debug)]
pub(crate) struct Landing {
    current: Current,
    pub(crate) counts: Counts,
    pub(crate) seen: HashSet<u128>,
    warnings: BTreeMap<String, u64>,
    /// Of ids that several rows have, what the first of them said.
    contents: HashMap<u128, [u8; 16]>,
    /// Ids whose rows do not say the same.
    pub(crate) differing: HashSet<u128>,
    aside: Aside,
    closes: Closes,
    /// History's version that the unit stands on.
    before: i64,
    /// Rows pushed to history.
    versions: u64,
}

impl Landing {
    /// The caller holds the lease of the history table.
    pub(crate) async fn new(
        running: &Running,
        target: &Target,
        source: SourceId,
        from: fn(&str) -> &str,
        closes: Closes,
    ) -> Result<Self, Failure> {
        Ok(Self {
            current: Current::begin(running, target).await?,
            counts: Counts::default(),
            seen: HashSet::new(),
            warnings: BTreeMap::new(),
            contents: HashMap::new(),
            differing: HashSet::new(),
            aside: Aside::of_resources(running, target.current.id, source, from).await?,
            closes,
            before: running.lake().version(target.history.id).await?,
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
        for history in encoded.history {
            self.versions += history.num_rows() as u64;
            writer.push(&history).await?;
        }
        if let Some(current) = encoded.current {
            self.current.push(current).await?;
        }
        self.current.delete(&encoded.gone).await
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

    /// Whether there is anything to commit.
    pub(crate) fn has_news(&self) -> bool {
        self.versions > 0
    }

    /// Gives up.
    pub(crate) async fn abandon(self) {
        self.current.abandon().await;
    }

    /// Commits history, then the current table.
    pub(crate) async fn commit(
        mut self,
        running: &Running,
        target: &Target,
        writer: Writer,
        end: End,
    ) -> Result<(Counts, Together), Failure> {
        let name = target.current.name.to_string();
        if !self.counts.balances() {
            writer.abandon().await;
            self.current.abandon().await;
            return Err(Failure::Permanent(format!(
                "counts of `{name}` do not add up ({:?}); nothing was committed",
                self.counts
            )));
        }
        if let Err(failure) = self.current.open().await {
            writer.abandon().await;
            self.current.abandon().await;
            return Err(failure);
        }
        let committed = match writer.finish(end).await {
            Ok(committed) => committed,
            Err(error) => {
                self.current.abandon().await;
                return Err(error.into());
            }
        };
        if committed.counts.inserted != self.versions {
            self.current.abandon().await;
            return Err(Failure::Permanent(format!(
                "history of `{name}`: {} versions were made and {} were stored",
                self.versions, committed.counts.inserted
            )));
        }
        let together = if committed.version == self.before {
            // Its lease is still ours, so that the two versions cannot move apart.
            let current = running.lake().version(target.current.id).await?;
            self.current.abandon().await;
            Together { history: (target.history.id, self.before), current: (target.current.id, current) }
        } else {
            Box::pin(self.current.finish(target, committed.version)).await?
        };
        close(running, &self.aside, self.closes, &self.seen).await;
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

/// Rows that wait for a correction leave quarantine where it came: a failure to note that undoes nothing.
async fn close(running: &Running, aside: &Aside, closes: Closes, seen: &HashSet<u128>) {
    if !aside.waits() {
        return;
    }
    let closed = match closes {
        Closes::Nothing => return,
        Closes::Of(mut read) => {
            read.extend(seen);
            aside.close_of(running, &read).await
        }
        Closes::From(from) => aside.close_from(running, &from, seen).await,
    };
    if let Err(failure) = closed {
        running.warn(format!("rows that were corrected still stand in quarantine: {failure}")).await;
    }
}
