//! What a writing changes: incoming rows against the table's, by key and hash alone.

use std::collections::BTreeMap;

use crate::{
    Error,
    ledger::{Record, Sorted, for_each_key},
};

/// Rows of a file that a position can tell; positions are `file << FILE_SHIFT | row`.
pub(crate) const FILE_SHIFT: u32 = 36;

/// One of four marks per row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Marks(Vec<u64>);

/// Mark of a row that nothing happens to: an incoming row is left out, a row of the table stays.
pub(crate) const NONE: u8 = 0;
/// An incoming row is new, or a row of the table is deleted.
pub(crate) const WHOLE: u8 = 1;
/// An incoming row replaces another, or a row of the table is replaced.
pub(crate) const REPLACED: u8 = 2;

impl Marks {
    pub(crate) fn get(&self, row: u64) -> u8 {
        let (word, shift) = place(row);
        self.0.get(word).map_or(NONE, |bits| ((bits >> shift) & 3) as u8)
    }

    pub(crate) fn set(&mut self, row: u64, mark: u8) {
        let (word, shift) = place(row);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] = (self.0[word] & !(3 << shift)) | (u64::from(mark) << shift);
    }

    /// How many of the rows in `range` have a mark.
    pub(crate) fn marked(&self, range: std::ops::Range<u64>) -> u64 {
        range.filter(|row| self.get(*row) != NONE).count() as u64
    }
}

fn place(row: u64) -> (usize, u32) {
    (usize::try_from(row / 32).unwrap_or(usize::MAX), (row % 32) as u32 * 2)
}

/// What happens to each row.
#[derive(Debug, Default)]
pub(crate) struct Differences {
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    pub(crate) unchanged: u64,
    pub(crate) deduplicated: u64,
    pub(crate) deleted: u64,
    /// Keys that incoming rows share which do not say the same.
    pub(crate) differing: u64,
    /// Marks of the incoming rows, by their position.
    pub(crate) incoming: Marks,
    /// Occurrences of new rows without a key, where they are not 0; by position.
    pub(crate) occurrences: Vec<(u64, i64)>,
    /// Marks of the table's rows that go, by file, then by row.
    pub(crate) gone: BTreeMap<u32, Marks>,
}

impl Differences {
    /// Whether the table is to change at all.
    pub(crate) fn any(&self) -> bool {
        self.inserted + self.updated + self.deleted > 0
    }

    fn keep(&mut self, row: &Record, mark: u8) {
        self.incoming.set(row.position(), mark);
    }

    fn remove(&mut self, row: &Record, mark: u8) {
        let file = u32::try_from(row.position() >> FILE_SHIFT).unwrap_or(u32::MAX);
        self.gone.entry(file).or_default().set(row.position() & ((1 << FILE_SHIFT) - 1), mark);
    }
}

/// Compares. `delete_missing`: rows of the table that no incoming row has the key of are deleted, if they are flagged.
pub(crate) fn compare(incoming: &Sorted, table: &Sorted, delete_missing: bool) -> Result<Differences, Error> {
    let mut found = Differences::default();
    for_each_key(incoming, table, |new, old| {
        if new.iter().chain(old).next().is_some_and(Record::keyless) {
            without_key(&mut found, new, old, delete_missing);
        } else {
            with_key(&mut found, new, old, delete_missing);
        }
    })?;
    found.occurrences.sort_unstable();
    Ok(found)
}

fn with_key(found: &mut Differences, new: &[Record], old: &[Record], delete_missing: bool) {
    // The last of several rows of one key counts.
    let Some((last, earlier)) = new.split_last() else {
        if delete_missing {
            for row in old.iter().filter(|row| row.flagged()) {
                found.remove(row, WHOLE);
                found.deleted += 1;
            }
        }
        return;
    };
    let live = || new.iter().filter(|row| !row.flagged());
    found.deduplicated += earlier.iter().filter(|row| !row.flagged()).count() as u64;
    found.differing += u64::from(live().any(|row| live().next().is_some_and(|first| first.hash != row.hash)));
    if last.flagged() {
        for row in old {
            found.remove(row, WHOLE);
        }
        found.deleted += old.len() as u64;
        return;
    }
    let Some(first) = old.first() else {
        found.keep(last, WHOLE);
        found.inserted += 1;
        return;
    };
    // Rows that were appended may share a key; one of them stays or is replaced, the others go.
    let kept = old.iter().find(|row| row.hash == last.hash);
    let replaced = kept.unwrap_or(first);
    for row in old.iter().filter(|row| row.place != replaced.place) {
        found.remove(row, WHOLE);
        found.deleted += 1;
    }
    if kept.is_some() {
        found.unchanged += 1;
    } else {
        found.remove(first, REPLACED);
        found.keep(last, REPLACED);
        found.updated += 1;
    }
}

