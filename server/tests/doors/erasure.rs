//! An erased person is gone from everywhere: from what doors answer, and from every byte below the data folder.

use std::{fs, path::Path, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray},
    compute::cast,
    datatypes::DataType,
};
use arrow_flight::sql::{CommandStatementIngest, TableDefinitionOptions, client::FlightSqlServiceClient};
use futures::{StreamExt, stream};
use mavis_connectors::push::{Inbox, PushParams, PushedTable};
use mavis_proto::v1::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    fhir_client::{Client, header},
    harness::{TestServer, stderr, stdout},
};

/// Stands in no other test's data, and is long enough not to come about by chance.
const NAME: &str = "Kanarienvogel";

/// Whether a text column, however deep, holds the name.
fn holds(column: &ArrayRef) -> bool {
    match column.data_type() {
        DataType::Struct(_) => column.as_struct().columns().iter().any(holds),
        DataType::List(_) => holds(column.as_list::<i32>().values()),
        DataType::Map(..) => column.as_map().entries().columns().iter().any(holds),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..) => {
            let texts = cast(column, &DataType::LargeUtf8).unwrap();
            texts.as_string::<i64>().iter().flatten().any(|text| text.contains(NAME))
        }
        DataType::Binary => column.as_binary::<i32>().iter().flatten().any(names),
        _ => false,
    }
}

fn names(bytes: &[u8]) -> bool {
    bytes.windows(NAME.len()).any(|window| window.eq_ignore_ascii_case(NAME.as_bytes()))
}

/// Files below a folder that hold the name, as bytes or decoded.
fn found_in(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found_in(&path, found);
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let decoded = path.extension().is_some_and(|extension| extension == "parquet") && {
            let file = fs::File::open(&path).unwrap();
            let reader = ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
            let mut batches = reader.build().unwrap();
            batches.any(|batch| batch.unwrap().columns().iter().any(holds))
        };
        if decoded || names(&bytes) {
            found.push(path.display().to_string());
        }
    }
}

fn everywhere(test: &TestServer) -> Vec<String> {
    let mut found = Vec::new();
    found_in(&test.folder.path().join("data"), &mut found);
    found
}

async fn sql(test: &TestServer, sql: &str) -> Value {
    let request = reqwest::Client::new().post(test.http("/api/v1/sql")).bearer_auth(test.admin_token());
    let answer: Value = request.json(&json!({ "sql": sql })).send().await.unwrap().json().await.unwrap();
    answer["rows"].clone()
}

fn observation(id: &str, subject: &str) -> Value {
    json!({ "resourceType": "Observation", "id": id, "status": "final", "code": { "text": "x" },
            "subject": { "reference": format!("Patient/{subject}"), "display": if subject == "gone" { NAME } else { "B" } } })
}

