//! An import from its files to the FHIR zone: both passes, and the commits.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::PathBuf,
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use futures::{Stream, StreamExt, TryStreamExt};
use mavis_catalog::{NewTable, Source, Step};
use mavis_fhir::{ResourceType, bundle, json};
use mavis_lake::{AppId, End, TableSpec, WriteMode, Writer};
use mavis_types::{Counts, Cursor, TableName, Zone};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    document::{Item, Piece, Position, pieces, visit},
    index::{Ids, Index, Intent, Verb, index, intent, name_hash},
    resolve::{Resolution, resolve},
    spool::{Spool, Spooled},
};
use crate::{
    context::{Running, UnitLine},
    failure::Failure,
    fhir_zone::{
        Encoded, Encoder, Landing, Shared, State, Target, Touched, current::own_columns, target::history_schema,
    },
    quarantine::{Aside, Rejected},
    retry,
    write::{settle, unpromised},
};

/// Pieces that wait for a free core.
const AHEAD: usize = 2;
/// A payload in quarantine is cut to this; the file itself stays in the spool.
const PAYLOAD: usize = 256 << 10;

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// Lands a run's files in the FHIR zone.
pub(crate) async fn import(
    running: &Running,
    source: &Source,
    spool: &Spool,
    touched: &mut Touched,
) -> Result<Counts, Failure> {
    let files = spool.set(running.id).await.map_err(|error| Failure::Permanent(error.to_string()))?;
    let touched = tokio::sync::Mutex::new(touched);
    retry::unit(running, "import", || async {
        let set = Set::new(source, spool, &files);
        Box::pin(settle(&running.context)).await?;
        Box::pin(set.land(running, &mut **touched.lock().await)).await
    })
    .await
}

/// The files of one import.
struct Set<'a> {
    source: &'a Source,
    files: &'a [Spooled],
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

/// What the second pass made of a piece.
#[derive(Default)]
struct Landed {
    by_type: BTreeMap<ResourceType, Encoded>,
    /// What belongs to no resource type: file number and reason.
    broken: Vec<Rejected>,
    dangling: u64,
}

impl<'a> Set<'a> {
    fn new(source: &'a Source, spool: &Spool, files: &'a [Spooled]) -> Self {
        Self {
            source,
            files,
            paths: Arc::new(files.iter().map(|file| spool.path(file)).collect()),
            digests: Arc::new(files.iter().map(|file| file.digest.clone()).collect()),
            ids: Ids { source: source.id, keep: source.authoritative },
        }
    }

    /// The pieces of the set, read by a thread of their own.
    fn pieces(&self) -> impl Stream<Item = Piece> + use<> {
        let (sender, receiver) = tokio::sync::mpsc::channel(AHEAD);
        let paths = Arc::clone(&self.paths);
        tokio::task::spawn_blocking(move || pieces(&paths, &mut |piece| sender.blocking_send(piece).is_ok()));
        tokio_stream_of(receiver)
    }

    async fn land(&self, running: &Running, touched: &mut Touched) -> Result<Counts, Failure> {
        running.info(format!("reading {} files: ids, identifiers and references", self.files.len())).await;
        let index = self.first_pass(running).await?;
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
        let resolution = Arc::new(resolve(running, index).await?);
        let mut open = BTreeMap::new();
        // In one order for everybody, so that two imports do not wait for each other.
        for resource in types {
            let opened = match Box::pin(self.open(running, resource)).await {
                Ok(opened) => opened,
                Err(failure) => {
                    Box::pin(abandon(open)).await;
                    return Err(failure);
                }
            };
            open.insert(resource, opened);
        }
        match Box::pin(self.second_pass(running, &mut open, resolution)).await {
            Ok((broken, dangling)) => {
                if dangling > 0 {
                    running
                        .warn(format!("{dangling} references to a urn: that no entry has were kept as they are"))
                        .await;
                }
                let mut counts = self.commit_all(running, open, touched).await?;
                counts += Box::pin(self.list_files(running, broken)).await?;
                Ok(counts)
            }
            Err(failure) => {
                Box::pin(abandon(open)).await;
                Err(failure)
            }
        }
    }

