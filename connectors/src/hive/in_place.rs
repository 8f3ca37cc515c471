//! Tables that are their files: nothing is read but the list of them.

use std::sync::Arc;

use arrow::datatypes::DataType;
use object_store::path::Path;

use super::{HiveSource, MissingFiles, Place};
use crate::{Error, InPlace, InPlaceFile, TableRef, files::partitions, objects::FileEntry};

impl HiveSource {
    /// A table's files as they lie.
    pub(super) async fn tree(&self, table: &TableRef) -> Result<InPlace, Error> {
        let place = self.place(table).await?;
        let (folder, location, entries) = self.files(&place).await?;
        let authority = authority(&folder).ok_or_else(|| Error::Unsupported {
            what: format!("taking `{folder}` over in place"),
            instead:
                "files on a disk, on S3, on Google's store and on HDFS can be named by URL; take the others over with \
                      `\"take_over\": \"copy\"`"
                    .to_owned(),
        })?;
        let folders = folders(&place, &entries);
        let root = entries.first().map_or_else(Path::default, root);
        let files = entries
            .into_iter()
            .map(|entry| {
                let said = partitions(&entry.name);
                let value = |name: &String| {
                    let found = said.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.and_then(|(_, value)| value.clone())
                };
                InPlaceFile {
                    values: folders.iter().map(|(name, _)| value(name)).collect(),
                    name: entry.name,
                    path: entry.path,
                    bytes: entry.size,
                    modified: entry.modified,
                    stamp: entry.stamp,
                }
            })
            .collect();
        Ok(InPlace {
            authority,
            store: Arc::clone(location.store()),
            root,
            folders,
            files,
            removes_missing: self.params.missing_files == MissingFiles::Remove,
        })
    }
}

/// The folder that a file's name begins at.
fn root(entry: &FileEntry) -> Path {
    let above = entry.path.as_ref().strip_suffix(&entry.name).unwrap_or_default();
    Path::parse(above.trim_end_matches('/')).unwrap_or_default()
}

/// Scheme and host of what is in a folder, as other readers of the log know them.
fn authority(folder: &str) -> Option<String> {
    let Some((scheme, rest)) = folder.split_once("://") else { return Some("file://".to_owned()) };
    let host = rest.split('/').next().unwrap_or_default();
    match scheme {
        "file" => Some("file://".to_owned()),
        "s3" | "s3a" => Some(format!("s3://{host}")),
        "gs" | "webhdfs" | "swebhdfs" => Some(format!("{scheme}://{host}")),
        _ => None,
    }
}

/// The columns that are folders: in the order and types of the statement, else in their own, as text.
fn folders(place: &Place, entries: &[FileEntry]) -> Vec<(String, DataType)> {
    let mut found: Vec<String> = Vec::new();
    for (key, _) in entries.iter().flat_map(|entry| partitions(&entry.name)) {
        if !found.iter().any(|known| known.eq_ignore_ascii_case(&key)) {
            found.push(key);
        }
    }
    let declared = place.declared.iter().flat_map(|table| &table.columns);
    let mut folders: Vec<(String, DataType)> = Vec::new();
    for column in declared {
        if let Some(at) = found.iter().position(|key| key.eq_ignore_ascii_case(&column.name)) {
            found.remove(at);
            folders.push((column.name.clone(), column.data_type().unwrap_or(DataType::Utf8)));
        }
    }
    folders.extend(found.into_iter().map(|name| (name, DataType::Utf8)));
    folders
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("/srv/old/lake", Some("file://"))]
    #[case("file:///srv/old", Some("file://"))]
    #[case("s3a://archive/datalake/x", Some("s3://archive"))]
    #[case("gs://archive/x", Some("gs://archive"))]
    #[case("webhdfs://nn:9870/x", Some("webhdfs://nn:9870"))]
    #[case("abfss://c@account.dfs.core.windows.net/x", None)]
    #[case("https://host/x", None)]
    fn files_are_named_where_everybody_knows_their_store(#[case] folder: &str, #[case] wanted: Option<&str>) {
        assert_eq!(authority(folder).as_deref(), wanted);
    }
}
