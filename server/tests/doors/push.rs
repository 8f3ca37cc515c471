//! Rows that clients send into `raw`, through the run of a source that is declared as one that is sent.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_flight::{
    error::FlightError,
    sql::{CommandStatementIngest, TableDefinitionOptions, client::FlightSqlServiceClient},
};
use futures::{StreamExt, stream};
use mavis_proto::v1::{self as pb, Role, ingest_service_client::IngestServiceClient};
use rstest::rstest;
use serde_json::{Value, json};
use tonic::{Code, transport::Channel};

use crate::harness::{TestServer, with};

fn batch(rows: &[(i64, &str)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1)));
    RecordBatch::try_from_iter([("Id", ids), ("Name", names)]).unwrap()
}

fn into(catalog: &str, schema: Option<&str>, table: &str, if_not_exist: i32, if_exists: i32) -> CommandStatementIngest {
    CommandStatementIngest {
        table_definition_options: Some(TableDefinitionOptions { if_not_exist, if_exists }),
        catalog: Some(catalog.to_owned()),
        schema: schema.map(str::to_owned),
        table: table.to_owned(),
        ..Default::default()
    }
}

async fn client(test: &TestServer, token: &str) -> FlightSqlServiceClient<Channel> {
    let mut client = FlightSqlServiceClient::new(test.channel().await);
    client.set_token(token.to_owned());
    client
}

async fn register(test: &TestServer, name: &str, kind: &str, params: Value) {
    let request = pb::RegisterSourceRequest {
        spec: Some(pb::SourceSpec {
            name: name.to_owned(),
            kind: kind.to_owned(),
            params_json: params.to_string(),
            ..Default::default()
        }),
    };
    let request = with(&test.admin_token(), request);
    IngestServiceClient::new(test.channel().await).register_source(request).await.unwrap();
}

