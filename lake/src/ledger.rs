//! Keys and hashes of many rows in bounded memory: what fits is kept, what does not is parted over files by key.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use uuid::Uuid;

use crate::Error;

/// Parts on disk; of a billion rows each part takes 370 MB while it is compared.
const PARTS: usize = 128;
const PART_BITS: u32 = PARTS.ilog2();
/// Records held before they go to disk: 48 MB.
pub(crate) const MEMORY_RECORDS: usize = 1 << 20;
const RECORD_BYTES: usize = 48;

/// One row, as far as a comparison needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// Hash of the key columns; of the whole row where there is no key.
    pub(crate) key: u128,
    /// Hash of the row.
    pub(crate) hash: u128,
    /// Incoming rows: the order in which they came. Rows of the table: their occurrence.
    pub(crate) order: u64,
    /// Where the row is, and [`FLAG`] and [`KEYLESS`].
    pub(crate) place: u64,
}

/// Incoming rows: the row deletes its key. Rows of the table: the row may be deleted when it is missing.
pub(crate) const FLAG: u64 = 1 << 63;
/// The row has no key: equal rows are counted, not merged.
pub(crate) const KEYLESS: u64 = 1 << 62;

impl Record {
    pub(crate) fn position(&self) -> u64 {
        self.place & !(FLAG | KEYLESS)
    }

    pub(crate) fn flagged(&self) -> bool {
        self.place & FLAG != 0
    }

    pub(crate) fn keyless(&self) -> bool {
        self.place & KEYLESS != 0
    }

    fn part(&self) -> usize {
        (self.key >> (u128::BITS - PART_BITS)) as usize
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.key.to_le_bytes())?;
        out.write_all(&self.hash.to_le_bytes())?;
        out.write_all(&self.order.to_le_bytes())?;
        out.write_all(&self.place.to_le_bytes())
    }

    fn read(bytes: &[u8; RECORD_BYTES]) -> Self {
        let mut wide = [0; 16];
        let mut narrow = [0; 8];
        let mut u128_at = |at: usize| {
            wide.copy_from_slice(&bytes[at..at + 16]);
            u128::from_le_bytes(wide)
        };
        let (key, hash) = (u128_at(0), u128_at(16));
        let mut u64_at = |at: usize| {
            narrow.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(narrow)
        };
        Self { key, hash, order: u64_at(32), place: u64_at(40) }
    }
}

/// A folder that is deleted with its value.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(below: &Path, what: &str) -> Result<Self, Error> {
        let path = below.join(format!("{what}-{}", Uuid::now_v7()));
        fs::create_dir_all(&path).map_err(|error| spill(&error))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!("a spill folder could not be deleted: {error}");
        }
    }
}

fn spill(error: &io::Error) -> Error {
    Error::store("spilling keys to disk", error)
}

#[derive(Debug)]
struct Spill {
    folder: Scratch,
    files: Vec<BufWriter<File>>,
}

/// Collects records in any order.
#[derive(Debug)]
pub(crate) struct Ledger {
    memory: Vec<Record>,
    limit: usize,
    below: PathBuf,
    spill: Option<Spill>,
    len: u64,
}

