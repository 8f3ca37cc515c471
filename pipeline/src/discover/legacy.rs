//! Reports made elsewhere: ours, or the replaced system's `discovery_report.json` in any of its shapes.

use chrono::Utc;
use mavis_connectors::{ReadMode, TableKind, TableRef};
use mavis_types::unique_names;
use serde_json::{Map, Value};

use crate::{DiscoveryReport, Error, ReportColumn, ReportTable};

/// Reads a report. Ours is read exactly; of another one, tables with their columns and types are found wherever they
/// stand: `tables` as a list or an object, columns as a list of objects, of pairs, of names, or an object of types,
/// possibly one level down under the source's name.
///
/// # Errors
/// When the text is not JSON, or no table is in it.
pub(crate) fn read(source: &str, json: &str) -> Result<DiscoveryReport, Error> {
    if let Ok(report) = serde_json::from_str::<DiscoveryReport>(json) {
        return Ok(DiscoveryReport { source: source.to_owned(), ..report });
    }
    let invalid = |reason: &str| Error::Invalid { reason: format!("the discovery report cannot be read: {reason}") };
    let value: Value = serde_json::from_str(json).map_err(|error| invalid(&format!("not JSON: {error}")))?;
    let mut tables = Vec::new();
    gather(&value, source, 0, &mut tables);
    if tables.is_empty() {
        return Err(invalid(
            "no table with columns is in it; write {\"tables\": [{\"name\": ..., \"columns\": [{\"name\": ..., \"type\": ...}]}]}",
        ));
    }
    Ok(DiscoveryReport { source: source.to_owned(), made_at: Utc::now(), tables, failures: Vec::new() })
}

fn text<'a>(object: &'a Map<String, Value>, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| object.get(*name)?.as_str())
}

fn gather(value: &Value, source: &str, depth: u32, tables: &mut Vec<ReportTable>) {
    if depth > 4 {
        return;
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| gather(item, source, depth + 1, tables)),
        Value::Object(object) => {
            let name = text(object, &["table", "table_name", "name"]);
            if let (Some(name), Some(columns)) = (name, object.get("columns").or_else(|| object.get("fields"))) {
                tables.extend(table(name, object, columns, source));
                return;
            }
            let sources = text(object, &["source", "name", "database"]);
            if sources.is_some_and(|name| !name.eq_ignore_ascii_case(source)) && object.contains_key("tables") {
                // The report tells of several sources; this is another one's part.
                return;
            }
            match object.get("tables") {
                Some(Value::Object(named)) => {
                    named.iter().for_each(|(name, value)| by_name(name, value, source, tables))
                }
                Some(list) => gather(list, source, depth + 1, tables),
                None => {
                    for (name, value) in object {
                        if name.eq_ignore_ascii_case(source)
                            || ["sources", "databases", "report"].contains(&name.as_str())
                        {
                            gather(value, source, depth + 1, tables);
                        } else if value.get("columns").is_some()
                            || (value.get("tables").is_none()
                                && name != "failures"
                                && name != "errors"
                                && columns_of(value).len() > 1)
                        {
                            by_name(name, value, source, tables);
                        }
                    }
                }
            }
        }
        _ => {}
    }
}

fn by_name(name: &str, value: &Value, source: &str, tables: &mut Vec<ReportTable>) {
    let empty = Map::new();
    let object = value.as_object().unwrap_or(&empty);
    let columns = object.get("columns").or_else(|| object.get("fields")).unwrap_or(value);
    tables.extend(table(name, object, columns, source));
}

