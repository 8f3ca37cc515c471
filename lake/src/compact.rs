//! Small files put together in the background: a few at a time, without keeping writers away.
//!
//! Files fall into classes by size, each four times as large as the one before. Where a class has gathered enough files,
//! those are written as one, sorted as the table says, and the commit tells that nothing but the arrangement changed. So a
//! row is written again once per class and not once per write, and a table never has many files of any class.
//!
//! The new file is written without the table's lease; only the commit takes it, and only if every file that was read is
//! still part of the table. A writer that came first wins, and what was written is thrown away. Versions that somebody has
//! pinned keep their files until a vacuum, whose retention is longer than any pin.

use std::collections::HashSet;

use mavis_types::{RunId, TableId};
use object_store::{ObjectStoreExt, path::Path};
use tracing::info;

use crate::{
    Error, Lake,
    create::Properties,
    history,
    maintain::{Optimized, Rearranged, publish, put_together},
    scan::{DataFile, data_files},
    stage::{TARGET_FILE_BYTES, delete_files},
    table::version_of,
};

/// Files up to this size are of the first class.
const FIRST_CLASS_BYTES: u64 = 2 << 20;
/// How much larger the files of the next class are.
const GROWTH: u64 = 4;
/// Bytes that one compaction reads at most.
const AT_ONCE_BYTES: u64 = 2 * TARGET_FILE_BYTES;

/// What became of a compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compacted {
    /// No class has enough files.
    Nothing,
    /// Files were put together, with version `version`, which holds the rows of `base`.
    Done { files: Optimized, base: i64, version: i64 },
    /// Somebody replaced one of the files meanwhile, or is writing the table; the next time may do better.
    Overtaken,
}

impl Lake {
    /// Puts the files of one class together, if it has at least `files` of them.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Unbalanced`].
    pub async fn compact(&self, table: TableId, files: usize, run: RunId) -> Result<Compacted, Error> {
        Box::pin(compact(self, table, files.max(2), run)).await
    }

    /// Whether a commit in `(from, to]` changed rows or columns, and not only their arrangement. A commit whose entry is
    /// gone counts as one that did.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::Store`].
    pub async fn rows_changed_between(&self, table: TableId, from: i64, to: i64) -> Result<bool, Error> {
        history::rows_changed(&self.opened(table).await?.newest_listed().await?, from, to).await
    }
}

fn class(bytes: u64) -> u32 {
    let mut class = 0;
    let mut limit = FIRST_CLASS_BYTES;
    while bytes > limit && limit < TARGET_FILE_BYTES {
        limit *= GROWTH;
        class += 1;
    }
    class
}

/// The files to put together: those of the lowest class that has enough of them, the oldest first, and of the classes
/// below it all.
fn chosen(files: &[DataFile], enough: usize, file_bytes: u64) -> Vec<DataFile> {
    let largest = class(file_bytes / 4 * 3);
    for limit in 0..largest {
        let of_class = files.iter().filter(|file| class(file.bytes) == limit).count();
        if of_class < enough {
            continue;
        }
        let mut bytes = 0;
        let fits = |file: &&DataFile| {
            bytes += file.bytes;
            bytes <= AT_ONCE_BYTES
        };
        let found: Vec<DataFile> =
            files.iter().filter(|file| class(file.bytes) <= limit).take_while(fits).cloned().collect();
        if found.len() > 1 {
            return found;
        }
    }
    Vec::new()
}

async fn compact(lake: &Lake, table: TableId, enough: usize, run: RunId) -> Result<Compacted, Error> {
    let open = lake.opened(table).await?;
    if open.foreign().is_some() {
        // Files stay as their owner wrote them.
        return Ok(Compacted::Nothing);
    }
    let read = open.newest_listed().await?;
    let properties = Properties::of(&read)?;
    let old = chosen(&data_files(&read, &open.name)?, enough, properties.file_bytes());
    if old.is_empty() {
        return Ok(Compacted::Nothing);
    }
    let store = lake.store().table(&open.location)?;
    let new = put_together(lake, &open, &read, &properties, &store, &old).await?;
    let written: Vec<Path> = new.iter().map(|file| file.path.clone()).collect();
    // From here on nobody else commits.
    let hold = match lake.hold_now(table, &open.name, run).await {
        Ok(Some(hold)) => hold,
        other => {
            delete_files(&*store, written).await;
            return other.map(|_| Compacted::Overtaken);
        }
    };
    let published = async {
        let base = open.newest_listed().await?;
        let there: HashSet<Path> = data_files(&base, &open.name)?.into_iter().map(|file| file.path).collect();
        if !old.iter().all(|file| there.contains(&file.path)) {
            delete_files(&*store, written.clone()).await;
            return Ok(Compacted::Overtaken);
        }
        // Whoever erases deletes what no version names, and these were not named yet.
        for path in &written {
            if store.head(path).await.is_err() {
                delete_files(&*store, written.clone()).await;
                return Ok(Compacted::Overtaken);
            }
        }
        let bytes = |sizes: &mut dyn Iterator<Item = u64>| sizes.sum::<u64>();
        let files = Optimized {
            files_before: there.len() as u64,
            files_after: (there.len() - old.len() + new.len()) as u64,
            bytes_before: bytes(&mut old.iter().map(|file| file.bytes)),
            bytes_after: bytes(&mut new.iter().map(|file| file.bytes)),
        };
        let version = Box::pin(publish(lake, &open, &hold, run, &base, Rearranged { old: &old, new }, &store)).await?;
        Ok(Compacted::Done { files, base: version_of(&base)?, version })
    };
    let outcome: Result<Compacted, Error> = Box::pin(published).await;
    hold.release().await;
    if let Ok(Compacted::Done { files, .. }) = &outcome {
        info!(table = %open.name, before = files.files_before, after = files.files_after, "compacted `{}`", open.name);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(1, 0)]
    #[case(2 << 20, 0)]
    #[case((2 << 20) + 1, 1)]
    #[case(8 << 20, 1)]
    #[case(9 << 20, 2)]
    #[case(33 << 20, 3)]
    #[case(500 << 20, 3)]
    fn files_fall_into_classes_by_size(#[case] bytes: u64, #[case] expected: u32) {
        assert_eq!(class(bytes), expected);
    }
}
