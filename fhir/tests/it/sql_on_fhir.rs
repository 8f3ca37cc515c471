//! The official SQL on FHIR suite (`shared/conformance/sql-on-fhir`): resources are encoded as those of the lake are, views are
//! planned and run, and the rows are compared with what the suite expects. The report that implementations publish is
//! written to the target folder (`sql_on_fhir_report.json`).

use std::{fs, path::Path};

use arrow::json::ArrayWriter;
use mavis_fhir::{
    json::{self, Value},
    view::{Plan, View, encode},
};
use serde_json::json;

/// The suite's tests, of all its files.
const TESTS: usize = 144;

/// The names of the columns and the rows, every column of each.
fn rows(resources: &Value<'_>, view: &Value<'_>) -> Result<(Vec<String>, Vec<serde_json::Value>), String> {
    let view = View::parse(view).map_err(|error| error.to_string())?;
    let plan = Plan::new(&view).map_err(|error| error.to_string())?;
    let (batch, misfits) = encode(view.resource, resources.items()).unwrap();
    assert_eq!(misfits, 0);
    let batches = plan.run(&batch).map_err(|error| error.to_string())?;
    let schema = plan.schema();
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let mut writer = ArrayWriter::new(Vec::new());
    for batch in &batches {
        assert_eq!(batch.schema(), schema);
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
    let mut rows: Vec<serde_json::Value> = match writer.into_inner() {
        text if text.is_empty() => Vec::new(),
        text => serde_json::from_slice(&text).unwrap(),
    };
    for row in &mut rows {
        let row = row.as_object_mut().unwrap();
        for name in &names {
            row.entry(name.clone()).or_insert(serde_json::Value::Null);
        }
    }
    Ok((names, rows))
}

/// A row in a form that can be sorted and compared: numbers by value, members by name.
fn plain(row: &serde_json::Value) -> String {
    fn sorted(value: &serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Object(members) => {
                let mut members: Vec<_> = members.iter().map(|(name, value)| (name.clone(), sorted(value))).collect();
                members.sort_by(|one, other| one.0.cmp(&other.0));
                serde_json::Value::Object(members.into_iter().collect())
            }
            serde_json::Value::Array(items) => items.iter().map(sorted).collect(),
            serde_json::Value::Number(number) => json!(number.as_f64()),
            other => other.clone(),
        }
    }
    sorted(row).to_string()
}

/// The suite does not fix an order of rows: they are compared as its own runner does, sorted.
fn verdict(resources: &Value<'_>, test: &Value<'_>) -> Result<(), String> {
    let answer = rows(resources, test.get("view").unwrap());
    if test.get("expectError").and_then(Value::as_bool) == Some(true) {
        return match answer {
            Err(_) => Ok(()),
            Ok((_, rows)) => Err(format!("{} rows where an error is expected", rows.len())),
        };
    }
    let (names, rows) = answer?;
    if let Some(expected) = test.get("expectColumns") {
        let expected: Vec<_> = expected.items().map(|name| name.as_str().unwrap().to_owned()).collect();
        if names != expected {
            return Err(format!("columns {names:?} where {expected:?} are expected"));
        }
    }
    if let Some(expected) = test.get("expect") {
        let expected: Vec<serde_json::Value> = serde_json::from_str(&expected.to_json()).unwrap();
        let mut expected: Vec<_> = expected.iter().map(plain).collect();
        let mut rows: Vec<_> = rows.iter().map(plain).collect();
        expected.sort();
        rows.sort();
        if rows != expected {
            return Err(format!("rows\n  {}\nwhere\n  {}\nare expected", rows.join("\n  "), expected.join("\n  ")));
        }
    }
    Ok(())
}

#[test]
fn every_test_of_the_official_suite_passes() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/conformance/sql-on-fhir"));
    let Ok(entries) = fs::read_dir(folder) else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "the SQL on FHIR suite is missing");
        println!("skipped: the SQL on FHIR suite is missing");
        return;
    };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let mut report = serde_json::Map::new();
    let (mut count, mut failed) = (0, Vec::new());
    for file in files {
        let text = fs::read(&file).unwrap();
        let suite = json::parse(&text).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let mut tests = Vec::new();
        for test in suite.get("tests").unwrap().items() {
            let title = test.get_str("title").unwrap();
            let verdict = verdict(suite.get("resources").unwrap(), test);
            count += 1;
            tests.push(json!({"name": title, "result": {"passed": verdict.is_ok()}}));
            if let Err(reason) = verdict {
                failed.push(format!("{name}: {title}: {reason}"));
            }
        }
        report.insert(name, json!({"tests": tests}));
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sql_on_fhir_report.json");
    fs::write(&target, serde_json::to_string_pretty(&report).unwrap()).unwrap();
    println!("SQL on FHIR: {} of {count}; {}", count - failed.len(), target.display());
    assert!(failed.is_empty(), "{} of {count} fail:\n{}", failed.len(), failed.join("\n"));
    assert_eq!(count, TESTS);
}
