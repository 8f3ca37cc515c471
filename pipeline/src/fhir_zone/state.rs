//! What history knows of each id, in a few bytes each.

use std::collections::{HashMap, HashSet};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Int64Type},
};
use datafusion::prelude::{col, ident};
use futures::TryStreamExt;
use xxhash_rust::xxh3::xxh3_128;

use super::{Target, target::MADE_BY};
use crate::{context::Running, failure::Failure, tables::SESSION_BYTES};

/// The newest version of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) version: i64,
    pub(crate) hash: [u8; 16],
    pub(crate) deleted: bool,
    source: u32,
    made_by: u32,
}

/// Every id of one type. Ids are kept as 128-bit hashes.
#[derive(Debug, Default)]
pub(crate) struct State {
    known: HashMap<u128, Known>,
    names: Vec<String>,
    numbers: HashMap<String, u32>,
}

/// The name under which [`State`] keeps an id.
pub(crate) fn id_hash(id: &str) -> u128 {
    xxh3_128(id.as_bytes())
}

impl State {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    /// Reads history at its newest version. The caller holds the table's lease, so that it stays the newest.
    pub(crate) async fn read(running: &Running, target: &Target) -> Result<Self, Failure> {
        let mut state = Self::default();
        let version = running.lake().version(target.history.id).await?;
        if running.lake().row_count(target.history.id, Some(version)).await? == Some(0) {
            return Ok(state);
        }
        let session = running.lake().sessions().session(SESSION_BYTES);
        let provider = running.lake().provider(target.history.id, Some(version)).await?;
        let columns = ["id", "__version", "__hash", "__deleted", "__source", MADE_BY];
        let frame = session.read_table(provider)?.select(columns.map(ident))?;
        let mut stream = frame.execute_stream().await?;
        while let Some(batch) = stream.try_next().await? {
            running.check()?;
            state.add(&batch)?;
        }
        Ok(state)
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        let text = |index: usize| cast(batch.column(index), &DataType::Utf8);
        let (ids, sources, makers) = (text(0)?, text(4)?, text(5)?);
        let (ids, sources, makers) = (ids.as_string::<i32>(), sources.as_string::<i32>(), makers.as_string::<i32>());
        let versions = batch.column(1).as_primitive::<Int64Type>();
        let hashes = cast(batch.column(2), &DataType::Binary)?;
        let hashes = hashes.as_binary::<i32>();
        let deleted = batch.column(3).as_boolean();
        for row in 0..batch.num_rows() {
            let version = versions.value(row);
            let id = id_hash(ids.value(row));
            if self.known.get(&id).is_some_and(|known| known.version >= version) {
                continue;
            }
            let mut hash = [0_u8; 16];
            if !hashes.is_null(row) && hashes.value(row).len() == 16 {
                hash.copy_from_slice(hashes.value(row));
            }
            let named = |array: &arrow::array::StringArray| {
                if array.is_null(row) { String::new() } else { array.value(row).to_owned() }
            };
            let (source, made_by) = (named(sources), named(makers));
            let known = Known {
                version,
                hash,
                deleted: deleted.is_valid(row) && deleted.value(row),
                source: self.number(&source),
                made_by: self.number(&made_by),
            };
            self.known.insert(id, known);
        }
        Ok(())
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Known> {
        self.known.get(&id_hash(id))
    }

    pub(crate) fn source(&self, known: &Known) -> &str {
        self.names.get(known.source as usize).map_or("", String::as_str)
    }

    /// Ids that a maker of a source has made and that are not among `seen`.
    pub(crate) fn missing(&self, source: &str, made_by: &str, seen: &HashSet<u128>) -> HashSet<u128> {
        let (Some(source), Some(made_by)) = (self.numbers.get(source), self.numbers.get(made_by)) else {
            return HashSet::new();
        };
        self.known
            .iter()
            .filter(|(id, known)| {
                !known.deleted && known.source == *source && known.made_by == *made_by && !seen.contains(id)
            })
            .map(|(id, _)| *id)
            .collect()
    }
}

/// The ids behind hashes.
pub(crate) async fn ids_of(running: &Running, target: &Target, hashes: &HashSet<u128>) -> Result<Vec<String>, Failure> {
    if hashes.is_empty() {
        return Ok(Vec::new());
    }
    let session = running.lake().sessions().session(SESSION_BYTES);
    let provider = running.lake().provider(target.history.id, None).await?;
    let mut stream = session.read_table(provider)?.select([col("id")])?.execute_stream().await?;
    let mut found = HashMap::new();
    while let Some(batch) = stream.try_next().await? {
        let ids = cast(batch.column(0), &DataType::Utf8)?;
        for id in ids.as_string::<i32>().iter().flatten() {
            let hash = id_hash(id);
            if hashes.contains(&hash) {
                found.entry(hash).or_insert_with(|| id.to_owned());
            }
        }
    }
    let mut ids: Vec<String> = found.into_values().collect();
    ids.sort();
    Ok(ids)
}
