use std::collections::BTreeMap;

use mavis_types::Cursor;
use object_store::ObjectStoreExt;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::{
    Error,
    objects::{FileEntry, Location, lines::fingerprint},
};

/// How far one file has been read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The file's stamp when it was read.
    pub(crate) stamp: String,
    /// Decompressed bytes read.
    pub(crate) offset: u64,
    /// Lines, entries or row groups read.
    pub(crate) record: u64,
    /// Length and hash of the bytes just before the offset.
    #[serde(default)]
    pub(crate) tail: (u64, u64),
    pub(crate) done: bool,
}

/// How far the files of a table have been read: what a cursor of a table over files holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Places {
    pub(crate) files: BTreeMap<String, Place>,
}

/// What to do with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// It has been read and has not changed.
    Skip,
    /// Read from here: the beginning, a place in the middle, or the end of what was there last time.
    From { offset: u64, record: u64 },
    /// It has been read and is another one now.
    Changed,
}

impl Places {
    pub(crate) fn from_cursor(cursor: Option<&Cursor>) -> Result<Self, Error> {
        match cursor {
            None => Ok(Self::default()),
            Some(cursor) => serde_json::from_value(cursor.0.clone()).map_err(|error| Error::Malformed {
                place: "cursor".to_owned(),
                reason: format!("not a cursor over files: {error}"),
            }),
        }
    }

    pub(crate) fn to_cursor(&self) -> Result<Cursor, Error> {
        serde_json::to_value(self)
            .map(Cursor)
            .map_err(|error| Error::Malformed { place: "cursor".to_owned(), reason: error.to_string() })
    }

    /// What to do with a file, given how far it was read; on a blocking thread.
    pub(crate) fn next(&self, location: &Location, runtime: &Handle, entry: &FileEntry) -> Result<Next, Error> {
        let Some(place) = self.files.get(&entry.name) else { return Ok(Next::From { offset: 0, record: 0 }) };
        if place.stamp == entry.stamp {
            return Ok(if place.done { Next::Skip } else { Next::From { offset: place.offset, record: place.record } });
        }
        let (length, hash) = place.tail;
        if length == 0 || entry.size < place.offset || length > place.offset {
            return Ok(Next::Changed);
        }
        let range = place.offset - length..place.offset;
        let bytes = runtime
            .block_on(location.store().get_range(&entry.path, range))
            .map_err(|error| location.error_of(entry, &error))?;
        Ok(if fingerprint(&bytes) == hash {
            Next::From { offset: place.offset, record: place.record }
        } else {
            Next::Changed
        })
    }
}
