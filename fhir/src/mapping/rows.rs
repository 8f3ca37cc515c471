use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::{compute::cast, datatypes::DataType};

use super::{MappedRow, Mapping, column::Column, tree, write::Writer};
use crate::{ResourceType, functions::canonical_text, json};

pub(super) fn resources(mapping: &Mapping, rows: &RecordBatch) -> Vec<Result<MappedRow, String>> {
    let every = |reason: String| vec![Err(reason); rows.num_rows()];
    let keys = match keys(mapping, rows) {
        Ok(keys) => keys,
        Err(reason) => return every(reason),
    };
    let key = |row: usize| -> Result<Vec<String>, String> {
        let part = |(place, column): (usize, &StringArray)| {
            if column.is_null(row) || column.value(row).is_empty() {
                return Err(format!("key part {} is empty", place + 1));
            }
            Ok(column.value(row).to_owned())
        };
        keys.iter().enumerate().map(part).collect()
    };
    if mapping.resource_json.is_some() {
        let texts = match rows.column_by_name("resource_json").map(|texts| cast(texts, &DataType::Utf8)) {
            Some(Ok(texts)) => texts,
            _ => return every("the statement has no text column `resource_json`".to_owned()),
        };
        let texts = texts.as_string::<i32>();
        let row = |row: usize| {
            let text = if texts.is_null(row) { None } else { Some(texts.value(row)) };
            Ok(MappedRow { key: key(row)?, json: native(mapping.resource, text)? })
        };
        return (0..rows.num_rows()).map(row).collect();
    }

    let (root, targets, problems) = tree::build(mapping);
    if let Some(problem) = problems.into_iter().next() {
        return every(problem.to_string());
    }
    let mut columns = Vec::with_capacity(targets.len());
    for (place, (target, (path, _))) in targets.into_iter().zip(&mapping.set).enumerate() {
        let values = rows.column_by_name(&format!("set_{place}"));
        let (Some(target), Some(values)) = (target, values) else {
            return every(format!("`{path}`: the statement has no column set_{place}"));
        };
        match Column::new(target, values) {
            Ok(column) => columns.push(column),
            Err(reason) => return every(format!("`{path}`: {reason}")),
        }
    }
    let row = |row: usize| {
        let key = key(row)?;
        for (column, (path, _)) in columns.iter().zip(&mapping.set) {
            if let Some(reason) = column.invalid(row) {
                return Err(format!("`{path}`: {reason}"));
            }
        }
        let json = Writer { columns: &columns, row }.resource(mapping.resource, &root)?;
        Ok(MappedRow { key, json })
    };
    (0..rows.num_rows()).map(row).collect()
}

fn keys(mapping: &Mapping, rows: &RecordBatch) -> Result<Vec<StringArray>, String> {
    (0..mapping.key.len())
        .map(|place| {
            let name = format!("key_{place}");
            let values = rows.column_by_name(&name).ok_or_else(|| format!("the statement has no column {name}"))?;
            canonical_text(values).map_err(|error| error.to_string())
        })
        .collect()
}

/// A resource that the source holds as JSON, checked to be one of the type.
fn native(resource: ResourceType, text: Option<&str>) -> Result<String, String> {
    let text = text.ok_or("the resource is null")?;
    let value = json::parse(text.as_bytes()).map_err(|error| error.to_string())?;
    match value.get("resourceType").and_then(json::Value::as_str) {
        Some(name) if name == resource.name() => Ok(text.to_owned()),
        Some(_) => Err(format!("the resource is not a {resource}")),
        None => Err("the JSON has no resourceType".to_owned()),
    }
}
