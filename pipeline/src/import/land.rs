//! An import from its files to the FHIR zone: both passes, and the commits.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
};

use futures::{FutureExt, Stream, StreamExt, TryStreamExt, future::BoxFuture};
use mavis_catalog::{Source, Step};
use mavis_fhir::ResourceType;
use mavis_lake::{AppId, End, Unit, WriteMode, Writer};
use mavis_types::{Counts, Cursor};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    document::{Piece, pieces},
    index::{Ids, Index, index},
    listing::{self, Read, file_hash, file_of},
    resolve::{Resolution, resolve},
    spool::{Spool, Spooled},
    work::Work,
};
use crate::{
    context::{Running, UnitLine},
    failure::Failure,
    fhir_zone::{Closes, Landing, Shared, State, Target, Touched, current::own_columns, target::history_schema},
    quarantine::Rejected,
    retry,
    write::{settle, unpromised},
};

/// Pieces that wait for a free core.
const AHEAD: usize = 2;
/// Types that are committed at once: a commit mostly waits for the disk.
const COMMITS: usize = 4;

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// Lands a run's files in the FHIR zone; `again`: those too that an earlier import has finished with.
pub(crate) async fn import(
    running: &Running,
    source: &Source,
    spool: &Spool,
    again: bool,
    touched: &mut Touched,
) -> Result<Counts, Failure> {
    let files = spool.set(running.id).await.map_err(|error| Failure::Permanent(error.to_string()))?;
    let touched = tokio::sync::Mutex::new(touched);
    retry::unit(running, "import", || async {
        let finished = if again { HashMap::new() } else { listing::finished(&running.context, &source.name).await? };
        let set = Set::new(source, spool, &files, &finished);
        Box::pin(settle(&running.context)).await?;
        Box::pin(set.land(running, &mut **touched.lock().await)).await
    })
    .await
}

/// The files of one import.
struct Set<'a> {
    source: &'a Source,
    files: &'a [Spooled],
    /// Numbers of the files that are landed, and of those that an earlier import has finished with.
    fresh: Arc<Vec<u32>>,
    finished: Arc<Vec<u32>>,
    paths: Arc<Vec<PathBuf>>,
    digests: Arc<Vec<String>>,
    ids: Ids,
}

/// One resource type being written.
struct Open {
    target: Target,
    writer: Writer,
    landing: Landing,
    line: UnitLine,
    shared: Arc<Shared>,
}

impl<'a> Set<'a> {
    fn new(source: &'a Source, spool: &Spool, files: &'a [Spooled], finished: &HashMap<String, String>) -> Self {
        let (finished, fresh): (Vec<_>, Vec<_>) =
            (0_u32..).zip(files).partition(|(_, file)| finished.get(&file.name) == Some(&file.digest));
        let numbers = |files: Vec<(u32, &Spooled)>| Arc::new(files.into_iter().map(|(number, _)| number).collect());
        Self {
            source,
            files,
            fresh: numbers(fresh),
            finished: numbers(finished),
            paths: Arc::new(files.iter().map(|file| spool.path(file)).collect()),
            digests: Arc::new(files.iter().map(|file| file.digest.clone()).collect()),
            ids: Ids { source: source.id, keep: source.authoritative },
        }
    }

    /// The pieces of these files, read by a thread of their own.
    fn pieces(&self, which: &Arc<Vec<u32>>) -> impl Stream<Item = Piece> + use<> {
        let (sender, receiver) = tokio::sync::mpsc::channel(AHEAD);
        let (paths, which) = (Arc::clone(&self.paths), Arc::clone(which));
        tokio::task::spawn_blocking(move || pieces(&paths, &which, &mut |piece| sender.blocking_send(piece).is_ok()));
        tokio_stream_of(receiver)
    }

    fn landed(&self) -> impl Iterator<Item = &Spooled> {
        self.fresh.iter().filter_map(|number| self.files.get(*number as usize))
    }

