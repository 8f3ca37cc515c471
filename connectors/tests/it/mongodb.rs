//! `mongodb` against an emulator of its protocol, whose limits are MongoDB's only in part: it has no logins, no replica sets
//! and no 128-bit decimals.

use std::{collections::BTreeMap, sync::Arc};

use mavis_connectors::{
    Error, ReadMode, ReadRequest, Registry, Secrets, Selection, Source, SourceSpec, Stage, TableRef,
    testkit::{Change, Expectation, Reading, assert_contract, read_all},
};
use mavis_types::{Cursor, SourceName};
use mongodb::{
    Client, Database,
    bson::{Bson, Document, doc, oid::ObjectId},
};
use rstest::rstest;
use serde_json::{Value, json};

/// A database of its own; `None` where there is no server.
async fn database(name: &str) -> Option<(String, Database)> {
    let Ok(uri) = std::env::var("MAVIS_TEST_MONGODB") else {
        assert!(std::env::var("CI").is_err(), "MAVIS_TEST_MONGODB is not set");
        println!("skipped: MAVIS_TEST_MONGODB is not set");
        return None;
    };
    let database = Client::with_uri_str(&uri).await.unwrap().database(&format!("mavis_{name}"));
    database.drop().await.unwrap();
    Some((uri, database))
}

fn connect(uri: &str, database: &str, more: Value) -> Result<Arc<dyn Source>, Error> {
    let mut params = json!({ "uri": uri, "database": database });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let spec =
        SourceSpec { name: SourceName::new("docs").unwrap(), kind: "mongodb".to_owned(), params, authoritative: false };
    Registry::built_in().connect(&spec, &Secrets::from_pairs([("MONGODB_PASSWORD_DOCS", "tiger")]))
}

async fn read(source: &dyn Source, from: Option<Cursor>) -> Reading {
    let table = TableRef { schema: None, name: "patients".to_owned() };
    read_all(source, ReadRequest { from, ..ReadRequest::whole(table) }).await.unwrap()
}

fn end(reading: &Reading) -> Option<Cursor> {
    reading.cursors.last().map(|(cursor, _, _)| cursor.clone())
}

fn patient(number: i64) -> Document {
    doc! {
        "_id": number, "name": format!("p{number}"), "seen": number / 4,
        "at": mongodb::bson::DateTime::from_millis(1_700_000_000_000 + number), "tags": [number, "x"],
    }
}