async fn rows(test: &TestServer, sql: &str) -> Value {
    let request = reqwest::Client::new().post(test.http("/api/v1/sql")).bearer_auth(test.admin_token());
    let answer: Value = request.json(&json!({ "sql": sql })).send().await.unwrap().json().await.unwrap();
    answer["rows"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_sent_land_in_raw_and_processed_through_a_run() {
    let test = TestServer::start().await;
    register(&test, "laboratory", "push", json!({ "tables": { "results": { "key": ["Id"] }, "log": {} } })).await;
    let engineer = test.token("eva", Role::Engineer, &[]).await;
    let mut flight = client(&test, &engineer).await;
    let two = || stream::iter([Ok(batch(&[(1, "a"), (2, "b")])), Ok(batch(&[(3, "c")]))]);
    let command = |existing| into("raw", Some("laboratory"), "results", 1, existing);
    assert_eq!(flight.execute_ingest(command(1), two()).await.unwrap(), 3);
    let other = stream::iter([Ok(batch(&[(3, "changed"), (4, "d")]))]);
    assert_eq!(flight.execute_ingest(command(2), other).await.unwrap(), 2);
    for zone in ["raw", "processed"] {
        let found = rows(&test, &format!("SELECT id, name FROM {zone}.laboratory.results ORDER BY id")).await;
        assert_eq!(found, json!([[1, "a"], [2, "b"], [3, "changed"], [4, "d"]]), "{zone}");
    }
    for _ in 0..2 {
        let same = stream::iter([Ok(batch(&[(1, "x")]))]);
        flight.execute_ingest(into("raw", Some("laboratory"), "log", 1, 2), same).await.unwrap();
    }
    assert_eq!(rows(&test, "SELECT count(*) FROM raw.laboratory.log").await, json!([[2]]), "without a key each is new");
    let runs = rows(&test, "SELECT count(*) FROM system.ops.runs WHERE state = 'completed'").await;
    assert_eq!(runs, json!([[4]]));
    let asked = "SELECT count(*) FROM system.ops.audit WHERE action = 'write.ingest' AND allowed";
    assert_eq!(rows(&test, asked).await, json!([[4]]));
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_sent_is_refused_and_leaves_nothing() {
    let test = TestServer::start().await;
    register(&test, "laboratory", "push", json!({ "tables": { "results": { "key": ["Id"] } } })).await;
    let folder = test.folder.path().join("files");
    std::fs::create_dir_all(&folder).unwrap();
    register(&test, "files", "files", json!({ "path": folder })).await;
    let engineer = test.token("eva", Role::Engineer, &[]).await;
    let analyst = test.token("ana", Role::Analyst, &[]).await;
    let one = || stream::iter([Ok(batch(&[(1, "a")]))]);
    let mut flight = client(&test, &analyst).await;
    let error = flight.execute_ingest(into("raw", Some("laboratory"), "results", 1, 2), one()).await.unwrap_err();
    assert!(error.to_string().contains("may not"), "{error}");

    let mut flight = client(&test, &engineer).await;
    for (command, word) in [
        (into("raw", None, "results", 1, 2), "names the source"),
        (into("raw", Some("nobody"), "results", 1, 2), "no source"),
        (into("raw", Some("files"), "results", 1, 2), "kind `files`"),
        (into("raw", Some("laboratory"), "other", 1, 2), "declares results"),
        (into("raw", Some("laboratory"), "results", 1, 3), "append"),
        (into("raw", Some("laboratory"), "results", 2, 2), "no table"),
        (into("processed", Some("laboratory"), "results", 1, 2), "read-only"),
    ] {
        let error = flight.execute_ingest(command, one()).await.unwrap_err();
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
    let broken = stream::iter([Ok(batch(&[(7, "a")]))])
        .chain(stream::once(async { std::future::pending::<Result<RecordBatch, FlightError>>().await }));
    let given_up = flight.execute_ingest(into("raw", Some("laboratory"), "results", 1, 2), broken);
    tokio::time::timeout(std::time::Duration::from_millis(300), given_up).await.unwrap_err();
    assert_eq!(flight.execute_ingest(into("raw", Some("laboratory"), "results", 1, 1), one()).await.unwrap(), 1);
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
    let other = stream::iter([Ok(RecordBatch::try_from_iter([("Id", ids)]).unwrap())]);
    let error = flight.execute_ingest(into("raw", Some("laboratory"), "results", 1, 2), other).await.unwrap_err();
    assert!(error.to_string().contains("cast it"), "{error}");
    assert_eq!(rows(&test, "SELECT id FROM raw.laboratory.results").await, json!([[1]]));
    test.stop().await;
}

/// The lake that a hidden row of the key 1 is in, and a table that hardly anybody knows.
async fn pushed() -> TestServer {
    let test = TestServer::start().await;
    let tables = json!({ "tables": { "results": { "key": ["Id"] }, "secret": { "key": ["Id"] } } });
    register(&test, "laboratory", "push", tables).await;
    let folder = test.folder.path().join("files");
    std::fs::create_dir_all(&folder).unwrap();
    register(&test, "files", "files", json!({ "path": folder })).await;
    let mut flight = client(&test, &test.admin_token()).await;
    for table in ["results", "secret"] {
        let one = stream::iter([Ok(batch(&[(1, "kept")]))]);
        flight.execute_ingest(into("raw", Some("laboratory"), table, 1, 2), one).await.unwrap();
    }
    test
}

/// The rights of an engineer, and whether rows of its are taken.
#[rstest]
#[case::no_right(&["raw.other"], &[], false)]
#[case::filtered(&[], &["CREATE POLICY few ON raw.laboratory.results TO USER eve USING (id > 1)"], false)]
#[case::filtered_behind(&[], &["CREATE POLICY few ON processed.laboratory.results TO USER eve USING (id > 1)"], false)]
#[case::masked(&[], &["CREATE MASK ON raw.laboratory.results (name) TO USER eve USING HASH"], false)]
#[case::some_columns(&["raw.other"], &["GRANT SELECT (id) ON raw.laboratory.results TO USER eve"], false)]
#[case::another_table(&["raw.other"], &["GRANT SELECT ON raw.laboratory.secret TO USER eve"], false)]
#[case::the_table(&["raw.other"], &["GRANT SELECT ON raw.laboratory.results TO USER eve"], true)]
#[case::the_schema(&["raw.laboratory"], &[], true)]
#[tokio::test(flavor = "multi_thread")]
async fn rows_are_pushed_by_who_sees_all_of_their_table(
    #[case] schemas: &[&str],
    #[case] rights: &[&str],
    #[case] may: bool,
) {
    let test = pushed().await;
    let eve = test.token("eve", Role::Engineer, schemas).await;
    for right in rights {
        assert_eq!(rows(&test, right).await, json!([["granted"]]), "{right}");
    }
    let mut flight = client(&test, &eve).await;
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
    let misfit = RecordBatch::try_from_iter([("Id", ids)]).unwrap();
    let text = "SELECT name FROM raw.laboratory.results";
    if may {
        let one = stream::iter([Ok(batch(&[(1, "changed")]))]);
        flight.execute_ingest(into("raw", Some("laboratory"), "results", 1, 2), one).await.unwrap();
        assert_eq!(rows(&test, text).await, json!([["changed"]]));
    } else {
        for (rows, if_not_exist, if_exists) in [
            (batch(&[(1, "changed")]), 1, 2),
            (batch(&[(1, "changed")]), 1, 1),
            (batch(&[(1, "changed")]), 1, 3),
            (batch(&[(1, "changed")]), 2, 2),
            (misfit, 1, 2),
        ] {
            let command = into("raw", Some("laboratory"), "results", if_not_exist, if_exists);
            let error = flight.execute_ingest(command, stream::iter([Ok(rows)])).await.unwrap_err().to_string();
            assert!(error.contains("there is no source `laboratory`"), "{error}");
            assert!(!error.contains("registered are") && !error.contains("secret"), "{error}");
        }
        assert_eq!(rows(&test, text).await, json!([["kept"]]));
        let asked = "SELECT count(*) > 0 FROM system.ops.audit WHERE action = 'run.push' AND NOT allowed";
        assert_eq!(rows(&test, asked).await, json!([[true]]));
    }
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_or_a_table_that_is_hidden_is_answered_as_one_that_is_not_there() {
    let test = pushed().await;
    let eve = test.token("eve", Role::Engineer, &["raw.other"]).await;
    let granted = rows(&test, "GRANT SELECT ON raw.laboratory.results TO USER eve").await;
    assert_eq!(granted, json!([["granted"]]));
    let mut flight = client(&test, &eve).await;
    for (source, table) in [("nobody", "t"), ("files", "t"), ("laboratory", "secret"), ("laboratory", "nothing")] {
        let one = stream::iter([Ok(batch(&[(1, "a")]))]);
        let error = flight.execute_ingest(into("raw", Some(source), table, 1, 2), one).await.unwrap_err().to_string();
        assert!(error.contains(&format!("there is no source `{source}`")), "{error}");
        assert!(!error.contains("registered are") && !error.contains("kind"), "{error}");
    }
    let mut ingest = IngestServiceClient::new(test.channel().await);
    let start = |table: &str| pb::StartRunRequest {
        source: "laboratory".to_owned(),
        tables: vec![table.to_owned()],
        ..Default::default()
    };
    let http = reqwest::Client::new();
    for table in ["secret", "nothing"] {
        let refused = ingest.start_run(with(&eve, start(table))).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::NotFound, &*format!("there is no table `{table}`")));
        let asked = json!({ "source": "laboratory", "tables": [table] });
        let answer = http.post(test.http("/api/v1/runs")).bearer_auth(&eve).json(&asked).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 404, "{table}");
    }
    ingest.start_run(with(&eve, start("results"))).await.unwrap();
    test.stop().await;
}
