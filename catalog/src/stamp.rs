//! Whether anything was committed to the catalog: what lets answers be kept in memory and yet be exact.
//!
//! SQLite in write-ahead mode has a file `<database>-shm` whose first 48 bytes, written twice, are the header of the index of
//! the log (SQLite, "WAL-mode File Format", section 2.2.1). Every commit, by whatever process, changes it before the commit
//! returns: the number of valid frames and the checksum of all of them. Reading it takes about a microsecond.

use std::{
    fs::File,
    mem::ManuallyDrop,
    path::{Path, PathBuf},
    sync::RwLock,
};

use crate::Catalog;

/// Length of one copy of the header.
const HEADER: usize = 48;
/// Version of the header, and where the byte stands that says that it is filled in.
const FORMAT: u32 = 3_007_000;
const IS_FILLED: usize = 12;

/// A state of the catalog. While it is the same, nothing was committed, by this process or another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp([u8; HEADER]);

impl Catalog {
    /// The state that the catalog is in; `None` where it cannot be told without asking the database (PostgreSQL), or in the
    /// moment of a commit. What was read *after* a stamp was taken holds while [`Catalog::stamp`] gives the same one.
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        self.index.as_ref()?.stamp()
    }
}

/// The index of a SQLite catalog's log.
#[derive(Debug)]
pub(crate) struct LogIndex {
    path: PathBuf,
    /// Never closed: POSIX drops the locks that a process has on a file, SQLite's own too, when the process closes any of
    /// its handles on it.
    open: RwLock<Option<ManuallyDrop<File>>>,
}

impl LogIndex {
    /// `database`: the catalog's file.
    pub(crate) fn of(database: &Path) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-shm");
        Self { path: path.into(), open: RwLock::new(None) }
    }

    fn stamp(&self) -> Option<Stamp> {
        let known = self.open.read().ok()?.as_ref().map(|file| read(file));
        match known {
            Some(Seen::Header(stamp)) => stamp,
            // Not opened yet, or replaced by another file when the last connection went.
            None | Some(Seen::Gone) => {
                let mut open = self.open.write().ok()?;
                let file = ManuallyDrop::new(File::open(&self.path).ok()?);
                match read(open.insert(file)) {
                    Seen::Header(stamp) => stamp,
                    Seen::Gone => None,
                }
            }
        }
    }
}

enum Seen {
    Header(Option<Stamp>),
    /// The file has no name any more.
    Gone,
}

#[cfg(unix)]
fn read(file: &File) -> Seen {
    use std::os::unix::fs::{FileExt, MetadataExt};
    let mut bytes = [0_u8; 2 * HEADER];
    match file.metadata() {
        Ok(meta) if meta.nlink() > 0 => {}
        _ => return Seen::Gone,
    }
    if file.read_exact_at(&mut bytes, 0).is_err() {
        return Seen::Header(None);
    }
    Seen::Header(header(&bytes))
}

#[cfg(not(unix))]
fn read(_: &File) -> Seen {
    Seen::Header(None)
}

/// The header, where both copies say the same: a writer changes one after the other.
fn header(bytes: &[u8; 2 * HEADER]) -> Option<Stamp> {
    let (first, second) = bytes.split_at(HEADER);
    let first: [u8; HEADER] = first.try_into().ok()?;
    let format = u32::from_ne_bytes(first.get(..4)?.try_into().ok()?);
    let is_whole = first == second && format == FORMAT && first.get(IS_FILLED) == Some(&1);
    is_whole.then_some(Stamp(first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NewAudit;

    fn entry(n: usize) -> NewAudit {
        NewAudit {
            actor: "a".to_owned(),
            action: "b".to_owned(),
            object: n.to_string(),
            allowed: true,
            door: "http".to_owned(),
            rows: None,
        }
    }

    #[tokio::test]
    async fn a_stamp_changes_with_every_commit_of_any_handle_and_not_without_one() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("catalog.sqlite").display());
        let (one, other) = (Catalog::open(&url).await.unwrap(), Catalog::open(&url).await.unwrap());
        let mut seen = Vec::new();
        for n in 0..2_000 {
            // Enough to pass the point where SQLite moves the log into the database and begins it anew.
            if n % 2 == 0 { &one } else { &other }.audit(&entry(n)).await.unwrap();
            let stamp = one.stamp().expect("a stamp between commits");
            assert!(!seen.contains(&stamp), "commit {n} left the stamp as it was");
            seen.push(stamp);
            assert_eq!(other.stamp(), Some(stamp));
        }
        one.audit_entries(10).await.unwrap();
        assert_eq!(one.stamp(), seen.last().copied(), "a read changed the stamp");
    }

    #[test]
    fn a_header_in_the_middle_of_a_commit_is_none() {
        let mut bytes = [0_u8; 2 * HEADER];
        assert_eq!(header(&bytes), None, "not filled in");
        for copy in [0, HEADER] {
            bytes[copy..copy + 4].copy_from_slice(&FORMAT.to_ne_bytes());
            bytes[copy + IS_FILLED] = 1;
        }
        assert!(header(&bytes).is_some());
        bytes[HEADER + 16] = 7;
        assert_eq!(header(&bytes), None, "the copies differ");
    }
}
