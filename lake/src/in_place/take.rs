//! Taking over: the tree as it is now is compared with what was taken over before, and one commit says what is different.
//!
//! Where a unit ended is the list of all files with their stamps, so that a second run opens only what is new. A file that an
//! erasure replaced stays replaced as long as its owner leaves it as it was.

use std::collections::{HashMap, HashSet};

use deltalake_core::{
    kernel::{Action, Add, MetadataExt, Remove, new_metadata, transaction::CommitBuilder},
    protocol::{DeltaOperation, SaveMode},
};
use futures::{StreamExt, TryStreamExt, stream};
use mavis_catalog::Table;
use mavis_types::{Counts, Cursor, RunId, TableName};
use object_store::path::Path;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    IN_PLACE, InPlaceSpec, Missing, TakenOver, Tree, TreeFile, file, footer,
    footer::Footer,
    path,
    schema::{Columns, LAST_ID, MODE},
    taken::{Different, Taken, millis},
};
use crate::{
    AppId, Error, Lake, columns,
    commit::{self, Void},
    create::{self, Properties, default_statistics, plain_commit, set_columns, tell_catalog},
    scan::{DataFile, data_files},
    table::version_of,
    unit::{self, Kind, Work},
};

/// Footers that are read at once.
const FOOTERS: usize = 8;
/// Tag of a file that was there before, with other rows.
pub(crate) const AGAIN: &str = "mavis.again";
/// Files that an error names.
const NAMED: usize = 5;

/// In whose place of a tree a file of ours stands.
pub(crate) fn number_of(path: &Path) -> u128 {
    xxh3_128(path.as_ref().as_bytes())
}

impl Lake {
    /// Makes a table of a tree's files as they lie, or brings it up to what the tree is now. Footers are read of files that
    /// are new or changed, nothing else. One commit, or none where nothing is different.
    ///
    /// # Errors
    /// [`Error::InPlace`]: files whose columns differ, a value of a folder that is not of its type, files that are gone
    /// ([`Missing::Refuse`]), a table that was not taken over. [`Error::Busy`], [`Error::Conflict`]: try again.
    /// [`Error::Store`].
    pub async fn take_over(
        &self,
        spec: &InPlaceSpec,
        app: &AppId,
        run: RunId,
        tree: &Tree,
    ) -> Result<TakenOver, Error> {
        Box::pin(take_over(self, spec, app, run, tree)).await
    }
}

async fn take_over(lake: &Lake, spec: &InPlaceSpec, app: &AppId, run: RunId, tree: &Tree) -> Result<TakenOver, Error> {
    let table = lake.catalog().ensure_table(spec.table.clone()).await?;
    let table = if table.key == spec.table.key {
        table
    } else {
        lake.catalog().set_key(table.id, &spec.table.key).await?;
        Table { key: spec.table.key.clone(), ..table }
    };
    let cursor = unit::committed(lake, table.id, app).await?;
    let before = taken_before(&table, cursor.as_ref())?;
    let different = tree.different(&before);
    let fresh: Vec<&TreeFile> =
        different.new.iter().chain(&different.changed).chain(&different.touched).copied().collect();
    // Before the lease: reading many footers takes its time.
    let footers = footers(tree, &table.name, &fresh).await?;
    let open = match lake.opened(table.id).await {
        Ok(open) => open,
        Err(Error::NoSuchTable { .. }) => {
            make(lake, spec, &table, tree, &fresh, &footers).await?;
            lake.opened(table.id).await?
        }
        Err(error) => return Err(error),
    };
    let Some(foreign) = open.foreign() else {
        return Err(Error::InPlace {
            table: table.name,
            reason:
                "it was copied before; declare the tree that is to be taken over in place as a source of another name"
                    .to_owned(),
        });
    };
    if foreign.authority != tree.authority {
        let reason = format!(
            "its files are in {} and the tree is in {}; declare it as a source of another name",
            foreign.authority, tree.authority
        );
        return Err(Error::InPlace { table: table.name, reason });
    }
    let work = Work::begin(lake, table.id, app.clone(), run, Kind::Ingest).await?;
    if work.cursor != cursor {
        work.hold.release().await;
        return Err(Error::Busy {
            table: table.name,
            reason: "another run took files over meanwhile; try again".to_owned(),
        });
    }
    let outcome = Box::pin(under_lease(&work, spec, tree, &before, &different, &footers)).await;
    work.hold.release().await;
    outcome.map_err(|void| void.error)
}

