//! Which files a Delta table has now, for peers that read Parquet.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use serde_json::Value;

/// The data files of the newest version, from the log's entries (which must be all there).
///
/// # Errors
/// When the log cannot be read.
pub fn live_files(table: &Path) -> Result<Vec<PathBuf>> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(table.join("_delta_log"))?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    entries.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    entries.sort();
    let mut live = BTreeSet::new();
    for entry in entries {
        for line in fs::read_to_string(entry)?.lines() {
            let action: Value = serde_json::from_str(line)?;
            if let Some(path) = action.pointer("/remove/path").and_then(Value::as_str) {
                live.remove(path);
            }
            if let Some(path) = action.pointer("/add/path").and_then(Value::as_str) {
                live.insert(path.to_owned());
            }
        }
    }
    Ok(live.into_iter().map(|path| table.join(path)).collect())
}