async fn fill(database: &Database, count: i64) {
    database.collection("patients").insert_many((0..count).map(patient)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_whole_and_by_a_field() {
    let Some((uri, database)) = database("contract").await else { return };
    // The emulator sorts numbers as texts here and there: all of one length.
    database.collection("patients").insert_many((100..130).map(patient)).await.unwrap();
    database.collection("notes").insert_many((0..9).map(|n| doc! { "_id": ObjectId::new(), "n": n })).await.unwrap();
    let expectation = || Expectation::default().table("patients", 30).table("notes", 9);
    // Not by a date: the emulator's `$gte` takes every date for later.
    for cursors in [json!({}), json!({"patients": "seen"})] {
        let source = connect(&uri, database.name(), json!({"cursor_columns": cursors})).unwrap();
        assert_contract(source.as_ref(), expectation()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_are_columns_and_the_document_is_whole_beside_them() {
    let Some((uri, database)) = database("columns").await else { return };
    fill(&database, 2).await;
    let source = connect(&uri, database.name(), json!({})).unwrap();
    let table = source.discover(&Selection::default()).await.unwrap().tables.remove(0);
    assert_eq!((table.key.as_slice(), table.mode), (&["_id".to_owned()][..], ReadMode::Snapshot));
    let types: Vec<(&str, &str)> =
        table.columns.iter().map(|column| (column.name.as_str(), column.source_type.as_str())).collect();
    assert_eq!(types[0].0, "_id");
    assert!(types.contains(&("at", "date")) && types.contains(&("tags", "array")), "{types:?}");
    let reading = read(source.as_ref(), None).await;
    assert_eq!(
        reading.rows[1],
        "_id=1|at=2023-11-14T22:13:20.001Z|document={\"_id\":1,\"name\":\"p1\",\"seen\":0,\
         \"at\":{\"$date\":\"2023-11-14T22:13:20.001Z\"},\"tags\":[1,\"x\"]}|name=p1|seen=0|tags=[1,\"x\"]"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn by_a_field_only_what_is_new_comes_and_types_stay() {
    let Some((uri, database)) = database("field").await else { return };
    fill(&database, 10).await;
    let source = connect(&uri, database.name(), json!({"cursor_columns": {"patients": "seen"}})).unwrap();
    let first = read(source.as_ref(), None).await;
    assert!(first.whole && first.rows.len() == 10);
    let patients = database.collection::<Document>("patients");
    // One more of the last value, one beyond it with a field of another type, and one that changed.
    patients.insert_one(doc! { "_id": 50, "seen": 2_i64, "late": true }).await.unwrap();
    patients.insert_one(doc! { "_id": 51, "seen": 9_i64, "name": 7 }).await.unwrap();
    patients.update_one(doc! { "_id": 0_i64 }, doc! { "$set": { "seen": 9_i64 } }).await.unwrap();
    let second = read(source.as_ref(), end(&first)).await;
    let ids: Vec<&str> = second.rows.iter().map(|row| row.split('|').next().unwrap()).collect();
    assert_eq!(ids, ["_id=50", "_id=0", "_id=51"]);
    assert!(second.rows[2].contains("name=7"), "a text column has what is no text as its JSON: {:?}", second.rows);
    assert!(!second.whole);
    assert!(read(source.as_ref(), end(&second)).await.steps.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_stream_tells_of_what_is_new_changed_and_gone() {
    let Some((uri, database)) = database("changes").await else { return };
    let named = |n: i64| doc! { "_id": format!("p{n}"), "name": "n" };
    // Texts as ids: the emulator tells of deleted numbers as texts.
    database.collection("patients").insert_many((0..5).map(named)).await.unwrap();
    let source = connect(&uri, database.name(), json!({"changes": true})).unwrap();
    let first = read(source.as_ref(), None).await;
    let patients = database.collection::<Document>("patients");
    patients.insert_one(named(9)).await.unwrap();
    patients.update_one(doc! { "_id": "p1" }, doc! { "$set": { "name": "changed" } }).await.unwrap();
    patients.delete_one(doc! { "_id": "p2" }).await.unwrap();
    patients.delete_one(doc! { "_id": "p3" }).await.unwrap();
    patients.insert_one(named(3)).await.unwrap();
    let second = read(source.as_ref(), end(&first)).await;
    assert!(second.steps.iter().any(|step| matches!(step, Change::Gone(_))), "{:?}", second.steps);
    let mut table = BTreeMap::new();
    first.apply(&["_id"], &mut table);
    second.apply(&["_id"], &mut table);
    let fresh = read(connect(&uri, database.name(), json!({})).unwrap().as_ref(), None).await;
    let mut wanted = BTreeMap::new();
    fresh.apply(&["_id"], &mut wanted);
    assert_eq!(table, wanted);
    assert!(read(source.as_ref(), end(&second)).await.steps.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_server_does_not_know_reads_everything_anew() {
    let Some((uri, database)) = database("lost").await else { return };
    fill(&database, 4).await;
    let source = connect(&uri, database.name(), json!({"changes": true})).unwrap();
    let first = read(source.as_ref(), None).await;
    // What a dropped or forgotten stream leaves behind: a cursor without a token.
    let mut cursor = end(&first).unwrap();
    cursor.0.as_object_mut().unwrap().remove("resume");
    let second = read(source.as_ref(), Some(cursor)).await;
    assert!(matches!(second.steps[0], Change::Emptied), "{:?}", second.steps);
    assert_eq!((second.rows.len(), second.whole), (4, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_does_not_fit_is_a_reject_with_its_whole_text() {
    let Some((uri, database)) = database("reject").await else { return };
    fill(&database, 3).await;
    let patients = database.collection::<Document>("patients");
    patients.insert_one(doc! { "_id": 9_i64, "seen": "never" }).await.unwrap();
    let source = connect(&uri, database.name(), json!({"sample": 3})).unwrap();
    let reading = read(source.as_ref(), None).await;
    let (_, reason, payload) = &reading.rejects[0];
    assert_eq!((reading.rows.len(), reason.as_str()), (3, "the member `seen` is not a whole number"));
    assert!(payload.contains(r#""seen":"never""#));
    drop(Bson::Null);
}

#[rstest]
#[case(json!({"uri": "mongodb://reader:lion@h/"}), "`uri` holds a password")]
#[case(json!({"uri": "mongodb+srv://h/"}), "write the hosts themselves")]
#[case(json!({"uri": "http://h/"}), "does not begin with `mongodb://`")]
#[case(json!({"database": ""}), "`database` is empty")]
fn parameters_that_cannot_work_are_refused(#[case] more: Value, #[case] part: &str) {
    let error = connect("mongodb://h/", "d", more).unwrap_err().to_string();
    assert!(error.contains(part) && !error.contains("lion"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_fails_the_test_at_its_route_and_shows_no_secret() {
    let source =
        connect("mongodb://reader@127.0.0.1:1/?directConnection=true", "d", json!({"connect_timeout_seconds": 1}))
            .unwrap();
    let last = source.check().await.pop().unwrap();
    assert_eq!(last.stage, Stage::Route, "{last:?}");
    let table = TableRef { schema: None, name: "patients".to_owned() };
    let error = read_all(source.as_ref(), ReadRequest::whole(table)).await.unwrap_err();
    assert!(error.is_transient() && !error.to_string().contains("tiger"), "{error}");
}
