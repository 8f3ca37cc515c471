use std::{collections::BTreeSet, sync::Arc, time::Duration};

use mavis_catalog::{LogLevel, NewQuarantined, RunState, Step};
use mavis_sql::Error;
use mavis_types::{Counts, Place, Rights, Role, Scope, Zone};
use rstest::rstest;
use serde_json::json;

use crate::fixture::{Fixture, grant, principal};

#[tokio::test(flavor = "multi_thread")]
async fn system_tables_show_a_reader_only_what_concerns_his_schemas() {
    let lake = Fixture::new().await;
    let seen = "SELECT zone || '.' || schema_name || '.' || table_name FROM system.catalog.tables ORDER BY 1";
    assert_eq!(
        lake.ask(&lake.reader, seen).await.unwrap(),
        ["fhir.r4.observation", "fhir.r4.patient", "processed.hms.hms_patient"]
    );
    assert_eq!(lake.rows(seen).await.len(), 5);
    let schemas = "SELECT DISTINCT schema_name FROM system.catalog.columns ORDER BY 1";
    assert_eq!(lake.ask(&lake.reader, schemas).await.unwrap(), ["hms", "r4"]);
    let quarantine = "SELECT table_name, payload FROM system.ops.quarantine ORDER BY 1";
    assert_eq!(lake.ask(&lake.reader, quarantine).await.unwrap(), ["fhir.r4.patient|NULL"]);
    assert_eq!(lake.rows(quarantine).await.len(), 2);
    let sneaky = "SELECT payload FROM system.ops.quarantine WHERE table_name = 'processed.secret.staff'";
    assert!(lake.ask(&lake.reader, sneaky).await.unwrap().is_empty());
    assert_eq!(lake.ask(&lake.reader, "SELECT name, params FROM system.catalog.sources").await.unwrap(), ["hms|NULL"]);
    assert_eq!(lake.rows("SELECT params FROM system.catalog.sources").await, ["{\"path\":\"/data\"}"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_administrator_finds_the_audit() {
    let lake = Fixture::new().await;
    assert_eq!(lake.rows("SELECT actor, action FROM system.ops.audit").await, ["admin|source.add"]);
    let forbidden = lake.error(&lake.reader, "SELECT * FROM system.ops.audit").await;
    let absent = lake.error(&lake.reader, "SELECT * FROM system.ops.audix").await;
    assert!(matches!(forbidden, Error::NoSuchTable { .. }), "{forbidden}");
    assert_eq!(forbidden.to_string().replace("audit", "audix"), absent.to_string());
    let listed = "SELECT count(*) FROM information_schema.tables WHERE table_name = 'audit'";
    assert_eq!(lake.ask(&lake.reader, listed).await.unwrap(), ["0"]);
    assert_eq!(lake.rows(listed).await, ["1"]);
    let grants = lake.ask(&lake.reader, "SELECT zone, schema_name FROM system.ops.grants ORDER BY 1").await.unwrap();
    assert_eq!(grants, ["fhir|r4", "processed|hms"]);
    assert_eq!(lake.rows("SELECT grantee, privilege, zone FROM system.ops.grants").await, ["bi|select|NULL"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn information_schema_is_reachable_alone_and_in_every_catalog() {
    let lake = Fixture::new().await;
    let all = lake.rows("SELECT DISTINCT table_catalog FROM information_schema.tables ORDER BY 1").await;
    assert_eq!(all, ["fhir", "processed", "raw", "system", "work"]);
    let one = lake.rows("SELECT DISTINCT table_catalog FROM raw.information_schema.tables").await;
    assert_eq!(one, ["raw"]);
    let columns = "SELECT column_name, ordinal_position, is_nullable FROM information_schema.columns \
                   WHERE table_schema = 'r4' AND table_name = 'patient' AND ordinal_position < 3 ORDER BY 2";
    assert_eq!(lake.ask(&lake.reader, columns).await.unwrap(), ["id|1|YES", "birthDate|2|YES"]);
    let hidden = "SELECT * FROM information_schema.columns WHERE table_name = 'staff'";
    assert!(lake.ask(&lake.reader, hidden).await.unwrap().is_empty());
    let schemata = "SELECT schema_name FROM information_schema.schemata WHERE catalog_name = 'processed' ORDER BY 1";
    assert_eq!(lake.ask(&lake.reader, schemata).await.unwrap(), ["hms", "information_schema"]);
    assert_eq!(lake.rows("SELECT count(*) FROM information_schema.views").await, ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_system_table_can_be_read_whole() {
    let lake = Fixture::new().await;
    for table in ["sources", "tables", "columns", "files", "mappings"] {
        lake.rows(&format!("SELECT * FROM system.catalog.{table}")).await;
    }
    for table in [
        "runs",
        "run_units",
        "run_log",
        "schedules",
        "freshness",
        "alerts",
        "drift",
        "discoveries",
        "quarantine",
        "audit",
        "grants",
    ] {
        lake.rows(&format!("SELECT * FROM system.ops.{table}")).await;
        lake.rows(&format!("SELECT count(*) FROM system.ops.{table} LIMIT 1")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_tell_engineers_what_was_told_and_what_waits() {
    let lake = Fixture::new().await;
    let catalog = lake.lake.catalog();
    let late = |tables: &[&str]| tables.iter().map(|table| (*table).to_owned()).collect::<BTreeSet<String>>();
    let body =
        |new: &BTreeSet<String>| json!({"kind": "tables_late", "text": format!("late: {new:?}"), "count": new.len()});
    assert!(catalog.note_late(lake.source, &late(&["raw.hms.visit"]), body).await.unwrap());
    let taken = catalog.take_alerts(9, Duration::from_secs(600)).await.unwrap();
    catalog.end_alert(taken[0].id, true).await.unwrap();
    assert!(catalog.note_late(lake.source, &late(&["raw.hms.lab"]), body).await.unwrap());
    let taken = catalog.take_alerts(9, Duration::from_secs(600)).await.unwrap();
    catalog.end_alert(taken[0].id, false).await.unwrap();
    assert!(catalog.note_late(lake.source, &late(&["raw.hms.stay"]), body).await.unwrap());
    let asked = "SELECT source, kind, state, tries, told_at IS NULL, next_try_at IS NULL, text FROM system.ops.alerts";
    let all = [
        "hms|tables_late|waiting|0|true|false|late: {\"raw.hms.stay\"}",
        "hms|tables_late|given_up|1|true|true|late: {\"raw.hms.lab\"}",
        "hms|tables_late|told|1|false|true|late: {\"raw.hms.visit\"}",
    ];
    assert_eq!(lake.rows(asked).await, all);
    let engineer = principal(Role::Engineer, Scope::All);
    assert_eq!(lake.ask(&engineer, &format!("{asked} WHERE source = 'hms'")).await.unwrap(), all);
    assert!(lake.ask(&engineer, &format!("{asked} WHERE source = 'other'")).await.unwrap().is_empty());
    assert!(lake.ask(&lake.reader, asked).await.unwrap().is_empty());
    // Errors and names of tables are for who may read all of the source.
    let of_one_zone = principal(Role::Engineer, Scope::Schemas(vec![grant(Zone::Raw, "hms")]));
    assert!(lake.ask(&of_one_zone, asked).await.unwrap().is_empty());
    let told = "SELECT body FROM system.ops.alerts WHERE state = 'told'";
    assert!(lake.rows(told).await[0].contains("\"count\":1"));
}

/// What runs of the source `hms` tell: whether of the run at all, and whether of its sizes, its error and its log.
#[rstest]
#[case::all(Rights { reads: vec![(Place::Everything, None)], ..Rights::default() }, true, true)]
#[case::a_zone_of_resources(Rights { reads: vec![(Place::Zone(Zone::Fhir), None)], ..Rights::default() }, false, false)]
#[case::one_of_two_schemas(
    Rights { reads: vec![(Place::Schema(Zone::Raw, "hms".to_owned()), None)], ..Rights::default() }, true, false
)]
#[case::both_schemas(
    Rights { reads: vec![(Place::Zone(Zone::Raw), None), (Place::Zone(Zone::Processed), None)], ..Rights::default() },
    true,
    true
)]
#[case::a_filter(
    Rights {
        reads: vec![(Place::Everything, None)],
        filters: vec![("processed.hms.hms_patient".parse().unwrap(), "id = 1".to_owned())],
        ..Rights::default()
    },
    true,
    false
)]
#[tokio::test(flavor = "multi_thread")]
async fn a_run_tells_its_sizes_to_who_reads_all_rows_of_its_source(
    #[case] rights: Rights,
    #[case] known: bool,
    #[case] told: bool,
) {
    let lake = Fixture::new().await;
    let catalog = lake.lake.catalog();
    let counts = Counts { read: 7, inserted: 7, ..Counts::default() };
    catalog.log(lake.run, LogLevel::Warn, "`raw.hms.hms_patient`: 7 rows").await.unwrap();
    catalog.set_run_state(lake.run, RunState::Failed, counts, Some("7 rows are too many")).await.unwrap();
    let mut who = principal(Role::Reader, Scope::Schemas(Vec::new()));
    who.rights = Arc::new(rights);
    let runs = lake.ask(&who, "SELECT rows_read, error FROM system.ops.runs").await.unwrap();
    let line = if told { "7|7 rows are too many" } else { "NULL|NULL" };
    assert_eq!(runs, if known { vec![line] } else { Vec::new() });
    for named in [String::new(), format!(" WHERE run_id = '{}'", lake.run)] {
        let log = lake.ask(&who, &format!("SELECT message FROM system.ops.run_log{named}")).await.unwrap();
        assert_eq!(log.len(), usize::from(told), "{log:?}");
        let units = lake.ask(&who, &format!("SELECT * FROM system.ops.run_units{named}")).await.unwrap();
        assert!(known || units.is_empty(), "{units:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn show_and_describe_answer_from_the_catalog() {
    let lake = Fixture::new().await;
    let tables = lake.ask(&lake.reader, "SHOW TABLES IN hms").await.unwrap();
    assert_eq!(tables, ["processed|hms|hms_patient|BASE TABLE"]);
    assert_eq!(lake.rows("SHOW TABLES IN raw.hms LIKE 'hms*'").await, ["raw|hms|hms_patient|BASE TABLE"]);
    assert_eq!(lake.rows("SHOW SCHEMAS IN fhir").await, ["fhir|information_schema", "fhir|r4"]);
    assert!(lake.rows("SHOW DATABASES LIKE 'sec%'").await.contains(&"processed|secret".to_owned()));
    let described = lake.rows("DESCRIBE patient").await;
    assert_eq!(described[..2], ["id|Utf8|YES", "birthDate|Utf8|YES"]);
    assert_eq!(lake.rows("SHOW COLUMNS FROM raw.hms.hms_patient").await[0], "id|Int64|YES");
    assert!(lake.rows("SET TIME ZONE 'UTC'").await.is_empty());
}

/// The row as it was before it was refused holds what the next zone leaves out.
#[rstest]
#[case(&[(Zone::Processed, "hms")], "NULL")]
#[case(&[(Zone::Processed, "hms"), (Zone::Raw, "other")], "NULL")]
#[case(&[(Zone::Processed, "hms"), (Zone::Raw, "hms")], "payload")]
#[tokio::test(flavor = "multi_thread")]
async fn the_content_of_a_row_set_aside_takes_leave_to_read_its_raw_zone(
    #[case] grants: &[(Zone, &str)],
    #[case] shown: &str,
) {
    let lake = Fixture::new().await;
    let table = lake.find("processed.hms.hms_patient").await;
    let row = NewQuarantined {
        app_id: format!("in:{}:{}", lake.source, table.id),
        sequence: 1,
        ordinal: 0,
        run: lake.run,
        table: table.id,
        step: Step::ToProcessed,
        reason: "birth_date: not a date".to_owned(),
        origin: "line 1".to_owned(),
        payload: "payload".to_owned(),
    };
    lake.lake.catalog().quarantine(&[row]).await.unwrap();
    let scope = Scope::Schemas(grants.iter().map(|(zone, schema)| grant(*zone, schema)).collect());
    let seen = lake.ask(&principal(Role::Reader, scope), "SELECT payload FROM system.ops.quarantine").await.unwrap();
    assert_eq!(seen, [shown]);
}