fn without_key(found: &mut Differences, new: &[Record], old: &[Record], delete_missing: bool) {
    let live = new.iter().filter(|row| !row.flagged()).count();
    let dead = new.len() - live;
    let same = live.min(old.len());
    found.unchanged += same as u64;
    let first = old.iter().map(|row| row.order + 1).max().unwrap_or(0);
    for (occurrence, row) in (first..).zip(new.iter().filter(|row| !row.flagged()).skip(same)) {
        found.keep(row, WHOLE);
        found.inserted += 1;
        if occurrence > 0 {
            found.occurrences.push((row.position(), i64::try_from(occurrence).unwrap_or(i64::MAX)));
        }
    }
    // `old` is sorted by occurrence: the highest go first.
    let left = old[same..].iter().rev();
    for (number, row) in left.enumerate() {
        if number < dead || (delete_missing && row.flagged()) {
            found.remove(row, WHOLE);
            found.deleted += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::ledger::{FLAG, KEYLESS, Ledger};

    const OLD: u64 = FLAG;

    fn row(key: u128, hash: u128, order: u64, flags: u64) -> Record {
        Record { key, hash, order, place: order | flags }
    }

    fn run(new: &[Record], old: &[Record], delete_missing: bool) -> Differences {
        let folder = tempfile::tempdir().unwrap();
        let sorted = |rows: &[Record]| {
            let mut ledger = Ledger::new(folder.path(), 100);
            for row in rows {
                ledger.push(*row).unwrap();
            }
            ledger.finish().unwrap()
        };
        compare(&sorted(new), &sorted(old), delete_missing).unwrap()
    }

    fn counts(found: &Differences) -> [u64; 5] {
        [found.inserted, found.updated, found.unchanged, found.deduplicated, found.deleted]
    }

    #[test]
    fn rows_are_new_changed_the_same_or_missing() {
        let new = [row(1, 10, 0, 0), row(2, 20, 1, 0), row(3, 31, 2, 0)];
        let old = [row(2, 20, 0, OLD), row(3, 30, 1, OLD), row(4, 40, 2, OLD)];
        let found = run(&new, &old, true);
        assert_eq!(counts(&found), [1, 1, 1, 0, 1]);
        assert_eq!([0, 1, 2].map(|at| found.incoming.get(at)), [WHOLE, NONE, REPLACED]);
        assert_eq!([0, 1, 2].map(|at| found.gone[&0].get(at)), [NONE, REPLACED, WHOLE]);
        assert_eq!(counts(&run(&new, &old, false)), [1, 1, 1, 0, 0]);
    }

    #[test]
    fn only_rows_that_are_owned_are_deleted_when_missing() {
        let found = run(&[], &[row(1, 1, 0, 0), row(2, 2, 1, OLD)], true);
        assert_eq!(counts(&found), [0, 0, 0, 0, 1]);
        assert_eq!(found.gone[&0].get(0), NONE);
    }

    #[rstest]
    #[case(&[row(1, 10, 0, 0), row(1, 11, 1, 0)], [0, 1, 0, 1, 0])]
    #[case(&[row(1, 11, 0, 0), row(1, 10, 1, 0)], [0, 0, 1, 1, 0])]
    #[case(&[row(1, 11, 0, 0), row(1, 0, 1, FLAG)], [0, 0, 0, 1, 1])]
    #[case(&[row(1, 0, 0, FLAG), row(1, 11, 1, 0)], [0, 1, 0, 0, 0])]
    #[case(&[row(9, 0, 0, FLAG)], [0, 0, 0, 0, 0])]
    fn the_last_word_on_a_key_counts(#[case] new: &[Record], #[case] expected: [u64; 5]) {
        assert_eq!(counts(&run(new, &[row(1, 10, 0, OLD)], false)), expected);
    }

    #[rstest]
    #[case(&[row(1, 10, 0, 0), row(1, 10, 1, 0)], 0)]
    #[case(&[row(1, 10, 0, 0), row(1, 11, 1, 0), row(1, 12, 2, 0)], 1)]
    #[case(&[row(1, 10, 0, 0), row(2, 11, 1, 0)], 0)]
    #[case(&[row(1, 10, 0, 0), row(1, 0, 1, FLAG)], 0)]
    #[case(&[row(1, 10, 0, 0), row(1, 11, 1, 0), row(2, 1, 2, 0), row(2, 2, 3, 0)], 2)]
    #[case(&[row(5, 5, 0, KEYLESS), row(5, 5, 1, KEYLESS)], 0)]
    fn keys_of_rows_that_do_not_say_the_same_are_counted(#[case] new: &[Record], #[case] keys: u64) {
        assert_eq!(run(new, &[row(1, 9, 0, OLD)], false).differing, keys);
    }

    #[rstest]
    #[case(3, 0, [3, 0, 0, 0, 0], &[(1, 1), (2, 2)])]
    #[case(3, 2, [1, 0, 2, 0, 0], &[(2, 2)])]
    #[case(1, 3, [0, 0, 1, 0, 2], &[])]
    fn equal_rows_without_a_key_are_counted(
        #[case] new: u64,
        #[case] old: u64,
        #[case] expected: [u64; 5],
        #[case] occurrences: &[(u64, i64)],
    ) {
        let rows = |count: u64, flags| (0..count).map(|at| row(5, 5, at, flags)).collect::<Vec<_>>();
        let found = run(&rows(new, KEYLESS), &rows(old, KEYLESS | OLD), true);
        assert_eq!(counts(&found), expected);
        assert_eq!(found.occurrences, occurrences);
        if expected[4] > 0 {
            assert_eq!(found.gone[&0].get(0), NONE, "the first occurrence stays");
        }
    }

    #[test]
    fn rows_that_were_appended_with_one_key_become_one() {
        let found = run(&[row(1, 11, 0, 0)], &[row(1, 10, 0, 0), row(1, 11, 1, 0), row(1, 12, 2, 0)], false);
        assert_eq!(counts(&found), [0, 0, 1, 0, 2]);
    }
}
