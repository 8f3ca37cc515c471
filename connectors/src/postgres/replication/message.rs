//! What the plugin `pgoutput` writes, protocol version 1 (PostgreSQL documentation, "Logical Replication Message Formats").

use std::fmt;

/// A place in the write-ahead log, as PostgreSQL counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(in crate::postgres) struct Lsn(pub(in crate::postgres) u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl std::str::FromStr for Lsn {
    type Err = Garbled;

    fn from_str(text: &str) -> Result<Self, Garbled> {
        let (high, low) = text.split_once('/').ok_or(Garbled)?;
        let part = |text| u32::from_str_radix(text, 16).map_err(|_| Garbled);
        Ok(Self(u64::from(part(high)?) << 32 | u64::from(part(low)?)))
    }
}

impl serde::Serialize for Lsn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Lsn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(|_| serde::de::Error::custom("not a place in a log"))
    }
}

/// A message is not what the documentation says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::postgres) struct Garbled;

/// A message; rows are left as they are until somebody wants them.
#[derive(Debug, PartialEq)]
pub(super) enum Message<'a> {
    Begin {
        commit: Lsn,
        xid: u32,
    },
    Commit {
        end: Lsn,
    },
    Relation(Relation),
    Insert {
        table: u32,
    },
    Update {
        table: u32,
    },
    Delete {
        table: u32,
    },
    Truncate {
        tables: Vec<u32>,
    },
    /// Origins, types, and what other versions may add.
    Other(#[allow(dead_code, reason = "for Debug")] &'a [u8]),
}

/// A table as the messages after it have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relation {
    pub(super) table: u32,
    pub(super) columns: Vec<String>,
}

/// One column of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell<'a> {
    Null,
    /// A large value that the change left as it was; it is not sent.
    Unchanged,
    Text(&'a [u8]),
}

/// A change of one row.
#[derive(Debug, PartialEq)]
pub(super) struct Change<'a> {
    /// The row before: its key alone, or all of it where the table's replica identity is FULL.
    pub(super) old: Option<Vec<Cell<'a>>>,
    pub(super) new: Option<Vec<Cell<'a>>>,
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Garbled> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Garbled)?;
        self.0 = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Garbled> {
        self.take(N)?.try_into().map_err(|_| Garbled)
    }

    fn u8(&mut self) -> Result<u8, Garbled> {
        Ok(self.fixed::<1>()?[0])
    }

    fn count(&mut self) -> Result<usize, Garbled> {
        usize::try_from(i16::from_be_bytes(self.fixed()?)).map_err(|_| Garbled)
    }

    fn u32(&mut self) -> Result<u32, Garbled> {
        Ok(u32::from_be_bytes(self.fixed()?))
    }

    fn lsn(&mut self) -> Result<Lsn, Garbled> {
        Ok(Lsn(u64::from_be_bytes(self.fixed()?)))
    }

    fn text(&mut self) -> Result<&'a str, Garbled> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(Garbled)?;
        let text = std::str::from_utf8(self.take(end)?).map_err(|_| Garbled)?;
        self.take(1)?;
        Ok(text)
    }

    fn row(&mut self) -> Result<Vec<Cell<'a>>, Garbled> {
        (0..self.count()?)
            .map(|_| match self.u8()? {
                b'n' => Ok(Cell::Null),
                b'u' => Ok(Cell::Unchanged),
                b't' => {
                    let length = usize::try_from(self.u32()?).map_err(|_| Garbled)?;
                    Ok(Cell::Text(self.take(length)?))
                }
                _ => Err(Garbled),
            })
            .collect()
    }
}

/// Tells what a message is about.
pub(super) fn parse(bytes: &[u8]) -> Result<Message<'_>, Garbled> {
    let mut reader = Reader(bytes);
    Ok(match reader.u8()? {
        b'B' => {
            let commit = reader.lsn()?;
            reader.take(8)?;
            Message::Begin { commit, xid: reader.u32()? }
        }
        b'C' => {
            reader.take(9)?;
            Message::Commit { end: reader.lsn()? }
        }
        b'R' => {
            let table = reader.u32()?;
            reader.text()?;
            reader.text()?;
            reader.take(1)?;
            let columns = (0..reader.count()?)
                .map(|_| {
                    reader.take(1)?;
                    let name = reader.text()?.to_owned();
                    reader.take(8)?;
                    Ok(name)
                })
                .collect::<Result<_, Garbled>>()?;
            Message::Relation(Relation { table, columns })
        }
        b'I' => Message::Insert { table: reader.u32()? },
        b'U' => Message::Update { table: reader.u32()? },
        b'D' => Message::Delete { table: reader.u32()? },
        b'T' => {
            let count = reader.u32()?;
            reader.take(1)?;
            Message::Truncate { tables: (0..count).map(|_| reader.u32()).collect::<Result<_, _>>()? }
        }
        _ => Message::Other(bytes),
    })
}

/// The rows of an insert, an update or a delete.
pub(super) fn change(bytes: &[u8]) -> Result<Change<'_>, Garbled> {
    let mut reader = Reader(bytes);
    reader.take(5)?;
    let mut change = Change { old: None, new: None };
    while !reader.0.is_empty() {
        match reader.u8()? {
            b'K' | b'O' => change.old = Some(reader.row()?),
            b'N' => change.new = Some(reader.row()?),
            _ => return Err(Garbled),
        }
    }
    Ok(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[Option<&str>]) -> Vec<u8> {
        let mut bytes = u16::try_from(cells.len()).unwrap().to_be_bytes().to_vec();
        for cell in cells {
            match cell {
                Some("?") => bytes.push(b'u'),
                Some(text) => {
                    bytes.push(b't');
                    bytes.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                    bytes.extend(text.as_bytes());
                }
                None => bytes.push(b'n'),
            }
        }
        bytes
    }

    #[test]
    fn an_update_of_a_key_has_the_row_before_and_after() {
        let mut bytes = vec![b'U', 0, 0, 0, 7, b'K'];
        bytes.extend(row(&[Some("1"), None]));
        bytes.push(b'N');
        bytes.extend(row(&[Some("2"), Some("?")]));
        assert_eq!(parse(&bytes), Ok(Message::Update { table: 7 }));
        let change = change(&bytes).unwrap();
        assert_eq!(change.old, Some(vec![Cell::Text(b"1"), Cell::Null]));
        assert_eq!(change.new, Some(vec![Cell::Text(b"2"), Cell::Unchanged]));
    }

    #[test]
    fn a_message_that_is_cut_short_is_refused_wherever_it_is_cut() {
        let mut bytes = vec![b'I', 0, 0, 0, 7, b'N'];
        bytes.extend(row(&[Some("1"), Some("abc")]));
        assert!(change(&bytes).is_ok());
        for cut in 6..bytes.len() {
            assert_eq!(change(&bytes[..cut]).err(), Some(Garbled), "cut at {cut}");
        }
    }

    #[test]
    fn places_in_the_log_are_written_as_postgresql_writes_them() {
        assert_eq!(Lsn(0x16_B374_D848).to_string(), "16/B374D848");
        assert_eq!("16/B374D848".parse(), Ok(Lsn(0x16_B374_D848)));
        assert!("16".parse::<Lsn>().is_err());
        assert!("A/0".parse::<Lsn>().unwrap() > "9/FFFFFFFF".parse().unwrap());
    }
}