    async fn first_pass(&self, running: &Running) -> Result<Index, Failure> {
        let mut whole = Index::default();
        let parts = self
            .pieces()
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

    async fn open(&self, running: &Running, resource: ResourceType) -> Result<Open, Failure> {
        let target = Target::ensure(running, resource).await?;
        let app = AppId::ingest(self.source.id, target.history.id);
        let unit = retry::begin(running, target.history.id, &app).await?;
        let prepared = async {
            unpromised(&running.context, &BTreeSet::from([target.history.id])).await?;
            let state = State::read(running, &target).await?;
            let columns = own_columns(resource, running.lake().schema(target.current.id).await?.as_ref());
            let name = self.source.name.as_str();
            let shared = Arc::new(Shared::new(resource, state, columns, name, "import", &running.id.to_string()));
            Ok::<_, Failure>((Landing::new(running, &target, &shared).await?, shared))
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
    ) -> Result<(Vec<Rejected>, u64), Failure> {
        let shared: Arc<BTreeMap<ResourceType, Arc<Shared>>> =
            Arc::new(open.iter().map(|(resource, open)| (*resource, Arc::clone(&open.shared))).collect());
        let names: Arc<Vec<String>> = Arc::new(self.files.iter().map(|file| file.name.clone()).collect());
        let parts = self
            .pieces()
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
        let (mut broken, mut dangling) = (Vec::new(), 0);
        while let Some(landed) = parts.try_next().await? {
            running.check()?;
            broken.extend(landed.broken);
            dangling += landed.dangling;
            for (resource, encoded) in landed.by_type {
                if let Some(open) = open.get_mut(&resource) {
                    open.landing.put(running, &mut open.writer, encoded).await?;
                    open.line.progress(open.landing.counts).await;
                }
            }
        }
        Ok((broken, dangling))
    }

    async fn commit_all(
        &self,
        running: &Running,
        open: BTreeMap<ResourceType, Open>,
        touched: &mut Touched,
    ) -> Result<Counts, Failure> {
        let cursor = Cursor(serde_json::json!({ "set": self.digest() }));
        let turns = Arc::new(Semaphore::new(cores()));
        let mut commits = JoinSet::new();
        for (_, open) in open {
            let (running, cursor, turns) = (running.clone(), cursor.clone(), Arc::clone(&turns));
            commits.spawn(async move {
                let _turn = turns.acquire().await;
                let end = End { cursor: Some(cursor), whole: false };
                let Open { target, writer, landing, line, shared } = open;
                let outcome = Box::pin(landing.commit(&running, &target, writer, end, shared.columns())).await;
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
        let text: String = self.files.iter().map(|file| format!("{}\u{1}{}\u{2}", file.name, file.digest)).collect();
        format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
    }

    /// The list of files in the raw zone; what of them is no resource waits in its quarantine.
    async fn list_files(&self, running: &Running, broken: Vec<Rejected>) -> Result<Counts, Failure> {
        let fields = vec![
            Field::new("name", DataType::Utf8, true),
            Field::new("bytes", DataType::Int64, true),
            Field::new("sha256", DataType::Utf8, true),
        ];
        let schema = Arc::new(Schema::new(fields));
        let spec = TableSpec {
            table: NewTable {
                name: TableName::new(Zone::Raw, self.source.name.as_str(), "files"),
                source: Some(self.source.id),
                source_schema: None,
                source_table: Some("files".to_owned()),
                key: vec!["name".to_owned()],
                comment: Some("the files that were imported; their content is in the spool".to_owned()),
            },
            schema: Arc::clone(&schema),
            columns: Vec::new(),
            change_feed: true,
            statistics: Vec::new(),
            sort: Vec::new(),
        };
        let table = Box::pin(running.lake().ensure(&spec)).await?;
        let line = running.unit(Step::ToRaw, &table, Some(self.files.len() as u64)).await;
        let unit = retry::begin(running, table.id, &AppId::ingest(self.source.id, table.id)).await?;
        let cursor = unit.cursor().cloned();
        let mut writer = unit.write(WriteMode::Upsert, Arc::clone(&schema)).await?;
        let filled = async {
            let mut aside = Aside::by(running, table.id, Step::ToRaw, |row| file_hash(file_of(&row.origin))).await?;
            let columns: Vec<ArrayRef> = vec![
                Arc::new(self.files.iter().map(|file| Some(file.name.as_str())).collect::<StringArray>()),
                Arc::new(self.files.iter().map(|file| i64::try_from(file.bytes).ok()).collect::<Int64Array>()),
                Arc::new(self.files.iter().map(|file| Some(file.digest.as_str())).collect::<StringArray>()),
            ];
            writer.push(&RecordBatch::try_new(schema, columns)?).await?;
            for rejected in broken {
                aside.put(running, &mut writer, rejected).await?;
            }
            // A file that came again was read as a whole.
            let read: HashSet<u128> = self.files.iter().map(|file| file_hash(&file.name)).collect();
            aside.close_of(running, &read).await?;
            Ok::<_, Failure>(aside)
        };
        let outcome = match filled.await {
            Ok(aside) => match writer.finish(End { cursor, whole: false }).await {
                Ok(committed) => {
                    aside.report(running, &table.name.to_string()).await;
                    // The run counts resources; of the files only what could not be read.
                    Ok((committed.counts, aside.rows))
                }
                Err(error) => Err(error.into()),
            },
            Err(failure) => {
                writer.abandon().await;
                Err(failure)
            }
        };
        line.finish(&outcome.as_ref().map(|(counts, _)| *counts).map_err(Clone::clone)).await;
        outcome.map(|(_, rows)| Counts { read: rows, quarantined: rows, ..Counts::default() })
    }
}

fn file_hash(name: &str) -> u128 {
    xxhash_rust::xxh3::xxh3_128(name.as_bytes())
}

/// The file of an origin: what stands before `line 12` or `entry 12`.
fn file_of(origin: &str) -> &str {
    origin.rsplitn(3, ' ').nth(2).unwrap_or(origin)
}

async fn abandon(open: BTreeMap<ResourceType, Open>) {
    for (_, open) in open {
        open.writer.abandon().await;
        open.line.finish(&Err(Failure::Cancelled)).await;
    }
}

fn tokio_stream_of<T: Send + 'static>(receiver: tokio::sync::mpsc::Receiver<T>) -> impl Stream<Item = T> {
    futures::stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|item| (item, receiver)) })
}

/// What a core needs for the second pass.
struct Work {
    paths: Arc<Vec<PathBuf>>,
    digests: Arc<Vec<String>>,
    names: Arc<Vec<String>>,
    ids: Ids,
    shared: Arc<BTreeMap<ResourceType, Arc<Shared>>>,
    resolution: Arc<Resolution>,
}

impl Work {
    fn encode(&self, piece: &Piece) -> Result<Landed, Failure> {
        let mut encoders: BTreeMap<ResourceType, Encoder<'_>> = BTreeMap::new();
        let mut landed = Landed::default();
        visit(piece, &self.paths, &mut |at, item| match item {
            Item::Broken { reason, text } => {
                let text = String::from_utf8_lossy(&text[..text.len().min(PAYLOAD)]).into_owned();
                landed.broken.push(Rejected { reason, origin: self.origin(at), payload: text });
            }
            Item::Entry { entry, text } => self.entry(at, entry, text, &mut encoders, &mut landed),
        });
        for (resource, encoder) in encoders {
            landed.by_type.insert(resource, encoder.finish()?);
        }
        Ok(landed)
    }