fn taken_before(table: &Table, cursor: Option<&Cursor>) -> Result<Taken, Error> {
    let Some(cursor) = cursor else { return Ok(Taken::default()) };
    serde_json::from_value(cursor.0.clone()).map_err(|_| Error::InPlace {
        table: table.name.clone(),
        reason: "it was read in another way before; declare the tree that is to be taken over in place as a source of another \
                 name"
            .to_owned(),
    })
}

async fn footers(tree: &Tree, table: &TableName, files: &[&TreeFile]) -> Result<HashMap<String, Footer>, Error> {
    let read =
        files.iter().map(|file| async { Ok((file.name.clone(), footer::read(&tree.store, table, file).await?)) });
    let read: Vec<_> = read.collect();
    stream::iter(read).buffer_unordered(FOOTERS).try_collect().await
}

/// Makes the table with the columns of the files that are there.
async fn make(
    lake: &Lake,
    spec: &InPlaceSpec,
    table: &Table,
    tree: &Tree,
    files: &[&TreeFile],
    footers: &HashMap<String, Footer>,
) -> Result<(), Error> {
    let mut columns = Columns::begin(&tree.folders);
    for file in files {
        if let Some(footer) = footers.get(&file.name) {
            columns.learn(spec, &table.name, &file.label(), footer)?;
        }
    }
    columns.declare(spec);
    columns.order(spec);
    let schema = columns.schema(table.key.is_empty());
    let (kernel, last) = columns.to_delta(table.key.is_empty())?;
    let partitions: Vec<&String> = columns.of_a_file.iter().map(|(name, _)| name).collect();
    let mut properties = HashMap::from([(IN_PLACE, tree.authority.clone())]);
    if columns.mapped {
        properties.insert(MODE, "name".to_owned());
        properties.insert(LAST_ID, last.to_string());
    }
    let own: Vec<String> = default_statistics(&schema, &table.key)
        .into_iter()
        .filter(|name| columns.own.iter().any(|column| column.name == *name))
        .collect();
    create::add_statistics(&mut properties, &own);
    let metadata = new_metadata(&kernel, partitions, properties).map_err(|error| Error::Delta(error.into()))?;
    let delta = lake.store().delta(&table.location)?;
    let protocol = create::protocol(if columns.mapped { &["columnMapping"] } else { &[] }, false)?;
    let operation = DeltaOperation::Create {
        mode: SaveMode::ErrorIfExists,
        location: delta.table_url().clone(),
        protocol: protocol.clone(),
        metadata: metadata.clone(),
    };
    let actions = vec![Action::Protocol(protocol), Action::Metadata(metadata)];
    let commit =
        CommitBuilder::from(plain_commit()).with_actions(actions).build(None, delta.log_store(), operation).await;
    if let Err(error) = commit
        && !matches!(delta.verify_deltatable_existence().await, Ok(true))
    {
        return Err(Error::store(&format!("making table `{}`", table.name), &error));
    }
    set_columns(lake, table, &schema, &spec.columns).await
}

/// What one commit is to say.
#[derive(Debug, Default)]
struct Commit {
    actions: Vec<Action>,
    rows: Counts,
    kept: u64,
    grown: bool,
}