impl Ledger {
    pub(crate) fn new(below: &Path, limit: usize) -> Self {
        Self { memory: Vec::new(), limit: limit.max(1), below: below.to_path_buf(), spill: None, len: 0 }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The records, where none went to disk.
    pub(crate) fn in_memory(&self) -> Option<&[Record]> {
        self.spill.is_none().then_some(&self.memory[..])
    }

    pub(crate) fn push(&mut self, record: Record) -> Result<(), Error> {
        self.memory.push(record);
        self.len += 1;
        if self.memory.len() >= self.limit { self.write_out() } else { Ok(()) }
    }

    fn write_out(&mut self) -> Result<(), Error> {
        let spill_to = match &mut self.spill {
            Some(spill) => spill,
            none => {
                let folder = Scratch::new(&self.below, "keys")?;
                let files = (0..PARTS)
                    .map(|part| Ok(BufWriter::new(File::create(folder.path().join(part.to_string()))?)))
                    .collect::<io::Result<Vec<_>>>()
                    .map_err(|error| spill(&error))?;
                none.insert(Spill { folder, files })
            }
        };
        for record in self.memory.drain(..) {
            record.write(&mut spill_to.files[record.part()]).map_err(|error| spill(&error))?;
        }
        Ok(())
    }

    /// Ends the collection.
    pub(crate) fn finish(mut self) -> Result<Sorted, Error> {
        if self.spill.is_none() {
            self.memory.sort_unstable_by_key(|record| (record.key, record.order));
            return Ok(Sorted { memory: self.memory, folder: None });
        }
        self.write_out()?;
        let Some(spill_to) = self.spill.take() else { return Ok(Sorted { memory: Vec::new(), folder: None }) };
        for mut file in spill_to.files {
            file.flush().map_err(|error| spill(&error))?;
        }
        Ok(Sorted { memory: Vec::new(), folder: Some(spill_to.folder) })
    }
}

/// A finished ledger, read part by part; each part sorted by key, then by order.
#[derive(Debug)]
pub(crate) struct Sorted {
    memory: Vec<Record>,
    folder: Option<Scratch>,
}

impl Sorted {
    fn part(&self, part: usize) -> Result<Vec<Record>, Error> {
        let Some(folder) = &self.folder else {
            let from = self.memory.partition_point(|record| record.part() < part);
            let to = self.memory.partition_point(|record| record.part() <= part);
            return Ok(self.memory[from..to].to_vec());
        };
        let file = File::open(folder.path().join(part.to_string())).map_err(|error| spill(&error))?;
        let bytes = file.metadata().map_err(|error| spill(&error))?.len();
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut records = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0) / RECORD_BYTES);
        let mut buffer = [0; RECORD_BYTES];
        for _ in 0..records.capacity().min(usize::try_from(bytes).unwrap_or(0) / RECORD_BYTES) {
            reader.read_exact(&mut buffer).map_err(|error| spill(&error))?;
            records.push(Record::read(&buffer));
        }
        records.sort_unstable_by_key(|record| (record.key, record.order));
        Ok(records)
    }
}

/// Calls `each` with the records of one key on both sides, for every key of either.
pub(crate) fn for_each_key(
    left: &Sorted,
    right: &Sorted,
    mut each: impl FnMut(&[Record], &[Record]),
) -> Result<(), Error> {
    if left.folder.is_none() && right.folder.is_none() {
        walk(&left.memory, &right.memory, &mut each);
        return Ok(());
    }
    for part in 0..PARTS {
        walk(&left.part(part)?, &right.part(part)?, &mut each);
    }
    Ok(())
}

fn walk(mut left: &[Record], mut right: &[Record], each: &mut impl FnMut(&[Record], &[Record])) {
    while let Some(key) = match (left.first(), right.first()) {
        (Some(a), Some(b)) => Some(a.key.min(b.key)),
        (Some(one), None) | (None, Some(one)) => Some(one.key),
        (None, None) => None,
    } {
        let run = |side: &[Record]| side.iter().take_while(|record| record.key == key).count();
        let (here, rest) = left.split_at(run(left));
        let (there, other) = right.split_at(run(right));
        each(here, there);
        (left, right) = (rest, other);
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn record(key: u64, order: u64) -> Record {
        // Spread over the parts as real hashes are.
        let key = xxhash_rust::xxh3::xxh3_128(&key.to_le_bytes());
        Record { key, hash: u128::from(order), order, place: order | KEYLESS }
    }

    fn groups(limit: usize) -> Vec<(usize, Vec<u64>, usize)> {
        let folder = tempfile::tempdir().unwrap();
        let mut left = Ledger::new(folder.path(), limit);
        let mut right = Ledger::new(folder.path(), 1000);
        for order in 0..100 {
            left.push(record(order % 40, order)).unwrap();
        }
        for order in 0..60 {
            right.push(record(order + 20, order)).unwrap();
        }
        let mut groups = Vec::new();
        let (left, right) = (left.finish().unwrap(), right.finish().unwrap());
        for_each_key(&left, &right, |a, b| {
            assert!(a.iter().chain(b).all(|record| record.keyless() && !record.flagged()));
            groups.push((a.len(), a.iter().map(Record::position).collect(), b.len()));
        })
        .unwrap();
        drop((left, right));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "spill files are gone");
        groups.sort();
        groups
    }

    #[rstest]
    #[case(1)]
    #[case(7)]
    #[case(1000)]
    fn every_key_of_both_sides_comes_once_with_its_records_in_order(#[case] limit: usize) {
        let groups = groups(limit);
        assert_eq!(groups.len(), 80);
        assert_eq!(groups.iter().map(|(a, _, _)| a).sum::<usize>(), 100);
        assert_eq!(groups.iter().map(|(_, _, b)| b).sum::<usize>(), 60);
        assert!(groups.iter().all(|(_, orders, _)| orders.is_sorted()));
        assert_eq!(groups.iter().filter(|(a, _, b)| *a > 0 && *b > 0).count(), 20);
    }
}