    fn origin(&self, at: Position) -> String {
        let name = self.names.get(at.file as usize).map_or("", String::as_str);
        match at.line {
            0 => format!("{name} entry {}", at.entry),
            line => format!("{name} line {line}"),
        }
    }

    fn entry<'s>(
        &'s self,
        at: Position,
        entry: bundle::Entry<'_>,
        text: Option<&str>,
        encoders: &mut BTreeMap<ResourceType, Encoder<'s>>,
        landed: &mut Landed,
    ) {
        let digest = self.digests.get(at.file as usize).map_or("", String::as_str);
        let asked = intent(&entry, at, digest, &self.ids);
        let (Intent { verb, resource, mut id, condition }, shared) = match asked {
            Ok(asked) => match self.shared.get(&asked.resource) {
                Some(shared) => (asked, shared),
                None => return,
            },
            Err(reason) => {
                let payload = entry.resource.as_ref().map(written).unwrap_or_default();
                landed.broken.push(Rejected { reason, origin: self.origin(at), payload });
                return;
            }
        };
        let encoder = encoders.entry(resource).or_insert_with(|| Encoder::new(shared));
        let reject = |reason: String| Rejected {
            reason,
            origin: self.origin(at),
            payload: entry.resource.as_ref().map(written).unwrap_or_default(),
        };
        if let Some(reason) = self.resolution.refused.get(&at) {
            return encoder.reject(reject(format!("request.ifNoneExist: {reason}")));
        }
        if self.resolution.existing.contains(&at) {
            return encoder.note_deduplicated();
        }
        if let Some(condition) = &condition {
            match self.resolution.conditions.get(condition) {
                Some(Some(found)) => id.clone_from(found),
                // A conditional update that matches nothing creates; a deletion does nothing.
                Some(None) if self.resolution.failed.get(condition).is_none_or(|r| r.contains("no resource")) => {}
                _ => {
                    return encoder.reject(reject(
                        "request.url: the condition matches several resources, or is not supported".to_owned(),
                    ));
                }
            }
        } else if self.resolution.last.get(&name_hash(&[resource.name(), &id])).is_some_and(|last| *last != at) {
            if verb != Verb::Delete {
                encoder.note_deduplicated();
            }
            return;
        }
        match verb {
            Verb::Delete => encoder.delete(&id),
            Verb::Refused(reason) => encoder.reject(reject(reason)),
            Verb::Store => self.store(at, &id, entry, text, encoder, landed),
        }
    }

