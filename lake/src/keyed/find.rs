//! From keys to rows.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use arrow::{
    array::{RecordBatch, UInt32Array},
    compute::{concat_batches, take_record_batch},
    datatypes::{Schema, SchemaRef},
};
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use mavis_types::TableId;

use super::{
    ASKED_BEFORE_INDEXED, Asked, FileId, Keyed,
    fetch::{Columns, again},
    index::{FileIndex, hashes},
    live::{Live, LiveFile},
    wanted::{Key, Wanted},
};
use crate::{Error, Lake};

/// Files that are asked at once.
const AT_ONCE: usize = 4;

/// Rows that were found by key.
#[derive(Debug, Clone)]
pub struct Found {
    /// The columns that were asked for, in their order.
    pub rows: RecordBatch,
    /// Of each row: which of the keys it has, counted from 0.
    pub keys: Vec<usize>,
}

impl Lake {
    /// The columns of a version; `None` where its rows cannot be read by key.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::NoSuchVersion`], [`Error::Store`].
    pub async fn row_schema(&self, table: TableId, version: i64) -> Result<Option<SchemaRef>, Error> {
        Ok(self.keyed().live(self, table, version).await?.map(|live| Arc::clone(&live.schema)))
    }

    /// The rows of a version that have one of some keys; several rows of one key stand in no order. `keys`: a row per key, and
    /// columns named as those of the table that make the key (any columns: they need not be the declared key). A key with a
    /// null has no rows, nor has one that its column's type cannot hold. `columns`: what is wanted of the rows.
    ///
    /// `most`: where more rows than that may have one of the keys, none is read.
    ///
    /// `None`: the table's rows cannot be read this way, or are too many; ask a provider.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::NoSuchVersion`], [`Error::Store`]; [`Error::Query`] for a column that the table lacks.
    pub async fn rows_by_key(
        &self,
        table: TableId,
        version: i64,
        keys: &RecordBatch,
        columns: &[&str],
        most: usize,
    ) -> Result<Option<Found>, Error> {
        let Some(live) = self.keyed().live(self, table, version).await? else { return Ok(None) };
        let wanted = Wanted::new(&live.schema, keys, self.tuning().key_hash_bits)?;
        self.find(&live, &wanted, columns, most).await
    }

    /// How many rows may have one of some keys, where the files that may have them are indexed by them; `None` elsewhere. A file
    /// that is asked so several times is indexed then, beside the query.
    ///
    /// # Errors
    /// As [`Lake::rows_by_key`].
    pub(super) async fn rows_at_hand(&self, asked: &Asked) -> Result<Option<usize>, Error> {
        let Some(live) = self.keyed().live(self, asked.table, asked.version).await? else { return Ok(None) };
        let wanted = Wanted::new(&live.schema, &asked.keys, self.tuning().key_hash_bits)?;
        Ok(self.candidates(&live, &wanted, asked.counts).await)
    }

    /// Rows that may have the keys, where the files that may have them are indexed; with `counts`, counts those that are not.
    async fn candidates(&self, live: &Arc<Live>, wanted: &Wanted, counts: bool) -> Option<usize> {
        let keyed = self.keyed();
        let (mut rows, mut due) = (Some(0), Vec::new());
        for (place, file) in live.files.iter().enumerate() {
            let mut keys = wanted.of_file(file).peekable();
            if keys.peek().is_none() {
                continue;
            }
            let id: (FileId, _) = (Arc::clone(&file.id), Arc::clone(&wanted.id));
            if let Some(index) = keyed.indexes.get(&id).await {
                let of_file: usize = keys.map(|key| index.rows(wanted.hashes[key]).len()).sum();
                rows = rows.map(|rows: usize| rows + of_file);
                continue;
            }
            rows = None;
            if !counts {
                continue;
            }
            let asked = keyed.asked.get(&id).unwrap_or(0) + 1;
            keyed.asked.insert(id, asked);
            if asked.is_multiple_of(ASKED_BEFORE_INDEXED) && file.rows.is_some_and(|rows| keyed.keeps(rows)) {
                due.push(place);
            }
        }
        if !due.is_empty() {
            let (lake, live, key) = (self.clone(), Arc::clone(live), wanted.key());
            tokio::spawn(async move {
                let bits = lake.tuning().key_hash_bits;
                for file in due.into_iter().filter_map(|place| live.files.get(place)) {
                    // Who reads the file by another way is told what is wrong with it.
                    if lake.keyed().index(&live, file, &key, bits).await.is_err() {
                        return;
                    }
                }
            });
        }
        rows
    }

