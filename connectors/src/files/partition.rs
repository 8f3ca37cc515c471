//! Partitions in the Hive manner: `year=2024/month=01/part-0.parquet` says two values that no row of the file has.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray},
    datatypes::{DataType, Field, Schema},
    error::ArrowError,
};

use crate::{SourceColumn, objects::FileEntry};

/// What Hive writes for a partition without a value.
const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";

/// The folders above a file that say a value, from the outermost.
pub(crate) fn partitions(name: &str) -> Vec<(String, Option<String>)> {
    let Some((folders, _)) = name.rsplit_once('/') else { return Vec::new() };
    let mut found: Vec<(String, Option<String>)> = Vec::new();
    for (key, value) in folders.split('/').filter_map(|folder| folder.split_once('=')) {
        let key = decoded(key);
        if !key.is_empty() && found.iter().all(|(known, _)| *known != key) {
            found.push((key, (value != NO_VALUE).then(|| decoded(value))));
        }
    }
    found
}

/// `%20` and the like as what they stand for.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// Adds the columns that the folders of these files are.
pub(super) fn add_columns(files: &[FileEntry], columns: &mut Vec<SourceColumn>) {
    for (name, _) in files.iter().flat_map(|entry| partitions(&entry.name)) {
        if columns.iter().all(|column| column.name != name) {
            columns.push(SourceColumn {
                name,
                data_type: DataType::Utf8,
                nullable: true,
                source_type: "text".to_owned(),
                comment: Some("from the folder's name".to_owned()),
            });
        }
    }
}

/// The rows with the values that the file's folders say.
pub(super) fn with_values(entry: &FileEntry, batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
    let missing: Vec<(String, Option<String>)> =
        partitions(&entry.name).into_iter().filter(|(name, _)| batch.column_by_name(name).is_none()).collect();
    if missing.is_empty() || batch.num_columns() == 0 {
        return Ok(batch);
    }
    let mut fields: Vec<Arc<Field>> = batch.schema().fields().iter().cloned().collect();
    let mut columns = batch.columns().to_vec();
    for (name, value) in missing {
        fields.push(Arc::new(Field::new(name, DataType::Utf8, true)));
        let values: StringArray = std::iter::repeat_n(value.as_deref(), batch.num_rows()).collect();
        columns.push(Arc::new(values) as ArrayRef);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("year=2024/month=01/part-0.parquet", &[("year", Some("2024")), ("month", Some("01"))])]
    #[case("a/ville=Saint%20Denis/x.csv", &[("ville", Some("Saint Denis"))])]
    #[case("day=__HIVE_DEFAULT_PARTITION__/x.csv", &[("day", None)])]
    #[case("folder/a=b.csv", &[])]
    #[case("x.csv", &[])]
    fn folders_say_values(#[case] name: &str, #[case] wanted: &[(&str, Option<&str>)]) {
        let found = partitions(name);
        let found: Vec<(&str, Option<&str>)> =
            found.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        assert_eq!(found, wanted);
    }
}
