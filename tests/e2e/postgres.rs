//! A PostgreSQL database, end to end.

use mavis_tests::{Postgres, Server};
use serde_json::json;

fn declare(server: &Server, database: &Postgres, name: &str) {
    let list = json!([{
        "name": name,
        "type": "postgres",
        "db": { "host": database.host, "port": database.port, "user": database.user, "database": database.database },
        "tables_to_include": ["patient", "stay"],
    }]);
    let file = server.scratch().join("data_sources.json");
    mavis_tests::write(&file, list.to_string()).unwrap();
    server.mavis(&["source", "add", "--from", file.to_str().unwrap()]).unwrap().ok().unwrap();
}

const TABLES: &str = "
    CREATE TABLE patient (id bigint PRIMARY KEY, name text NOT NULL, born date, weight numeric(6,2), tags text[], extra jsonb);
    CREATE TABLE stay (id serial PRIMARY KEY, patient_id bigint REFERENCES patient(id), admitted timestamptz NOT NULL,
                       discharged timestamptz, ward uuid);
    CREATE TABLE secret_table (id int PRIMARY KEY);
    COMMENT ON TABLE patient IS 'those we care for';
    INSERT INTO patient SELECT i, 'name ' || i, date '1950-01-01' + i, i / 100.0, ARRAY['a', NULL], '{\"k\": [1, 2]}'
        FROM generate_series(1, 3000) i;
    INSERT INTO stay (patient_id, admitted, ward) SELECT i, timestamptz '2024-01-01 00:00+00' + i * interval '1 hour',
        gen_random_uuid() FROM generate_series(1, 3000) i;
";

#[tokio::test]
async fn inserts_updates_and_deletes_in_postgresql_reach_the_raw_and_the_processed_zone() {
    let Some(database) = Postgres::create().unwrap() else { return };
    database.execute(TABLES).unwrap();
    let server = Server::builder().env("POSTGRES_PASSWORD_HIS", "not asked for").start().await.unwrap();
    declare(&server, &database, "HIS");
    server.mavis(&["source", "test", "his"]).unwrap().ok().unwrap();
    server.mavis(&["ingest", "his"]).unwrap().ok().unwrap();
    assert_eq!(server.count("SELECT count(*) FROM raw.his.patient").await.unwrap(), 3000);
    assert_eq!(server.count("SELECT count(*) FROM raw.his.stay").await.unwrap(), 3000);
    let weights = "SELECT CAST(sum(weight) AS TEXT) FROM raw.his.patient";
    assert_eq!(server.value(weights).await.unwrap(), "45015.00", "a NUMERIC stays exact");
    let tables =
        server.sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'his'").await.unwrap();
    assert!(!tables.iter().any(|row| row["table_name"] == "secret_table"), "only the tables to include");

    database
        .execute(
            "UPDATE patient SET name = 'changed' WHERE id = 7; DELETE FROM stay WHERE id <= 10;
             INSERT INTO patient VALUES (3001, 'new', NULL, NULL, NULL, NULL);",
        )
        .unwrap();
    server.mavis(&["ingest", "his"]).unwrap().ok().unwrap();
    for zone in ["raw", "processed"] {
        assert_eq!(server.count(&format!("SELECT count(*) FROM {zone}.his.patient")).await.unwrap(), 3001);
        assert_eq!(server.count(&format!("SELECT count(*) FROM {zone}.his.stay")).await.unwrap(), 2990);
        let name = server.value(&format!("SELECT name FROM {zone}.his.patient WHERE id = 7")).await.unwrap();
        assert_eq!(name, "changed");
    }
}

#[tokio::test]
async fn a_source_that_cannot_be_reached_says_at_which_stage() {
    let Some(database) = Postgres::create().unwrap() else { return };
    let server = Server::builder()
        .env("POSTGRES_PASSWORD_CLOSED", "x")
        .env("POSTGRES_PASSWORD_NOWHERE", "x")
        .env("POSTGRES_PASSWORD_NODB", "x")
        .start()
        .await
        .unwrap();
    let cases = [
        ("closed", database.host.clone(), 1, "postgres", "route"),
        ("nowhere", "no-such-host.invalid".to_owned(), 5432, "postgres", "name"),
        ("nodb", database.host.clone(), database.port, "no_such_database", "database"),
    ];
    for (name, host, port, db, stage) in cases {
        let params = [
            format!("host={host}"),
            format!("port={port}"),
            format!("user={}", database.user),
            format!("database={db}"),
        ];
        let mut args = vec!["source", "add", name, "--kind", "postgres"];
        for param in &params {
            args.extend(["--param", param]);
        }
        server.mavis(&args).unwrap().ok().unwrap();
        let tested = server.mavis(&["source", "test", name]).unwrap();
        assert_ne!(tested.code, 0, "{name}");
        let said = format!("{}{}", tested.stdout, tested.stderr);
        assert!(said.contains(stage), "{name} names the stage `{stage}`: {said}");
    }
}

#[tokio::test]
async fn the_catalog_lives_in_postgresql_where_its_url_says_so() {
    let Some(database) = Postgres::create().unwrap() else { return };
    let config = format!("[catalog]\nurl = \"{}\"\n", database.url);
    let mut server = Server::builder().config(config).start().await.unwrap();
    let file = server.scratch().join("in/p.csv");
    mavis_tests::write(&file, mavis_tests::patients_csv(20)).unwrap();
    let path = format!("path={}", file.display());
    server.mavis(&["source", "add", "clinic", "--kind", "files", "--param", &path]).unwrap().ok().unwrap();
    server.mavis(&["ingest", "clinic"]).unwrap().ok().unwrap();
    server.kill().unwrap();
    server.spawn().unwrap();
    server.ready().await.unwrap();
    assert_eq!(server.count("SELECT count(*) FROM raw.clinic.p").await.unwrap(), 20);
    assert!(!server.data.join("catalog.sqlite").exists());
}