    async fn find(&self, live: &Live, wanted: &Wanted, columns: &[&str], most: usize) -> Result<Option<Found>, Error> {
        let room = Room { left: AtomicUsize::new(most), full: AtomicBool::new(false) };
        let (keyed, bits) = (self.keyed(), self.tuning().key_hash_bits);
        let asked = Arc::new(project(&live.schema, columns)?);
        let mut read = asked.fields().to_vec();
        read.extend(
            wanted.schema.fields().iter().filter(|field| asked.field_with_name(field.name()).is_err()).cloned(),
        );
        let read = Columns::new(Arc::new(Schema::new(read)));

        let found: Vec<(RecordBatch, Vec<usize>)> = match live.files.as_slice() {
            [file] => keyed.in_file(live, file, wanted, &read, bits, &room).await?.into_iter().collect(),
            files => {
                let mut asked: Vec<BoxFuture<'_, Result<Option<_>, Error>>> = Vec::with_capacity(files.len());
                for file in files {
                    asked.push(keyed.in_file(live, file, wanted, &read, bits, &room).boxed());
                }
                let mut asked = stream::iter(asked).buffered(AT_ONCE);
                let mut found = Vec::new();
                while let Some(of_file) = asked.try_next().await? {
                    found.extend(of_file);
                }
                found
            }
        };
        if room.full.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let (batches, keys): (Vec<RecordBatch>, Vec<Vec<usize>>) = found.into_iter().unzip();
        let rows = match batches.as_slice() {
            [one] => one.clone(),
            several => concat_batches(&read.schema, several).map_err(Error::arrow)?,
        };
        let places: Vec<usize> = (0..asked.fields().len()).collect();
        let rows = rows.project(&places).map_err(Error::arrow)?;
        Ok(Some(Found { rows, keys: keys.concat() }))
    }
}

fn project(schema: &Schema, columns: &[&str]) -> Result<Schema, Error> {
    let fields = columns.iter().map(|name| schema.field_with_name(name).cloned().map_err(Error::arrow));
    Ok(Schema::new(fields.collect::<Result<Vec<_>, Error>>()?))
}

/// How many rows may still be read, over all files.
struct Room {
    left: AtomicUsize,
    full: AtomicBool,
}

impl Room {
    fn take(&self, rows: usize) -> bool {
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(rows)).is_ok();
        self.full.fetch_or(!taken, Ordering::Relaxed);
        taken && !self.full.load(Ordering::Relaxed)
    }
}

impl Keyed {
    /// The rows of a file that have one of the keys, and which.
    async fn in_file(
        &self,
        live: &Live,
        file: &LiveFile,
        wanted: &Wanted,
        columns: &Columns,
        bits: u32,
        room: &Room,
    ) -> Result<Option<(RecordBatch, Vec<usize>)>, Error> {
        let mut keys = wanted.of_file(file).peekable();
        if keys.peek().is_none() {
            return Ok(None);
        }
        let index = self.index(live, file, &wanted.key(), bits).await?;
        let mut candidates: Vec<(u32, usize)> = Vec::new();
        for key in keys {
            candidates.extend(index.rows(wanted.hashes[key]).iter().map(|row| (*row, key)));
        }
        if candidates.is_empty() {
            return Ok(None);
        }
        if !room.take(candidates.len()) {
            return Ok(None);
        }
        candidates.sort_unstable();
        let mut rows: Vec<u32> = candidates.iter().map(|(row, _)| *row).collect();
        rows.dedup();
        let batch = self.fetch(live, file, &rows, columns).await?;
        let comparison = wanted.compare(&batch)?;
        let mut places: Vec<u32> = Vec::with_capacity(candidates.len());
        let mut keys = Vec::with_capacity(candidates.len());
        for (row, key) in candidates {
            let place = rows.partition_point(|known| *known < row);
            if comparison.is(place, key) {
                places.push(u32::try_from(place).unwrap_or_default());
                keys.push(key);
            }
        }
        if places.len() == batch.num_rows() && places.is_sorted() {
            return Ok(Some((batch, keys)));
        }
        let batch = take_record_batch(&batch, &UInt32Array::from(places)).map_err(Error::arrow)?;
        Ok((batch.num_rows() > 0).then_some((batch, keys)))
    }

    /// The file's index by the columns of a key: made once, for all who wait for it.
    async fn index(&self, live: &Live, file: &LiveFile, key: &Key, bits: u32) -> Result<Arc<FileIndex>, Error> {
        let id: (FileId, _) = (Arc::clone(&file.id), Arc::clone(&key.id));
        if let Some(known) = self.indexes.get(&id).await {
            return Ok(known);
        }
        let make = || {
            let (store, path, bytes) = (Arc::clone(&live.store), file.path.clone(), file.bytes);
            let (key, name) = (Arc::clone(&key.schema), live.name.clone());
            // A task of its own: it goes on for the others when the one who began it goes away.
            let made = tokio::spawn(async move {
                let hashes = hashes(&store, (&path, bytes), &key, &name, bits).await?;
                tokio::task::spawn_blocking(move || Arc::new(FileIndex::of(hashes)))
                    .await
                    .map_err(|error| Error::task("indexing a file", &error))
            });
            async move { made.await.map_err(|error| Error::task("indexing a file", &error))? }
        };
        if file.rows.is_some_and(|rows| self.keeps(rows)) {
            return self.indexes.try_get_with(id, make()).await.map_err(|error| again(&error));
        }
        make().await
    }
}
