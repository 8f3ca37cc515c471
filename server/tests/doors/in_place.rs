//! A tree of Parquet files that is a table where it lies, as clients of a server meet it.

use std::{fs, path::Path, sync::Arc};

use ::parquet::arrow::ArrowWriter;
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use mavis_proto::v1 as pb;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::{
    harness::{TestServer, stderr, stdout},
    postgres::options,
};

const NAME: &str = "Kanarienvogel";

fn put(path: &Path, from: i64, to: i64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let names = (from..to).map(|id| Some(if id == 3 { NAME.to_owned() } else { format!("n{id}") }));
    let columns: [(&str, ArrayRef); 3] = [
        ("patient_id", Arc::new(Int64Array::from_iter_values(from..to))),
        ("FamilyName", Arc::new(names.collect::<StringArray>())),
        ("weight", Arc::new((from..to).map(|id| (id % 4 != 0).then_some(50.25 + id as f64)).collect::<Float64Array>())),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

async fn sql(test: &TestServer, sql: &str) -> Value {
    sql_as(test, &test.admin_token(), sql).await
}

async fn sql_as(test: &TestServer, token: &str, sql: &str) -> Value {
    let request = reqwest::Client::new().post(test.http("/api/v1/sql")).bearer_auth(token);
    let answer: Value = request.json(&json!({ "sql": sql })).send().await.unwrap().json().await.unwrap();
    assert!(answer["rows"].is_array(), "{sql}: {answer}");
    answer["rows"].clone()
}

async fn get(test: &TestServer, path: &str) -> (u16, String) {
    let answer = reqwest::Client::new().get(test.http(path)).bearer_auth(test.admin_token()).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Asks every door for rows of a file that is not what was taken over: each says so, as a conflict, and of which table.
async fn refused_everywhere(test: &TestServer, why: &str) {
    let told = |place: &str, told: &str| {
        assert!(told.contains("`raw.here.persons`") && told.contains(why), "{place}: {told}");
        assert!(!told.contains("2024") && !told.contains("b.parquet"), "{place}: {told}");
    };
    // The footer, and pages of a column.
    for statement in [
        "SELECT sum(patient_id) FROM raw.here.persons WHERE year = '2024'",
        // (Not one that was answered before: answers are kept by versions.)
        "SELECT familyname FROM raw.here.persons WHERE patient_id = 8",
        "SELECT count(*) FROM raw.here.persons r JOIN processed.here.persons p USING (patient_id) WHERE r.weight > 0",
    ] {
        let client = reqwest::Client::new();
        let post = |path: &str| client.post(test.http(path)).bearer_auth(test.admin_token());
        let answer = post("/api/v1/sql").json(&json!({ "sql": statement })).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 409, "{statement}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"]["code"], "file_changed", "{body}");
        told("HTTP", body["error"]["message"].as_str().unwrap());

        let mut flight = FlightSqlServiceClient::new(test.channel().await);
        flight.set_token(test.admin_token());
        let info = flight.execute(statement.to_owned(), None).await.unwrap();
        let ticket = info.endpoint[0].ticket.clone().unwrap();
        let failed = match flight.do_get(ticket).await {
            Ok(stream) => stream.try_collect::<Vec<RecordBatch>>().await.unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        told("Flight SQL", &failed);
        assert!(failed.contains(tonic::Code::FailedPrecondition.description()), "{failed}");

        let mut connection = PgConnection::connect_with(&options(test, "raw", &test.admin_token())).await.unwrap();
        let failed = sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).fetch_all(&mut connection).await.unwrap_err();
        let failed = failed.into_database_error().unwrap();
        assert_eq!(failed.code().unwrap(), "55000", "{failed}");
        told("PostgreSQL", failed.message());

        let begun: Value =
            post("/api/v1/queries").json(&json!({ "sql": statement })).send().await.unwrap().json().await.unwrap();
        let place = format!("/api/v1/queries/{}", begun["id"].as_str().unwrap());
        let ended = loop {
            let ended = get(test, &place).await.1;
            if !ended.contains("\"running\"") && !ended.contains("\"queued\"") {
                break ended;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        };
        let ended: Value = serde_json::from_str(&ended).unwrap();
        let error = &ended["failure"]["error"];
        assert_eq!(error["code"], "file_changed", "{ended}");
        told("a long query", error["message"].as_str().unwrap());
    }
    let (status, row) = get(test, "/api/v1/tables/raw/here/persons/rows/8?by=patient_id").await;
    assert!(status == 409 && row.contains("file_changed"), "{status} {row}");
    told("rows by key", &row);
}

async fn mavis(test: &TestServer, args: &[&str]) -> String {
    let output = test.mavis(args).await;
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    stdout(&output)
}

async fn add(test: &TestServer, name: &str, root: &Path, more: &[&str]) {
    let root = format!("root={}", root.display());
    let mut args = vec!["source", "add", name, "--kind", "hive", "--param", &root];
    for param in more {
        args.extend(["--param", param]);
    }
    mavis(test, &args).await;
    mavis(test, &["ingest", name]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_of_files_that_lie_where_they_are_answer_as_those_of_their_copy() {
    let test = TestServer::start().await;
    let root = test.folder.path().join("old");
    put(&root.join("persons/year=2023/a.parquet"), 0, 6);
    put(&root.join("persons/year=2024/b.parquet"), 6, 20);
    put(&root.join("stays/c.parquet"), 0, 9);
    add(&test, "here", &root, &["take_over=in_place"]).await;
    add(&test, "copied", &root, &[]).await;
    for asked in [
        "SELECT * EXCEPT (__run, __ingested_at, __hash, __source, __occurrence) FROM raw.S.persons ORDER BY patient_id",
        "SELECT year, count(*), sum(weight), min(familyname) FROM raw.S.persons GROUP BY year ORDER BY year",
        "SELECT count(*) FROM raw.S.persons WHERE year = '2024' AND weight > 60",
        "SELECT familyname FROM raw.S.persons WHERE patient_id = 7",
        "SELECT p.patient_id, s.weight FROM raw.S.persons p JOIN raw.S.stays s USING (patient_id) WHERE p.year = '2023' ORDER BY 1",
        "SELECT p.familyname FROM processed.S.persons p ORDER BY p.patient_id DESC LIMIT 3",
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_catalog = 'raw' AND table_schema = 'S' AND table_name = 'persons' ORDER BY 1, 2",
    ] {
        let of = async |source: &str| {
            sql(&test, &asked.replace(".S.", &format!(".{source}.")).replace("'S'", &format!("'{source}'"))).await
        };
        let here = of("here").await;
        assert_eq!(here, of("copied").await, "{asked}");
        assert_ne!(here, json!([]), "{asked}");
    }
    // What its owner changes is not read, and taken over by the next run.
    put(&root.join("persons/year=2024/b.parquet"), 6, 30);
    refused_everywhere(&test, "was changed by its owner since; run its source again (`mavis ingest`)").await;
    mavis(&test, &["ingest", "here"]).await;
    assert_eq!(sql(&test, "SELECT count(*), max(patient_id) FROM raw.here.persons").await, json!([[30, 29]]));
    let (status, row) = get(&test, "/api/v1/tables/raw/here/persons/rows/29?by=patient_id").await;
    assert!(status == 200 && row.contains("n29"), "{status} {row}");
    fs::remove_file(root.join("persons/year=2024/b.parquet")).unwrap();
    refused_everywhere(&test, "is gone, its owner deleted or moved it; run its source again (`mavis ingest`)").await;
    let data = test.folder.path().join("data");
    assert!(!holds(&data.join("lake/raw"), "here"), "rows stand in the lake");
    test.stop().await;
}

/// Whether there is a Parquet file with rows below a folder of this name.
fn holds(folder: &Path, name: &str) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() {
            return holds(&path, name);
        }
        let shown = path.display().to_string();
        shown.contains(&format!("/{name}/")) && shown.ends_with(".parquet") && !shown.contains("_delta_log")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_takes_the_person_out_and_names_the_file_that_its_owner_must_delete() {
    let test = TestServer::start().await;
    let root = test.folder.path().join("old");
    put(&root.join("persons/year=2023/a.parquet"), 0, 6);
    put(&root.join("persons/year=2024/b.parquet"), 6, 20);
    let before = fs::read(root.join("persons/year=2023/a.parquet")).unwrap();
    let mapping = test.folder.path().join("persons.toml");
    fs::write(
        &mapping,
        "version = 1\nresource = \"Patient\"\nfrom = \"processed.here.persons p\"\nkey = [\"p.patient_id\"]\n\n[set]\n\
         \"name[0].family\" = \"p.familyname\"\n",
    )
    .unwrap();
    let at = format!("root={}", root.display());
    mavis(&test, &["source", "add", "here", "--kind", "hive", "--param", &at, "--param", "take_over=in_place"]).await;
    mavis(&test, &["source", "discover", "here"]).await;
    mavis(&test, &["map", "apply", mapping.to_str().unwrap()]).await;
    mavis(&test, &["ingest", "here"]).await;
    let id = sql(&test, &format!("SELECT id FROM patient WHERE resource LIKE '%{NAME}%'")).await;
    let told = mavis(&test, &["erase", id[0][0].as_str().unwrap(), "--yes", "--format", "json"]).await;
    assert!(told.contains("year=2023/a.parquet") && told.contains("their owner must delete them"), "{told}");
    for table in ["raw.here.persons", "processed.here.persons", "fhir.r4.patient"] {
        assert_eq!(sql(&test, &format!("SELECT count(*) FROM {table}")).await, json!([[19]]), "{table}");
    }
    mavis(&test, &["ingest", "here"]).await;
    assert_eq!(sql(&test, "SELECT count(*) FROM patient").await, json!([[19]]), "the next run brings nobody back");
    assert_eq!(fs::read(root.join("persons/year=2023/a.parquet")).unwrap(), before);
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_the_folders_of_rows_that_one_may_see() {
    let test = TestServer::start().await;
    let root = test.folder.path().join("old");
    for (folder, from) in
        [("year=2023/ward=a%20b", 0), ("year=2023/ward=It's", 6), ("year=2024/ward=__HIVE_DEFAULT_PARTITION__", 20)]
    {
        put(&root.join("persons").join(folder).join("a.parquet"), from, from + 3);
    }
    put(&root.join("stays/c.parquet"), 0, 9);
    put(&root.join("visits/order=1/2024x=b/c.parquet"), 0, 9);
    add(&test, "here", &root, &["take_over=in_place"]).await;
    let all = json!([["year=2023/ward=It's"], ["year=2023/ward=a b"], ["year=2024/ward=__HIVE_DEFAULT_PARTITION__"]]);
    assert_eq!(sql(&test, "SHOW PARTITIONS raw.here.persons").await, all);
    assert_eq!(sql(&test, "SHOW PARTITIONS raw.here.visits").await, json!([["order=1/_2024x=b"]]));
    let ana = test.token("ana", pb::Role::Analyst, &["raw.here"]).await;
    sql(&test, "CREATE POLICY years ON raw.here.persons TO USER ana USING (year = '2024')").await;
    let one = json!([["year=2024/ward=__HIVE_DEFAULT_PARTITION__"]]);
    assert_eq!(sql_as(&test, &ana, "SHOW PARTITIONS raw.here.persons").await, one);
    sql(&test, "CREATE MASK ON raw.here.persons (ward) TO USER ana USING NULL").await;
    sql(&test, "DROP POLICY years ON raw.here.persons").await;
    let masked = json!([["year=2023/ward=__HIVE_DEFAULT_PARTITION__"], ["year=2024/ward=__HIVE_DEFAULT_PARTITION__"]]);
    assert_eq!(sql_as(&test, &ana, "SHOW PARTITIONS raw.here.persons").await, masked);
    // At PostgreSQL's door, in the two phases of Flight SQL.
    let mut connection = PgConnection::connect_with(&options(&test, "raw", &test.admin_token())).await.unwrap();
    let shown = sqlx::raw_sql("SHOW PARTITIONS raw.here.persons").fetch_all(&mut connection).await.unwrap();
    assert_eq!(shown.len(), 3);
    let mut flight = FlightSqlServiceClient::new(test.channel().await);
    flight.set_token(ana);
    let info = flight.execute("SHOW PARTITIONS raw.here.persons".to_owned(), None).await.unwrap();
    let stream = flight.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    let batches = stream.try_collect::<Vec<RecordBatch>>().await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    assert_eq!(batches[0].schema().field(0).name(), "partition");
    for table in ["raw.here.stays", "processed.here.persons"] {
        let request = reqwest::Client::new().post(test.http("/api/v1/sql")).bearer_auth(test.admin_token());
        let answer = request.json(&json!({ "sql": format!("SHOW PARTITIONS {table}") })).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 400);
        assert!(answer.text().await.unwrap().contains(&format!("`{table}` is not partitioned")), "{table}");
    }
    test.stop().await;
}
