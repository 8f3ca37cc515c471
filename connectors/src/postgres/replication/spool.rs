//! The changes of many tables, read once from the slot and handed out table by table.
//!
//! What fits stays in memory; the rest goes to one file that has no name any more when the first byte is written, so that it
//! is gone with the process, however that ends.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt,
};

use bytes::{Buf, Bytes};

use super::message::{Garbled, Lsn};

/// Bytes held before they go to disk.
const HELD: usize = 32 << 20;

/// What stands in a table's part: a tag, a length, the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// The entries that follow belong to this transaction.
    Transaction { commit: Lsn, xid: u32 },
    /// A message of the table as it came.
    Message(Bytes),
}

const TRANSACTION: u8 = 0;
const MESSAGE: u8 = 1;

#[derive(Debug, Default)]
struct Part {
    held: Vec<u8>,
    /// Where earlier bytes stand in the file.
    written: Vec<(u64, usize)>,
    /// Transactions of the table, in the order of their commits.
    transactions: Vec<(Lsn, u32)>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Spool {
    parts: HashMap<u32, Part>,
    held: usize,
    file: Option<File>,
    written: u64,
}

impl Spool {
    /// Takes note of a message of a table; messages of one transaction come together.
    pub(super) fn push(&mut self, table: u32, commit: Lsn, xid: u32, message: &[u8]) -> io::Result<()> {
        let part = self.parts.entry(table).or_default();
        let before = part.held.len();
        if part.transactions.last() != Some(&(commit, xid)) {
            part.transactions.push((commit, xid));
            part.held.push(TRANSACTION);
            part.held.extend(12_u32.to_be_bytes());
            part.held.extend(commit.0.to_be_bytes());
            part.held.extend(xid.to_be_bytes());
        }
        part.held.push(MESSAGE);
        part.held.extend(u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
        part.held.extend(message);
        self.held += part.held.len() - before;
        if self.held >= HELD { self.write_out() } else { Ok(()) }
    }

    fn write_out(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(nameless()?),
        };
        for part in self.parts.values_mut().filter(|part| !part.held.is_empty()) {
            file.write_all(&part.held)?;
            part.written.push((self.written, part.held.len()));
            self.written += part.held.len() as u64;
            part.held = Vec::new();
        }
        self.held = 0;
        Ok(())
    }

    /// Bytes on disk and in memory.
    pub(super) fn bytes(&self) -> u64 {
        self.written + self.held as u64
    }

    /// The transactions that changed a table.
    pub(super) fn transactions(&self, table: u32) -> &[(Lsn, u32)] {
        self.parts.get(&table).map_or(&[], |part| &part.transactions)
    }

    /// The `number`th piece of a table's entries, whole entries each; `None` after the last.
    pub(super) fn piece(&self, table: u32, number: usize) -> io::Result<Option<Bytes>> {
        let Some(part) = self.parts.get(&table) else { return Ok(None) };
        match (part.written.get(number), &self.file) {
            (Some((at, length)), Some(file)) => {
                let mut bytes = vec![0; *length];
                file.read_exact_at(&mut bytes, *at)?;
                Ok(Some(bytes.into()))
            }
            _ if number == part.written.len() && !part.held.is_empty() => Ok(Some(Bytes::copy_from_slice(&part.held))),
            _ => Ok(None),
        }
    }
}

/// A file that only this process has.
fn nameless() -> io::Result<File> {
    let path = std::env::temp_dir().join(format!("mavis-{}", uuid::Uuid::new_v4().simple()));
    let mut options = File::options();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// The entries of a piece.
pub(super) fn entries(mut piece: Bytes) -> impl Iterator<Item = Result<Entry, Garbled>> {
    std::iter::from_fn(move || {
        if piece.is_empty() {
            return None;
        }
        if piece.len() < 5 {
            piece.clear();
            return Some(Err(Garbled));
        }
        let tag = piece.get_u8();
        let length = usize::try_from(piece.get_u32()).unwrap_or(usize::MAX);
        if piece.len() < length {
            piece.clear();
            return Some(Err(Garbled));
        }
        let mut bytes = piece.split_to(length);
        Some(match tag {
            TRANSACTION if length == 12 => {
                Ok(Entry::Transaction { commit: Lsn(bytes.get_u64()), xid: bytes.get_u32() })
            }
            MESSAGE => Ok(Entry::Message(bytes)),
            _ => Err(Garbled),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_comes_out_by_table_in_order_also_from_the_disk() {
        let mut spool = Spool::default();
        let message = |number: u32| vec![u8::try_from(number % 251).unwrap(); 40_000];
        for number in 0..2_000 {
            spool.push(number % 3, Lsn(u64::from(number / 10)), number / 10, &message(number)).unwrap();
        }
        assert!(spool.written > 0 && spool.bytes() > 80_000_000);
        for table in 0..3 {
            let (mut transactions, mut messages) = (Vec::new(), Vec::new());
            let mut piece = 0;
            while let Some(bytes) = spool.piece(table, piece).unwrap() {
                for entry in entries(bytes) {
                    match entry.unwrap() {
                        Entry::Transaction { commit, xid } => transactions.push((commit, xid)),
                        Entry::Message(bytes) => messages.push(bytes),
                    }
                }
                piece += 1;
            }
            assert_eq!(transactions, spool.transactions(table));
            let expected: Vec<Vec<u8>> = (0..2_000).filter(|number| number % 3 == table).map(message).collect();
            assert!(messages.iter().map(Bytes::as_ref).eq(expected.iter().map(Vec::as_slice)));
        }
        assert_eq!(spool.piece(9, 0).unwrap(), None);
    }
}