    async fn land(&self, running: &Running, touched: &mut Touched) -> Result<Counts, Failure> {
        let (fresh, finished) = (self.fresh.len(), self.finished.len());
        if finished > 0 {
            running
                .info(format!(
                    "{finished} of {} files were landed before and have not changed: they are not read again",
                    self.files.len()
                ))
                .await;
        }
        if fresh == 0 {
            return Ok(Counts::default());
        }
        running.info(format!("reading {fresh} files: ids, identifiers and references")).await;
        let mut index = self.first_pass(running, &self.fresh).await?;
        let (entries, types) = (index.entries, index.types.clone());
        running
            .info(format!(
                "{entries} entries of {} types ({} of a resource that comes again later; the last counts); {} conditional \
                 references, {} entries with ifNoneExist",
                types.len(),
                index.superseded,
                index.conditions.len(),
                index.creates.len()
            ))
            .await;
        if finished > 0 && index.lacks_names() {
            running.info("references lead to entries of files that were landed before: looking these up").await;
            index = self.first_pass(running, &self.finished).await?.names_for(index);
        }
        let resolution = Arc::new(resolve(running, index).await?);
        let mut open = Box::pin(self.open_all(running, &types)).await?;
        match Box::pin(self.second_pass(running, &mut open, resolution)).await {
            Ok(read) => {
                if read.dangling > 0 {
                    running
                        .warn(format!("{} references to a urn: that no entry has were kept as they are", read.dangling))
                        .await;
                }
                let mut counts = self.commit_all(running, open, touched).await?;
                let files: Vec<&Spooled> = self.landed().collect();
                counts += Box::pin(listing::note(running, self.source, &files, read)).await?;
                Ok(counts)
            }
            Err(failure) => {
                Box::pin(abandon(open)).await;
                Err(failure)
            }
        }
    }

    async fn first_pass(&self, running: &Running, which: &Arc<Vec<u32>>) -> Result<Index, Failure> {
        let mut whole = Index::default();
        let parts = self
            .pieces(which)
            .map(|piece| {
                let (paths, digests, ids) = (Arc::clone(&self.paths), Arc::clone(&self.digests), self.ids.clone());
                tokio::task::spawn_blocking(move || index(&piece, &paths, &digests, &ids))
            })
            .buffered(cores());
        let mut parts = std::pin::pin!(parts);
        while let Some(part) = parts.next().await {
            running.check()?;
            whole.extend(part?);
        }
        Ok(whole)
    }

    /// Makes every type's tables, takes the leases of their histories, and prepares to write both.
    async fn open_all(
        &self,
        running: &Running,
        types: &BTreeSet<ResourceType>,
    ) -> Result<BTreeMap<ResourceType, Open>, Failure> {
        let ensured: Vec<BoxFuture<'_, Result<Target, Failure>>> =
            types.iter().map(|resource| Target::ensure(running, *resource).boxed()).collect();
        let targets: Vec<Target> = futures::stream::iter(ensured).buffered(COMMITS).try_collect().await?;
        let mut begun = Vec::with_capacity(targets.len());
        // In one order for everybody, so that two imports do not wait for each other.
        for target in targets {
            let app = AppId::ingest(self.source.id, target.history.id);
            match retry::begin(running, target.history.id, &app).await {
                Ok(unit) => begun.push((target, unit)),
                Err(failure) => {
                    for (_, unit) in begun {
                        unit.abandon().await;
                    }
                    return Err(failure);
                }
            }
        }
        let opening: Vec<BoxFuture<'_, Result<Open, Failure>>> =
            begun.into_iter().map(|(target, unit)| self.open(running, target, unit).boxed()).collect();
        let mut opening = futures::stream::iter(opening).buffer_unordered(COMMITS);
        let (mut open, mut first) = (BTreeMap::new(), None);
        while let Some(opened) = opening.next().await {
            match opened {
                Ok(opened) => drop(open.insert(opened.target.resource, opened)),
                Err(failure) => first = first.or(Some(failure)),
            }
        }
        match first {
            None => Ok(open),
            Some(failure) => {
                Box::pin(abandon(open)).await;
                Err(failure)
            }
        }
    }