    fn store(
        &self,
        at: Position,
        id: &str,
        entry: bundle::Entry<'_>,
        text: Option<&str>,
        encoder: &mut Encoder<'_>,
        landed: &mut Landed,
    ) {
        let Some(mut value) = entry.resource else { return };
        let (mut failed, mut resolved, mut dangling) = (None, false, 0);
        bundle::for_each_reference(&value, &mut |reference| {
            if self.resolution.references.contains_key(reference) {
                resolved = true;
            } else if let Some(reason) = self.resolution.failed.get(reference) {
                failed = Some(*reason);
            } else if reference.starts_with("urn:") {
                dangling += 1;
            }
        });
        if let Some(reason) = failed {
            let payload = written(&value);
            return encoder.reject(Rejected {
                reason: format!("reference: {reason}"),
                origin: self.origin(at),
                payload,
            });
        }
        landed.dangling += dangling;
        let origin = self.origin(at);
        let changed = resolved && bundle::rewrite_references(&mut value, &self.resolution.references);
        match text {
            Some(text) if !changed => encoder.put(id, &value, text, &origin),
            _ => encoder.put(id, &value, &written(&value), &origin),
        }
    }
}

fn written(value: &json::Value<'_>) -> String {
    let mut text = Vec::with_capacity(1_024);
    value.write(&mut text);
    String::from_utf8(text).unwrap_or_default()
}
