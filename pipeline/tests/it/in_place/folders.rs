//! Values of folders: as those of a copy, in types and in conditions.

use std::fs;

use mavis_types::TableName;
use serde_json::json;

use super::tree::patients;
use crate::support::*;

/// Without a statement that declares them.
#[tokio::test(flavor = "multi_thread")]
async fn folders_become_the_same_in_the_processed_zone_as_those_of_a_copy() {
    let house = House::new();
    let put = |name: &str, from, to| {
        let path = house.path("old/persons").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, patients(from, to)).unwrap();
    };
    put("year=2023/month=01/day=2023-01-05/site=nord/a.parquet", 0, 12);
    put("year=2024/month=12/day=2024-12-31/site=__HIVE_DEFAULT_PARTITION__/b.parquet", 12, 20);
    let life = house.start().await;
    let params = |more: serde_json::Value| {
        let mut params = json!({"root": house.path("old")});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    };
    let keyed = json!({"clean": {"tables": {"persons": {"key": ["patient_id"]}}}});
    for (name, more) in [("copied", json!({})), ("copied_keyed", keyed.clone())] {
        life.add(name, "hive", params(more)).await;
    }
    for (name, more) in [("here", json!({})), ("here_keyed", keyed)] {
        let mut params = params(more);
        params["take_over"] = json!("in_place");
        life.add(name, "hive", params).await;
    }
    let all = ["copied", "here", "copied_keyed", "here_keyed"];
    for name in all {
        let run = life.ingest(name).await;
        assert!(completed(&run), "{name}: {run:?} {:?}", life.log(run.id).await);
    }
    let seen = async |name: &str| {
        let table: TableName = format!("processed.{name}.persons").parse().unwrap();
        let columns = life.catalog.columns(life.catalog.table(&table).await.unwrap().id).await.unwrap();
        let columns = columns.into_iter().filter(|column| !column.name.starts_with("__"));
        let columns: Vec<_> = columns.map(|column| (column.name, column.data_type)).collect();
        let shown = columns.iter().map(|(name, _)| format!("coalesce(cast({name} AS text), '-')"));
        let sql = format!("SELECT concat_ws('|', {}) FROM t ORDER BY patient_id", shown.collect::<Vec<_>>().join(", "));
        (columns, life.ask(&table.to_string(), &sql).await)
    };
    let copied = seen("copied").await;
    let of = |name: &str| copied.0.iter().find(|column| column.0 == name).map(|column| column.1.clone()).unwrap();
    assert_eq!([of("year"), of("month"), of("day"), of("site")], ["Int64", "Utf8", "Date32", "Utf8"]);
    assert!(copied.1[0].as_ref().unwrap().ends_with("2023|01|2023-01-05|nord"), "{:?}", copied.1[0]);
    for name in all {
        assert_eq!(seen(name).await, copied, "{name}");
    }
    // A folder that comes later, by the change feed and by comparing.
    put("year=2025/month=02/day=2025-02-01/site=sud/c.parquet", 20, 25);
    for name in all {
        let run = life.ingest(name).await;
        assert!(completed(&run), "{name}: {run:?} {:?}", life.log(run.id).await);
    }
    let copied = seen("copied").await;
    assert!(copied.1.last().unwrap().as_ref().unwrap().ends_with("2025|02|2025-02-01|sud"));
    for name in all {
        assert_eq!(seen(name).await, copied, "{name}");
    }
}

/// Values of folders that are text, beside every way to ask for them.
#[tokio::test(flavor = "multi_thread")]
async fn conditions_on_folders_leave_the_rows_that_they_leave_of_a_copy() {
    let house = House::new();
    let put = |name: &str, from, to| {
        let path = house.path("old").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, patients(from, to)).unwrap();
    };
    put("persons/year=2023/site=a/a.parquet", 0, 6);
    put("persons/year=2024/site=Saint%20Denis/b.parquet", 6, 20);
    put("persons/year=__HIVE_DEFAULT_PARTITION__/site=a/c.parquet", 20, 25);
    put("stays/d.parquet", 0, 22);
    let life = house.start().await;
    life.add("here", "hive", json!({"root": house.path("old"), "take_over": "in_place"})).await;
    life.add("copied", "hive", json!({"root": house.path("old")})).await;
    for name in ["here", "copied"] {
        assert!(completed(&life.ingest(name).await), "{name}");
    }
    let session = async |name: &str, looks_up: bool| {
        let session = life.lake.sessions().session(64 << 20);
        for table in ["persons", "stays"] {
            let entry = life.catalog.table(&format!("raw.{name}.{table}").parse().unwrap()).await.unwrap();
            let providers = life.lake.providers(entry.id, None).await.unwrap();
            session.register_table(table, if looks_up { providers.look_up } else { providers.whole }).unwrap();
        }
        session
    };
    let sessions = [session("copied", false).await, session("here", false).await, session("here", true).await];
    for condition in [
        "year = '2023'",
        "'2023' = year",
        "year <> '2023'",
        "NOT (year = '2023')",
        "year IS NULL",
        "year IS NOT NULL",
        "year IS DISTINCT FROM '2023'",
        "year IN ('2023', '2025')",
        "year NOT IN ('2023')",
        "year > '2023'",
        "year BETWEEN '2022' AND '2023'",
        "year LIKE '%23'",
        "year = '2023' OR year IS NULL",
        "year = '2024' OR p.patient_id = 3",
        "CAST(year AS INT) = 2024",
        "upper(site) = 'A' AND year = '2023'",
        "site = 'Saint Denis'",
        "site = 'Saint%20Denis'",
        "concat(year, site) = '2023a'",
        "coalesce(year, site) = 'a'",
        "year = '2023' AND p.weight > 62",
        "year = '2030'",
    ] {
        let mut asked = vec![format!(
            "SELECT year, count(*), min(p.patient_id) FROM persons p WHERE {condition} GROUP BY 1 ORDER BY 1"
        )];
        if ["year = '2023'", "year IN ('2023', '2025')", "year IS NULL"].contains(&condition) {
            asked.push(format!("SELECT count(*) FROM persons p WHERE {condition}"));
            let joined = "SELECT p.patient_id, s.weight FROM persons p JOIN stays s USING (patient_id)";
            asked.push(format!("{joined} WHERE {condition} ORDER BY 1"));
        }
        for sql in asked {
            let mut seen = Vec::new();
            for session in &sessions {
                let frame = session.sql(&sql).await.unwrap();
                let types: Vec<_> = frame.schema().fields().iter().map(|field| field.data_type().clone()).collect();
                let rows = frame.collect().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
                let shown = arrow::util::pretty::pretty_format_batches(&rows).unwrap().to_string();
                seen.push((types, shown));
            }
            assert_eq!(seen[1], seen[0], "{sql}");
            assert_eq!(seen[2], seen[0], "{sql}");
        }
    }
}
