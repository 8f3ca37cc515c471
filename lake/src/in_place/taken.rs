//! What of a tree was taken over, and what is different in it since.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use mavis_types::{Cursor, file_label};
use serde::{Deserialize, Serialize};

use super::{Tree, TreeFile, path};

/// Where a unit ended: the files of the tree as they were then.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Taken {
    /// The tree's folder, as a URL.
    pub(super) root: String,
    /// Stamp, bytes, and time of change in milliseconds, by name.
    pub(super) files: BTreeMap<String, (String, u64, i64)>,
}

impl Taken {
    /// A file in errors and logs, as it was when it was taken over.
    pub(super) fn label(&self, name: &str) -> String {
        let (bytes, modified) = self.files.get(name).map_or((0, 0), |(_, bytes, modified)| (*bytes, *modified));
        file_label(name, bytes, modified.div_euclid(1000))
    }
}

/// A file of a table that was taken over in place, as it was then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenFile {
    /// Below the tree's folder; what it says is data, as rows are.
    pub name: String,
    /// What errors and logs call it.
    pub label: String,
    pub bytes: u64,
    pub changed_at: Option<DateTime<Utc>>,
}

/// The files of a table, by where its last unit ended; none of a table that was not taken over in place.
#[must_use]
pub fn taken_files(cursor: &Cursor) -> Vec<TakenFile> {
    let Ok(taken) = serde_json::from_value::<Taken>(cursor.0.clone()) else { return Vec::new() };
    let file = |(name, (_, bytes, modified)): (&String, &(String, u64, i64))| TakenFile {
        name: name.clone(),
        label: taken.label(name),
        bytes: *bytes,
        changed_at: DateTime::from_timestamp_millis(*modified),
    };
    taken.files.iter().map(file).collect()
}

/// What is different in the tree.
#[derive(Debug, Default)]
pub(super) struct Different<'a> {
    pub(super) new: Vec<&'a TreeFile>,
    pub(super) changed: Vec<&'a TreeFile>,
    /// Written again with what they held before.
    pub(super) touched: Vec<&'a TreeFile>,
    pub(super) gone: Vec<String>,
}

/// When a file was changed, rounded up: never before the file's own time, which file systems tell in nanoseconds. One
/// nanosecond too early, and the file would count as changed at every reading.
pub(super) fn millis(file: &TreeFile) -> i64 {
    let within = file.modified.timestamp_subsec_nanos() % 1_000_000;
    file.modified.timestamp_millis() + i64::from(within != 0)
}

impl Tree {
    pub(super) fn root_url(&self) -> String {
        match self.root.as_ref() {
            "" => self.authority.trim_end_matches('/').to_owned(),
            _ => path::url(&self.authority, &self.root),
        }
    }

    pub(super) fn taken(&self) -> Taken {
        let files = self.files.iter().map(|file| (file.name.clone(), (file.stamp.clone(), file.bytes, millis(file))));
        Taken { root: self.root_url(), files: files.collect() }
    }

    pub(super) fn different(&self, before: &Taken) -> Different<'_> {
        let mut different = Different::default();
        for file in &self.files {
            match before.files.get(&file.name) {
                None => different.new.push(file),
                Some((stamp, _, modified)) if *stamp == file.stamp && before.root == self.root_url() => {
                    if *modified != millis(file) {
                        different.touched.push(file);
                    }
                }
                Some(_) => different.changed.push(file),
            }
        }
        let there: HashSet<&str> = self.files.iter().map(|file| file.name.as_str()).collect();
        different.gone = before.files.keys().filter(|name| !there.contains(name.as_str())).cloned().collect();
        different
    }
}