async fn under_lease(
    work: &Work,
    spec: &InPlaceSpec,
    tree: &Tree,
    before: &Taken,
    different: &Different<'_>,
    footers: &HashMap<String, Footer>,
) -> Result<TakenOver, Void> {
    let to = tree.taken();
    let commit = prepare(work, spec, tree, before, different, footers)?;
    let counts = commit.rows;
    let mut done = TakenOver {
        version: work.base_version,
        counts,
        files_new: different.new.len() as u64,
        files_changed: different.changed.len() as u64,
        files_gone: different.gone.len() as u64 - commit.kept,
        files_kept: commit.kept,
    };
    if to == *before && commit.actions.is_empty() {
        return Ok(done);
    }
    if !counts.balances() {
        let detail = format!("{counts:?}");
        return Err(Error::Unbalanced { table: work.table.name.clone(), detail }.into());
    }
    let to = serde_json::to_value(&to).map_err(|error| Error::store("noting what was taken over", &error))?;
    let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
    let now = commit::commit(work, commit.actions, operation, Some(Cursor(to))).await?;
    tell_catalog(&work.lake, &work.table, &now, commit.grown).await;
    if commit.grown {
        let schema = now.snapshot().map_err(Error::from)?.snapshot().arrow_schema();
        set_columns(&work.lake, &work.table, &schema, &spec.columns).await?;
    }
    done.version = version_of(&now)?.max(work.base_version + 1);
    Ok(done)
}

/// The files of the table by what they stand for in the tree: those of the tree, and those of ours that replace one.
fn stand_for(
    work: &Work,
    root: &str,
    names: impl Iterator<Item = String>,
) -> Result<HashMap<String, Vec<DataFile>>, Error> {
    let (mut by_path, mut by_number) = (HashMap::new(), HashMap::new());
    for name in names {
        let path = path::file_path(&format!("{root}/{name}"));
        by_number.insert(number_of(&path), name.clone());
        by_path.insert(path, name);
    }
    let mut files: HashMap<String, Vec<DataFile>> = HashMap::new();
    for file in data_files(&work.base, &work.table.name)? {
        let number = file::replacement_of(&file.path);
        let name = by_path.get(&file.path).or_else(|| number.and_then(|number| by_number.get(&number)));
        if let Some(name) = name {
            files.entry(name.clone()).or_default().push(file);
        }
    }
    Ok(files)
}

/// Whether an erasure took rows out of the file; where nothing was left of it, nothing stands for it.
fn is_replaced(files: &[DataFile]) -> bool {
    files.is_empty() || files.iter().any(|file| file::replacement_of(&file.path).is_some())
}

fn prepare(
    work: &Work,
    spec: &InPlaceSpec,
    tree: &Tree,
    before: &Taken,
    different: &Different<'_>,
    footers: &HashMap<String, Footer>,
) -> Result<Commit, Error> {
    let table = &work.table.name;
    let mut commit = Commit::default();
    let mut standing = stand_for(work, &before.root, before.files.keys().cloned())?;
    let mut lost = Vec::new();
    for name in &different.gone {
        let files = standing.remove(name).unwrap_or_default();
        if is_replaced(&files) {
            // Its owner deleted what an erasure told him to; what was left of it is ours.
            commit.kept += 1;
        } else if tree.missing == Missing::Refuse {
            lost.push(before.label(name));
        } else {
            commit.remove(&files);
        }
    }
    if !lost.is_empty() {
        let named = lost.iter().take(NAMED).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let more = if lost.len() > NAMED { ", ..." } else { "" };
        return Err(Error::InPlace {
            table: table.clone(),
            reason: format!(
                "{} files of its tree are gone ({named}{more}), and nothing was changed; put them back, or declare \
                 `\"missing_files\": \"remove\"` to have their rows leave the table",
                lost.len()
            ),
        });
    }
    let mut columns = Columns::of(&work.base)?;
    let properties = Properties::of(&work.base)?;
    for file in different.new.iter().chain(&different.changed) {
        if let Some(footer) = footers.get(&file.name) {
            commit.grown |= columns.learn(spec, table, &file.label(), footer)?;
        }
    }
    columns.check_mapping(table)?;
    if commit.grown {
        let (schema, last) = columns.grown(&work.base)?;
        let metadata = work.base.snapshot()?.metadata().clone();
        let mut metadata = metadata.with_schema(&schema).map_err(|error| Error::Delta(error.into()))?;
        if columns.mapped {
            metadata = metadata
                .add_config_key(LAST_ID.to_owned(), last.to_string())
                .map_err(|error| Error::Delta(error.into()))?;
        }
        commit.actions.push(Action::Metadata(metadata));
    }
    let wanted = columns.own.iter().filter(|column| properties.statistics.contains(&column.name));
    let wanted: HashSet<String> = wanted.map(|column| column.in_files.clone()).collect();
    for file in &different.changed {
        let files = standing.remove(&file.name).unwrap_or_default();
        // Moved with the tree, and as large as it was: what an erasure took out of it must not come back.
        let moved = before.root != tree.root_url();
        let as_it_was = before.files.get(&file.name).is_some_and(|(_, bytes, _)| *bytes == file.bytes);
        if moved && as_it_was && is_replaced(&files) {
            return Err(Error::InPlace {
                table: table.clone(),
                reason: format!(
                    "the tree was moved, and rows were erased from file `{}`, which still holds them: its owner must take them \
                     out of it first",
                    file.label()
                ),
            });
        }
        commit.remove(&files);
        commit.add(work, spec, tree, &columns, file, footers.get(&file.name), &wanted)?;
    }
    for file in &different.touched {
        let files = standing.remove(&file.name).unwrap_or_default();
        if let ([known], Some(footer)) = (files.as_slice(), footers.get(&file.name))
            && !is_replaced(&files)
        {
            commit.touch(known, file, footer.stats(&columns.in_files(), &wanted));
        }
    }
    for file in &different.new {
        commit.add(work, spec, tree, &columns, file, footers.get(&file.name), &wanted)?;
    }
    Ok(commit)
}