fn table(name: &str, object: &Map<String, Value>, columns: &Value, source: &str) -> Option<ReportTable> {
    let columns = columns_of(columns);
    if columns.is_empty() {
        return None;
    }
    let lake = unique_names(columns.iter().map(|(name, _)| name.as_str()));
    let (schema, name) = match name.split_once('.') {
        Some((schema, name)) => (Some(schema.to_owned()), name),
        None => (text(object, &["schema", "table_schema"]).map(str::to_owned), name),
    };
    let key = match object.get("primary_key").or_else(|| object.get("key")) {
        Some(Value::Array(names)) => names.iter().filter_map(|n| n.as_str().map(str::to_owned)).collect(),
        Some(Value::String(name)) => vec![name.clone()],
        _ => Vec::new(),
    };
    Some(ReportTable {
        table: TableRef { schema, name: name.to_owned() },
        lake_name: (source.to_owned(), mavis_types::normalize_name(name)),
        kind: TableKind::Table,
        mode: ReadMode::Snapshot,
        columns: columns
            .into_iter()
            .zip(lake)
            .map(|((name, source_type), lake_name)| ReportColumn {
                name,
                lake_name,
                data_type: arrow_type(&source_type).to_owned(),
                source_type,
                nullable: true,
                comment: None,
                profile: None,
            })
            .collect(),
        key,
        foreign_keys: Vec::new(),
        comment: text(object, &["comment", "description"]).map(str::to_owned),
        row_estimate: ["rows", "row_count", "count"].iter().find_map(|name| object.get(*name)?.as_u64()),
        rules: None,
        held: Vec::new(),
        held_columns: Vec::new(),
    })
}

fn columns_of(value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Array(items) => items
            .iter()
            .filter_map(|item| match item {
                Value::String(name) => Some((name.clone(), "string".to_owned())),
                Value::Array(pair) => {
                    let name = pair.first()?.as_str()?;
                    Some((name.to_owned(), pair.get(1).and_then(Value::as_str).unwrap_or("string").to_owned()))
                }
                Value::Object(object) => {
                    let name = text(object, &["name", "column", "column_name", "col_name"])?;
                    let kind = text(object, &["type", "data_type", "dtype"]).unwrap_or("string");
                    Some((name.to_owned(), kind.to_owned()))
                }
                _ => None,
            })
            .collect(),
        Value::Object(object) => object
            .iter()
            .filter_map(|(name, kind)| {
                let kind = kind.as_str().or_else(|| text(kind.as_object()?, &["type", "data_type"]))?;
                Some((name.clone(), kind.to_owned()))
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The Arrow type of a Spark, Hive, PostgreSQL or MySQL type's name.
fn arrow_type(name: &str) -> &'static str {
    let name = name.to_ascii_lowercase();
    let base = name.trim_end_matches("type").split(['(', ' ']).next().unwrap_or("");
    match base {
        "tinyint" | "smallint" | "int2" | "short" | "byte" => "Int16",
        "int" | "integer" | "int4" | "serial" | "mediumint" => "Int32",
        "bigint" | "int8" | "long" | "bigserial" => "Int64",
        "float" | "real" | "float4" => "Float32",
        "double" | "float8" | "numeric" | "decimal" | "number" => "Float64",
        "boolean" | "bool" => "Boolean",
        "date" => "Date32",
        "timestamp" | "datetime" | "timestamptz" => "Timestamp(µs)",
        "binary" | "bytea" | "blob" => "Binary",
        _ => "Utf8",
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(r#"{"tables": [{"name": "hms_patient", "columns": [{"name": "patient_id", "type": "int"}, {"name": "Nom", "type": "string"}]}]}"#)]
    #[case(r#"{"tables": {"hms_patient": {"columns": {"patient_id": "integer", "Nom": "varchar(20)"}}}}"#)]
    #[case(r#"{"mavis_test": {"hms_patient": [["patient_id", "IntegerType"], ["Nom", "StringType"]], "other": []}}"#)]
    #[case(r#"[{"source": "mavis_test", "tables": [{"table": "hms_patient", "columns": [["patient_id", "int"], ["Nom", "string"]]}]},
              {"source": "other_db", "tables": [{"table": "x", "columns": ["a"]}]}]"#)]
    #[case(r#"{"hms_patient": {"columns": ["patient_id", "Nom"], "rows": 3}}"#)]
    fn reports_of_the_replaced_system_are_read_in_any_of_their_shapes(#[case] json: &str) {
        let report = read("mavis_test", json).unwrap();
        assert_eq!(report.tables.len(), 1, "{report:?}");
        let table = &report.tables[0];
        assert_eq!(table.lake_name, ("mavis_test".to_owned(), "hms_patient".to_owned()));
        let columns: Vec<&str> = table.columns.iter().map(|column| column.lake_name.as_str()).collect();
        assert_eq!(columns, ["patient_id", "nom"]);
    }

    #[test]
    fn a_report_without_tables_is_refused() {
        assert!(read("s", "{}").is_err());
        assert!(read("s", "{").unwrap_err().to_string().contains("not JSON"));
    }
}
