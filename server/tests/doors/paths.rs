//! Names of files and folders that say who is in them, looked for in everything that leaves a server.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use ::parquet::arrow::ArrowWriter;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use reqwest::Client;
use serde_json::{Value, json};

use crate::{
    harness::{client, run, stderr, stdout},
    served::{Served, assert_untold, serve},
};

/// Values of folders, names of folders and of files.
const CANARIES: [&str; 6] =
    ["kanarie-4731", "kanarie-4732", "kanarie-4733", "kanarie-4734", "kanarie-4735", "Kanarie_Jeanne"];

fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn parquet(ids: &[i64], text: bool) -> Vec<u8> {
    let other: ArrayRef = if text {
        Arc::new(StringArray::from_iter_values(ids.iter().map(ToString::to_string)))
    } else {
        Arc::new(Int64Array::from(ids.to_vec()))
    };
    let columns = [("id", Arc::new(Int64Array::from(ids.to_vec())) as ArrayRef), ("other", other)];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

/// Asks a server, and keeps what it answers.
struct Asked {
    served: Served,
    told: Vec<(String, Vec<u8>)>,
}

impl Asked {
    async fn mavis(&mut self, args: &[&str]) -> String {
        let output = run(client(&self.served.grpc, &self.served.token, args)).await;
        let text = format!("{}{}", stdout(&output), stderr(&output));
        self.told.push((args.join(" ").replace("kanarie", "").replace("Kanarie", ""), text.clone().into_bytes()));
        text
    }

    async fn add(&mut self, name: &str, kind: &str, params: Value) {
        let params = params.to_string();
        let output = client(
            &self.served.grpc,
            &self.served.token,
            &["source", "add", name, "--kind", kind, "--params-json", &params],
        );
        assert!(run(output).await.status.success());
    }

    /// Looks at a source in every way, and brings it in.
    async fn look(&mut self, name: &str) -> String {
        self.mavis(&["source", "test", name]).await;
        self.mavis(&["source", "discover", name]).await;
        self.mavis(&["ingest", name]).await
    }

    async fn sql(&mut self, sql: &str) -> String {
        let answer = Client::new()
            .post(format!("{}/api/v1/sql", self.served.http))
            .bearer_auth(&self.served.token)
            .json(&json!({ "sql": sql }))
            .send()
            .await
            .unwrap();
        let text = answer.text().await.unwrap();
        self.told.push((sql.to_owned(), text.clone().into_bytes()));
        text
    }
}

/// Trees with canaries in their folders and names.
fn trees(root: &Path) -> Vec<PathBuf> {
    let file = |name: &str| root.join("tree/persons").join(name);
    let files = vec![
        file("year=2023/patient_id=kanarie-4731/kanarie-4732.parquet"),
        file("year=2024/patient_id=kanarie-4733/part-0.parquet"),
        file("year=2024/kanarie-4734/part-1.parquet"),
    ];
    for (number, path) in (0_i64..).zip(&files) {
        put(path, &parquet(&[number * 10, number * 10 + 1], false));
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_that_says_who_is_in_a_file_leaves_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let files = trees(folder.path());
    let ours = "trace";
    let log =
        ["mavis", "mavis_server", "mavis_pipeline", "mavis_lake", "mavis_sql", "mavis_connectors", "mavis_catalog"]
            .map(|part| format!("{part}={ours}"))
            .join(",");
    let served = serve(folder.path(), &[("RUST_LOG", &format!("info,{log}"))]).await;
    let mut asked = Asked { served, told: Vec::new() };
    let at = |name: &str| folder.path().join(name).display().to_string();

    // A tree, where it lies and as a copy, as it is, and with everything that can be wrong with a file of it.
    asked.add("here", "hive", json!({"root": at("tree"), "take_over": "in_place"})).await;
    asked.add("copied", "hive", json!({"root": at("tree")})).await;
    for name in ["here", "copied"] {
        let said = asked.look(name).await;
        let counted = asked.sql(&format!("SELECT count(*) FROM raw.{name}.persons")).await;
        assert!(counted.contains("[[6]]"), "{counted}: {said}");
    }
    put(&files[0], &parquet(&[7, 8, 9], false));
    let changed = asked.sql("SELECT sum(id) FROM raw.here.persons").await;
    assert!(changed.contains("file_changed"), "{changed}");
    asked.look("here").await;
    let older = asked.sql("SELECT count(id) FROM raw.here.persons VERSION AS OF 1").await;
    assert!(older.contains("error"), "{older}");
    for (broken, why) in [(parquet(&[5], true), "column `other` is"), (b"PAR1 no PAR1".to_vec(), "year=*/")] {
        put(&files[1], &broken);
        for name in ["here", "copied"] {
            let said = asked.look(name).await;
            assert!(said.contains("*.parquet#") && said.contains(why), "{name}: {said}");
        }
        asked.sql("SELECT sum(id) FROM raw.here.persons").await;
    }
    fs::remove_file(&files[1]).unwrap();
    let gone = asked.look("here").await;
    assert!(gone.contains("`year=*/patient_id=*/*.parquet#"), "{gone}");
    asked.sql("SELECT sum(id) FROM raw.here.persons").await;

    // Files of patients, one each, as one table.
    put(&folder.path().join("letters/kanarie-4735/Kanarie_Jeanne.csv"), b"a;b\n1;2\n");
    put(&folder.path().join("letters/kanarie-4735/kanarie-4731.csv"), b"a;b\n3;4\n");
    asked.add("letters", "files", json!({"path": at("letters"), "table": "letters"})).await;
    asked.look("letters").await;
    put(&folder.path().join("letters/kanarie-4735/Kanarie_Jeanne.csv"), b"a;b\nanother\xff;2\n");
    let said = asked.look("letters").await;
    assert!(said.contains("*.csv#") && said.contains("has changed"), "{said}");
    put(&folder.path().join("letters/kanarie-4735/Kanarie_Jeanne.xlsx"), b"no workbook");
    put(&folder.path().join("letters/kanarie-4735/Kanarie_Jeanne.docx"), b"no table");
    put(&folder.path().join("letters/kanarie-4735/kanarie-4732.csv.gz"), &[0x1f, 0x8b, 8, 0, 1, 2, 3]);
    asked.look("letters").await;
    put(&folder.path().join("bundles/Kanarie_Jeanne.json"), b"{\"resourceType\": \"Bundle\", ");
    put(&folder.path().join("bundles/kanarie-4732.json.gz"), &[0x1f, 0x8b, 8, 0, 1, 2, 3]);
    asked.add("bundles", "fhir_files", json!({"path": at("bundles")})).await;
    asked.look("bundles").await;

    for args in [["source", "discover-many"], ["source", "list"], ["run", "list"]] {
        asked.mavis(&args).await;
    }
    for table in [
        "catalog.sources",
        "catalog.tables",
        "catalog.columns",
        "ops.runs",
        "ops.run_log",
        "ops.run_units",
        "ops.audit",
        "ops.schedules",
        "ops.freshness",
        "ops.alerts",
        "ops.drift",
        "ops.discoveries",
    ] {
        let answer = asked.mavis(&["sql", &format!("SELECT * FROM system.{table}"), "--format", "json"]).await;
        assert!(!answer.contains("error:"), "{table}: {answer}");
    }
    for path in ["/api/v1/sources", "/api/v1/runs", "/api/v1/tables", "/metrics"] {
        let answer = Client::new().get(format!("{}{path}", asked.served.http)).bearer_auth(&asked.served.token);
        let answer = answer.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        asked.told.push((path.to_owned(), answer.bytes().await.unwrap().to_vec()));
    }
    let Asked { served, mut told } = asked;
    drop(served);
    let log = fs::read(folder.path().join("log")).unwrap();
    assert!(String::from_utf8_lossy(&log).contains("mavis_lake"), "the log says what the lake does");
    told.push(("the log".to_owned(), log));
    assert_untold(&told, &CANARIES);
}