/// `gone` is the person, `b` another one; what they have, who refers to whom, and every place that keeps copies.
async fn ward(test: &TestServer, client: &Client<'_>) {
    let person = |given: &str| json!({ "resourceType": "Patient", "id": "gone", "name": [{ "family": NAME, "given": [given] }] });
    client.put(&[person("Anna"), observation("o1", "gone"), observation("o2", "b")]).await;
    client.put(&[person("Anne")]).await;
    let mut performed = observation("both", "b");
    performed["performer"] = json!([{ "reference": "Patient/gone" }]);
    client
        .put(&[
            json!({ "resourceType": "Patient", "id": "b", "name": [{ "family": "B" }],
                    "link": [{ "other": { "reference": "Patient/gone" }, "type": "seealso" }] }),
            performed,
        ])
        .await;
    // A version that was deleted is a copy too.
    client.put(&[observation("deleted", "gone")]).await;
    let deleted = client.request(Method::DELETE, "/fhir/Observation/deleted").send().await.unwrap();
    assert!(deleted.status().is_success());

    let folder = test.folder.path().join("in");
    fs::create_dir(&folder).unwrap();
    let condition = json!({ "resourceType": "Condition", "id": "c1", "subject": { "reference": "Patient/gone" },
                            "note": [{ "text": NAME }] });
    let bad =
        json!({ "resourceType": "Condition", "id": "c2", "subject": { "reference": "Patient/gone" }, "note": NAME });
    let other = json!({ "resourceType": "Condition", "id": "c3", "subject": { "reference": "Patient/b" } });
    fs::write(folder.join("theirs.ndjson"), format!("{condition}\n{bad}\n{other}\n")).unwrap();
    let imported = test.mavis(&["fhir", "import", folder.to_str().unwrap(), "--source", "clinic"]).await;
    assert!(imported.status.success(), "{}", stderr(&imported));
    assert_eq!(sql(test, "SELECT count(*) FROM system.ops.quarantine").await, json!([[1]]));
    let begun = client.kick_off("/fhir/$export").await;
    assert_eq!(client.wait(begun).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_person_is_in_no_answer_and_in_no_file() {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    ward(&test, &client).await;
    assert!(everywhere(&test).len() > 8, "{:?}", everywhere(&test));
    let (_, page) = client.get("/fhir/Observation?_count=1").await;
    let links = page["link"].as_array().unwrap();
    let next = links.iter().find(|link| link["relation"] == "next").unwrap()["url"].as_str().unwrap().to_owned();

    let refused = test.mavis(&["erase", "gone"]).await;
    assert!(!refused.status.success(), "it asks for `--yes`");
    assert_eq!(client.get("/fhir/Patient/gone").await.0, 200);
    let erased = test.mavis(&["erase", "gone", "--yes", "--format", "json"]).await;
    assert!(erased.status.success(), "{}", stderr(&erased));
    let told = stdout(&erased);
    for said in ["Observation/both", "Patient/b"] {
        assert!(told.contains(said), "{said} is kept and told: {told}");
    }

    assert_eq!(everywhere(&test), Vec::<String>::new());
    for path in ["Patient/gone", "Patient/gone/_history/1", "Observation/o1", "Observation/deleted", "Condition/c1"] {
        assert_eq!(client.get(&format!("/fhir/{path}")).await.0, 404, "{path}: gone as if it had never been");
    }
    let stale = reqwest::Client::new().get(&next).bearer_auth(&client.token).send().await.unwrap();
    assert_eq!(stale.status(), StatusCode::GONE, "a page of before");
    for (path, total) in [("Patient", 1), ("Observation", 2), ("Condition", 1)] {
        let (status, found) = client.get(&format!("/fhir/{path}?_total=accurate")).await;
        assert_eq!((status, &found["total"]), (200, &json!(total)), "{path}");
    }
    assert_eq!(sql(&test, "SELECT count(*) FROM fhir.r4_history.patient").await, json!([[1]]));
    assert_eq!(sql(&test, "SELECT count(*) FROM system.ops.quarantine").await, json!([[0]]));
    let audit = "SELECT actor, object FROM system.ops.audit WHERE action = 'patient.erase'";
    assert_eq!(sql(&test, audit).await, json!([["admin", "Patient/gone"]]));

    // The zone goes on: writes, the next import, the same erasure again.
    client.put(&[observation("o3", "b")]).await;
    assert_eq!(client.get("/fhir/Observation?_total=accurate").await.1["total"], 3);
    let (status, again) = erase(&client, "gone", "").await;
    assert_eq!(status, 400, "an id of nobody may be mistyped: {again}");
    let (status, again) = erase(&client, "gone", "?finish=true").await;
    assert_eq!(status, 200, "{again}");
    let (_, both) = client.get("/fhir/Observation/both").await;
    assert_eq!(both["performer"][0]["reference"], "Patient/gone", "what is kept is kept as it was");
    let folder = test.stop().await;
    let test = TestServer::start_in(folder).await;
    assert_eq!(Client::admin(&test).get("/fhir/Observation?_total=accurate").await.1["total"], 3, "after a restart");
}

async fn erase(client: &Client<'_>, id: &str, query: &str) -> (u16, Value) {
    let answer = client.request(Method::POST, &format!("/fhir/Patient/{id}/$erase{query}")).send().await.unwrap();
    let kind = header(&answer, "content-type").to_owned();
    assert!(kind.starts_with("application/fhir+json"), "{kind}");
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_patients_share_goes_when_that_is_said_and_only_administrators_say_it() {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    ward(&test, &client).await;
    let reader = Client { test: &test, token: test.token("reader", Role::Reader, &["fhir.r4"]).await };
    let engineer = Client { test: &test, token: test.token("engineer", Role::Engineer, &[]).await };
    for other in [&reader, &engineer] {
        assert_eq!(erase(other, "gone", "").await.0, 403);
    }
    assert_eq!(erase(&client, "gone", "?shared=perhaps").await.0, 400);
    assert_eq!(client.get("/fhir/Patient/gone").await.0, 200);
    let (status, told) = erase(&client, "gone", "?shared=true").await;
    assert_eq!((status, &told["resourceType"]), (200, &json!("Parameters")));
    assert_eq!(client.get("/fhir/Observation/both").await.0, 404);
    assert_eq!(client.get("/fhir/Observation/o2").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_person_was_made_from_are_erased_where_a_key_tells_them() {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    let source = test.folder.path().join("people.csv");
    fs::write(&source, format!("person_id,family,born\n1,{NAME},1980-01-01\n2,Other,1990-02-02\n")).unwrap();
    let path = format!("path={}", source.display());
    let mapping = test.folder.path().join("people.toml");
    fs::write(
        &mapping,
        "version = 1\nresource = \"Patient\"\nfrom = \"processed.reg.people p\"\nkey = [\"p.person_id\"]\n\n[set]\n\
         \"name[0].family\" = \"p.family\"\n",
    )
    .unwrap();
    for args in [
        &["source", "add", "reg", "--kind", "files", "--param", &path][..],
        &["source", "discover", "reg"],
        &["map", "apply", mapping.to_str().unwrap()],
        &["ingest", "reg"],
    ] {
        let ran = test.mavis(args).await;
        assert!(ran.status.success(), "{args:?}: {}{}", stdout(&ran), stderr(&ran));
    }
    let id = sql(&test, &format!("SELECT id FROM patient WHERE resource LIKE '%{NAME}%'")).await;
    let id = id[0][0].as_str().unwrap().to_owned();
    let (status, told) = erase(&client, &id, "").await;
    assert_eq!(status, 200, "{told}");
    assert_eq!(everywhere(&test), Vec::<String>::new());
    for table in ["raw.reg.people", "processed.reg.people", "fhir.r4.patient"] {
        assert_eq!(sql(&test, &format!("SELECT count(*) FROM {table}")).await, json!([[1]]), "{table}");
    }
    // The source has them no more either: the next ingest changes nothing.
    fs::write(&source, "person_id,family,born\n2,Other,1990-02-02\n").unwrap();
    let ran = test.mavis(&["ingest", "reg"]).await;
    assert!(ran.status.success(), "{}{}", stdout(&ran), stderr(&ran));
    assert_eq!(sql(&test, "SELECT count(*) FROM patient").await, json!([[1]]));
}

fn people(rows: &[(i64, &str)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1)));
    RecordBatch::try_from_iter([("Person ID", ids), ("Family", names)]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_reaches_uploads_that_wait_and_the_inbox_of_a_removed_source_goes() {
    let test = TestServer::start().await;
    let client = Client::admin(&test);
    let mapping = test.folder.path().join("people.toml");
    fs::write(
        &mapping,
        "version = 1\nresource = \"Patient\"\nfrom = \"processed.lab.people p\"\nkey = [\"p.person_id\"]\n\n[set]\n\
         \"name[0].family\" = \"p.family\"\n",
    )
    .unwrap();
    let mavis = async |args: &[&str]| {
        let ran = test.mavis(args).await;
        assert!(ran.status.success(), "{args:?}: {}{}", stdout(&ran), stderr(&ran));
    };
    let tables = r#"tables={"people": {"key": ["Person ID"]}}"#;
    mavis(&["source", "add", "lab", "--kind", "push", "--param", tables]).await;
    let mut flight = FlightSqlServiceClient::new(test.channel().await);
    flight.set_token(test.admin_token());
    let mut send = async |rows: &[(i64, &str)]| {
        let command = CommandStatementIngest {
            table_definition_options: Some(TableDefinitionOptions { if_not_exist: 1, if_exists: 2 }),
            catalog: Some("raw".to_owned()),
            schema: Some("lab".to_owned()),
            table: "people".to_owned(),
            ..Default::default()
        };
        flight.execute_ingest(command, stream::iter([Ok(people(rows))])).await.unwrap();
    };
    send(&[(1, NAME), (2, "Other")]).await;
    mavis(&["map", "apply", mapping.to_str().unwrap()]).await;
    mavis(&["ingest", "lab"]).await;
    // One that has landed, and one that waits: its run has not come yet.
    let again = format!("{NAME} again");
    send(&[(1, again.as_str())]).await;
    let folder = test.folder.path().join("data/spool/lab/inbox");
    let params = PushParams { tables: [("people".to_owned(), PushedTable::default())].into() };
    let inbox = Inbox::new(folder.clone(), params, Arc::default());
    let waiting = people(&[(3, "Third"), (1, NAME), (4, "Fourth")]);
    let batches = stream::iter([Ok::<_, mavis_connectors::Error>(waiting.clone())]).boxed();
    inbox.take("people", &waiting.schema(), batches).await.unwrap();

    let id = sql(&test, &format!("SELECT id FROM patient WHERE resource LIKE '%{NAME}%'")).await;
    let id = id[0][0].as_str().unwrap().to_owned();
    let (status, told) = erase(&client, &id, "").await;
    assert_eq!(status, 200, "{told}");
    let told = told.to_string();
    assert!(told.contains("2 rows of uploads into `lab.people` that wait to land"), "{told}");
    assert_eq!(everywhere(&test), Vec::<String>::new());
    mavis(&["ingest", "lab"]).await;
    let there = sql(&test, "SELECT person_id, family FROM raw.lab.people ORDER BY person_id").await;
    assert_eq!(there, json!([[2, "Other"], [3, "Third"], [4, "Fourth"]]), "the others land");
    assert_eq!(everywhere(&test), Vec::<String>::new());

    assert!(folder.exists());
    mavis(&["source", "remove", "lab"]).await;
    assert!(!folder.exists(), "the inbox of a removed source");
    // A server that died before it came to that does it at its next start.
    let left = test.folder.path().join("data/spool/ghost/inbox/t");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("00000000000000000001.arrow"), "x").unwrap();
    let test = TestServer::start_in(test.stop().await).await;
    assert!(!left.exists());
    test.stop().await;
}
