use arrow::datatypes::SchemaRef;
use futures::TryStreamExt;
use mavis_types::TableName;
use object_store::{ObjectStore, path::Path};
use std::sync::Arc;

use crate::{Error, hash::hash_rows, scan};

/// Where the keys of one file stand: hashes in ascending order, and the row of each.
#[derive(Debug, Default)]
pub(super) struct FileIndex {
    hashes: Vec<u64>,
    rows: Vec<u32>,
}

impl FileIndex {
    /// Bytes that a row of the file takes in its index.
    pub(super) const BYTES_OF_A_ROW: u64 = 12;

    /// From hashes in the order of the rows.
    pub(super) fn of(hashes: impl IntoIterator<Item = u64>) -> Self {
        let mut pairs: Vec<(u64, u32)> = hashes.into_iter().zip(0..).collect();
        pairs.sort_unstable();
        let (hashes, rows) = pairs.into_iter().unzip();
        Self { hashes, rows }
    }

    /// Rows whose key may have this hash, in ascending order.
    pub(super) fn rows(&self, hash: u64) -> &[u32] {
        let from = self.lower_bound(hash);
        let equal = self.hashes[from..].iter().take_while(|known| **known == hash).count();
        &self.rows[from..from + equal]
    }

    /// The first place whose hash is not below `hash`. Hashes are spread evenly, so that their place is near where their
    /// value says; from there the steps double until the place lies between two of them.
    fn lower_bound(&self, hash: u64) -> usize {
        let count = self.hashes.len();
        let guess = usize::try_from((u128::from(hash) * count as u128) >> 64).unwrap_or(0).min(count);
        let (mut low, mut high) = (0, count);
        let mut step = 8;
        let mut at = guess;
        while at > 0 && self.hashes[at - 1] >= hash {
            high = at - 1;
            at = at.saturating_sub(step);
            step *= 2;
        }
        low = low.max(at);
        step = 8;
        let mut at = guess;
        while at < high && self.hashes[at] < hash {
            low = at + 1;
            at = at.saturating_add(step);
            step *= 2;
        }
        high = high.min(at);
        low + self.hashes[low..high.max(low)].partition_point(|known| *known < hash)
    }

    pub(super) fn bytes(&self) -> usize {
        self.hashes.capacity() * 8 + self.rows.capacity() * 4 + 128
    }
}

/// The part of a row's hash that an index holds: its upper bits, of which tests take few.
pub(super) fn short(hash: u128, bits: u32) -> u64 {
    let upper = u64::try_from(hash >> 64).unwrap_or_default();
    upper & !u64::MAX.checked_shr(bits).unwrap_or(0)
}

/// Hashes of the keys of a file, in the order of its rows. `key`: the key's columns in the types of the table.
pub(super) async fn hashes(
    store: &Arc<dyn ObjectStore>,
    (path, bytes): (&Path, u64),
    key: &SchemaRef,
    table: &TableName,
    bits: u32,
) -> Result<Vec<u64>, Error> {
    let mut hashes = Vec::new();
    let mut batches = Box::pin(scan::read(store, path, bytes, key, table).await?);
    while let Some(batch) = batches.try_next().await? {
        hashes.extend(hash_rows(&batch, |_| true)?.into_iter().map(|hash| short(hash, bits)));
    }
    Ok(hashes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_index_finds_every_row_of_a_hash_and_no_other(
            hashes in prop::collection::vec(prop_oneof![any::<u64>(), 0..20_u64, (u64::MAX - 5)..=u64::MAX], 0..400),
            asked in prop::collection::vec(any::<u64>(), 0..20),
        ) {
            let index = FileIndex::of(hashes.iter().copied());
            for hash in hashes.iter().chain(&asked).chain(&[0, u64::MAX]) {
                let expected: Vec<u32> = (0..).zip(&hashes).filter(|(_, h)| *h == hash).map(|(row, _)| row).collect();
                prop_assert_eq!(index.rows(*hash), expected.as_slice());
            }
        }
    }

    #[test]
    fn few_bits_keep_the_upper_ones() {
        assert_eq!(short(u128::MAX, 4), 0xf << 60);
        assert_eq!(short(u128::MAX, 64), u64::MAX);
        assert_eq!(short(u128::from(u64::MAX), 64), 0);
    }
}