    async fn open(&self, running: &Running, target: Target, unit: Unit) -> Result<Open, Failure> {
        let prepared = async {
            unpromised(&running.context, &BTreeSet::from([target.history.id])).await?;
            let state = State::read(running, &target).await?;
            let columns = own_columns(target.resource, running.lake().schema(target.current.id).await?.as_ref());
            let (name, run) = (self.source.name.as_str(), running.id.to_string());
            let shared = Arc::new(Shared::new(target.resource, state, columns, name, "import", &run));
            let read = Closes::From(self.landed().map(|file| file_hash(&file.name)).collect());
            Ok::<_, Failure>((Landing::new(running, &target, self.source.id, file_of, read).await?, shared))
        };
        match prepared.await {
            Ok((landing, shared)) => {
                let writer = unit.write(WriteMode::Append, history_schema()).await?;
                let line = running.unit(Step::ToFhir, &target.current, None).await;
                Ok(Open { target, writer, landing, line, shared })
            }
            Err(failure) => {
                unit.abandon().await;
                Err(failure)
            }
        }
    }

    async fn second_pass(
        &self,
        running: &Running,
        open: &mut BTreeMap<ResourceType, Open>,
        resolution: Arc<Resolution>,
    ) -> Result<Read, Failure> {
        let shared: Arc<BTreeMap<ResourceType, Arc<Shared>>> =
            Arc::new(open.iter().map(|(resource, open)| (*resource, Arc::clone(&open.shared))).collect());
        let names: Arc<Vec<String>> = Arc::new(self.files.iter().map(|file| file.name.clone()).collect());
        let parts = self
            .pieces(&self.fresh)
            .map(|piece| {
                let work = Work {
                    paths: Arc::clone(&self.paths),
                    digests: Arc::clone(&self.digests),
                    names: Arc::clone(&names),
                    ids: self.ids.clone(),
                    shared: Arc::clone(&shared),
                    resolution: Arc::clone(&resolution),
                };
                async move { tokio::task::spawn_blocking(move || work.encode(&piece)).await? }
            })
            .buffered(cores());
        let mut parts = std::pin::pin!(parts);
        let mut read = Read::default();
        while let Some(landed) = parts.try_next().await? {
            running.check()?;
            read.dangling += landed.dangling;
            for (resource, encoded) in landed.by_type {
                encoded.rejected.iter().for_each(|rejected| read.note(rejected));
                if let Some(open) = open.get_mut(&resource) {
                    open.landing.put(running, &mut open.writer, encoded).await?;
                    open.line.progress(open.landing.counts).await;
                }
            }
            landed.broken.iter().for_each(|rejected: &Rejected| read.note(rejected));
            read.broken.extend(landed.broken);
        }
        Ok(read)
    }

    async fn commit_all(
        &self,
        running: &Running,
        open: BTreeMap<ResourceType, Open>,
        touched: &mut Touched,
    ) -> Result<Counts, Failure> {
        let cursor = Cursor(serde_json::json!({ "set": self.digest() }));
        let turns = Arc::new(Semaphore::new(COMMITS));
        let mut commits = JoinSet::new();
        for (_, open) in open {
            let (running, cursor, turns) = (running.clone(), cursor.clone(), Arc::clone(&turns));
            commits.spawn(async move {
                let _turn = turns.acquire().await;
                let Open { target, writer, landing, line, .. } = open;
                // A type of which nothing is new is not committed at all.
                let end = End { cursor: landing.has_news().then_some(cursor), whole: false };
                let outcome = Box::pin(landing.commit(&running, &target, writer, end)).await;
                line.finish(&outcome.as_ref().map(|(counts, _)| *counts).map_err(Clone::clone)).await;
                outcome
            });
        }
        let (mut counts, mut first) = (Counts::default(), None);
        while let Some(outcome) = commits.join_next().await {
            match outcome.map_err(Failure::from).flatten() {
                Ok((landed, together)) => {
                    counts += landed;
                    touched.add(together);
                }
                Err(failure) => first = first.or(Some(failure)),
            }
        }
        match first {
            // The types that were committed are found unchanged when the import is tried again.
            Some(failure) => Err(failure),
            None => Ok(counts),
        }
    }

    fn digest(&self) -> String {
        let text: String = self.landed().map(|file| format!("{}\u{1}{}\u{2}", file.name, file.digest)).collect();
        format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
    }
}

async fn abandon(open: BTreeMap<ResourceType, Open>) {
    for (_, open) in open {
        open.writer.abandon().await;
        open.landing.abandon().await;
        open.line.finish(&Err(Failure::Cancelled)).await;
    }
}

fn tokio_stream_of<T: Send + 'static>(receiver: tokio::sync::mpsc::Receiver<T>) -> impl Stream<Item = T> {
    futures::stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|item| (item, receiver)) })
}