impl Commit {
    fn remove(&mut self, files: &[DataFile]) {
        for file in files {
            self.rows.deleted += file.rows.unwrap_or_default();
            self.actions.push(Action::Remove(file.remove(true)));
        }
    }

    /// The same rows as before, in a file of another time.
    fn touch(&mut self, known: &DataFile, file: &TreeFile, stats: String) {
        let before = known.remove(false);
        self.actions.push(Action::Add(Add {
            path: before.path,
            partition_values: before.partition_values.unwrap_or_default(),
            size: before.size.unwrap_or_default(),
            modification_time: millis(file),
            data_change: false,
            stats: Some(stats),
            ..Add::default()
        }));
    }

    #[allow(clippy::too_many_arguments, reason = "one caller in two places; a struct would only rename them")]
    fn add(
        &mut self,
        work: &Work,
        spec: &InPlaceSpec,
        tree: &Tree,
        columns: &Columns,
        file: &TreeFile,
        footer: Option<&Footer>,
        wanted: &HashSet<String>,
    ) -> Result<(), Error> {
        let Some(footer) = footer else { return Ok(()) };
        let name = path::url(&tree.authority, &file.path);
        // A file that was changed has the same name as before: the log cannot say both that it goes and that it comes.
        let before = self.actions.len();
        self.actions.retain(|action| !matches!(action, Action::Remove(Remove { path, .. }) if *path == name));
        let again = self.actions.len() < before;
        self.rows.read += footer.rows;
        self.rows.inserted += footer.rows;
        self.actions.push(Action::Add(Add {
            path: name,
            partition_values: values(work, spec, tree, file)?,
            size: i64::try_from(file.bytes).unwrap_or(i64::MAX),
            modification_time: millis(file),
            data_change: true,
            stats: Some(footer.stats(&columns.in_files(), wanted)),
            tags: again.then(|| HashMap::from([(AGAIN.to_owned(), None)])),
            ..Add::default()
        }));
        Ok(())
    }
}

/// What the log says of the columns that the file does not have.
fn values(
    work: &Work,
    spec: &InPlaceSpec,
    tree: &Tree,
    file: &TreeFile,
) -> Result<HashMap<String, Option<String>>, Error> {
    let began = work.began.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
    let mut values = HashMap::from([
        (columns::RUN.to_owned(), Some(work.run.to_string())),
        (columns::INGESTED_AT.to_owned(), Some(began)),
        (columns::SOURCE.to_owned(), Some(spec.source.clone())),
    ]);
    for ((name, data_type), value) in tree.folders.iter().zip(&file.values) {
        let said = file::constant(value.as_deref(), data_type);
        let text = said.and_then(|value| file::text(&value));
        let Some(text) = text else {
            return Err(Error::InPlace {
                table: work.table.name.clone(),
                reason: format!("file `{}`: what its folder says of column `{name}` is no {data_type}", file.label()),
            });
        };
        values.insert(name.clone(), text);
    }
    Ok(values)
}
