//! Listings among very many tables. `MAVIS_TEST_TABLES` says how many (50,000 where it says nothing; 1,000,000 is the claim).

use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetTables, client::FlightSqlServiceClient};
use futures::TryStreamExt;
use mavis_proto::v1 as pb;
use sqlx::{Connection, SqliteConnection};
use tonic::transport::Channel;

use crate::harness::TestServer;

/// Tables of a schema.
const OF_ONE: u32 = 1_000;

/// Registers tables of two columns, as if they had been ingested, straight in the catalog's database.
async fn register(test: &TestServer, tables: u32) {
    let file = test.folder.path().join("data/catalog.sqlite");
    let mut catalog = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    let numbers = format!("WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {})", tables - 1);
    let of_table = format!(
        "{numbers} INSERT INTO lake_tables
            (id, zone, schema_name, table_name, location, key_columns, row_count, version, created_at, updated_at)
         SELECT printf('00000000-0000-7000-8000-%012d', i), 'raw', printf('source_%04d', i / {OF_ONE}),
                printf('t%07d_visits', i), printf('raw/%d', i), '[\"id\"]', 1000, 1, 0, 0 FROM n"
    );
    sqlx::query(sqlx::AssertSqlSafe(of_table)).execute(&mut catalog).await.unwrap();
    for (position, name, kind) in [(0, "id", "Int64"), (1, "name", "Utf8")] {
        let of_column = format!(
            "{numbers} INSERT INTO lake_columns (table_id, position, name, data_type, nullable)
             SELECT printf('00000000-0000-7000-8000-%012d', i), {position}, '{name}', '{kind}', 1 FROM n"
        );
        sqlx::query(sqlx::AssertSqlSafe(of_column)).execute(&mut catalog).await.unwrap();
    }
    catalog.close().await.unwrap();
}

/// Resident memory of this process, in MiB.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4 / 1024
}

type Client = FlightSqlServiceClient<Channel>;

/// Rows of a listing, both phases, and how long they took.
async fn listed(client: &mut Client, command: CommandGetTables) -> (usize, Duration) {
    let began = Instant::now();
    let info = client.get_tables(command).await.unwrap();
    let mut stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    let mut rows = 0;
    while let Some(batch) = stream.try_next().await.unwrap() {
        rows += RecordBatch::num_rows(&batch);
    }
    (rows, began.elapsed())
}

fn tables(schema: Option<&str>, table: Option<&str>, include_schema: bool) -> CommandGetTables {
    CommandGetTables {
        catalog: Some("raw".to_owned()),
        db_schema_filter_pattern: schema.map(str::to_owned),
        table_name_filter_pattern: table.map(str::to_owned),
        table_types: vec!["TABLE".to_owned()],
        include_schema,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_finds_its_tables_at_once_among_very_many() {
    let many: u32 = std::env::var("MAVIS_TEST_TABLES").ok().map_or(50_000, |text| text.parse().unwrap());
    let test = TestServer::start().await;
    register(&test, many).await;
    let before = resident();
    let mut admin = FlightSqlServiceClient::new(test.channel().await);
    admin.set_token(test.admin_token());
    let last = many - 1;
    let schema = format!("source_{:04}", last / OF_ONE);
    let cases = [
        ("one table by its name", tables(None, Some(&format!("t{last:07}_visits")), false), 1),
        ("one table and its columns", tables(None, Some(&format!("t{last:07}_visits")), true), 1),
        ("tables by their beginning", tables(None, Some("t00007%"), false), 100),
        ("a schema by its name", tables(Some(&schema), None, false), OF_ONE as usize),
        ("a schema and a beginning", tables(Some("source\\_0007"), Some("t00070%"), true), 100),
        ("schemas by their beginning", tables(Some("source_000%"), Some("t000077%"), false), 10),
        ("nothing", tables(None, Some("nowhere%"), true), 0),
    ];
    for (what, command, expected) in cases {
        let mut best = Duration::MAX;
        for _ in 0..5 {
            let (rows, took) = listed(&mut admin, command.clone()).await;
            assert_eq!(rows, expected, "{what}");
            best = best.min(took);
        }
        eprintln!("{many} tables, {what}: {best:?}");
        assert!(best < Duration::from_millis(100), "{what}: {best:?}");
    }
    let (rows, took) = listed(&mut admin, tables(None, Some("%0007_vis%"), false)).await;
    assert!(rows >= 1);
    eprintln!("{many} tables, somewhere in the name: {took:?}");
    let began = Instant::now();
    let command = CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: None };
    let info = admin.get_db_schemas(command).await.unwrap();
    let batches: Vec<RecordBatch> =
        admin.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap().try_collect().await.unwrap();
    let schemas: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert!(schemas >= (many / OF_ONE) as usize);
    eprintln!("{many} tables, {schemas} schemas: {:?}", began.elapsed());
    let (rows, took) = listed(&mut admin, tables(None, None, true)).await;
    assert_eq!(rows, many as usize);
    let after = resident();
    eprintln!("{many} tables, all of them with their columns: {took:?}; resident {before} MiB, then {after} MiB");
    assert!(after < 500, "{after} MiB");

    let half = test.token("half", pb::Role::Reader, &["raw.source_0003"]).await;
    let mut reader = FlightSqlServiceClient::new(test.channel().await);
    reader.set_token(half);
    assert_eq!(listed(&mut reader, tables(None, Some("t0003%"), false)).await.0, OF_ONE as usize);
    assert_eq!(listed(&mut reader, tables(None, Some("t0004%"), false)).await.0, 0);
    test.stop().await;
}
