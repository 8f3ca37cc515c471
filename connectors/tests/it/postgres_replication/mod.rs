//! Logical replication from a real server: what a model in memory makes of the readings is what the table holds.

mod house;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::postgres::table;
use futures::StreamExt;
use mavis_connectors::{
    ReadMode, ReadRequest, Selection,
    testkit::{Change, Expectation, Reading, assert_contract},
};
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};

use self::house::*;

#[tokio::test]
async fn replication_keeps_the_contract() {
    let more = "; CREATE TABLE keyless (v text); INSERT INTO keyless VALUES ('a'), ('b');
                CREATE TABLE outside (id int PRIMARY KEY); INSERT INTO outside VALUES (1);
                ALTER PUBLICATION mavis ADD TABLE keyless";
    with(&format!("{TWO}{more}"), async |house| {
        let source = house.source();
        let discovery = source.discover(&Selection::default()).await.unwrap();
        let mode = |name: &str| discovery.tables.iter().find(|table| table.table.name == name).unwrap().mode;
        assert_eq!(mode("patient"), ReadMode::Incremental);
        assert_eq!(mode("outside"), ReadMode::Snapshot, "what the publication leaves out is compared whole");
        assert_eq!(mode("keyless"), ReadMode::Snapshot, "the log does not name rows without a key");
        let expected =
            Expectation::default().table("patient", 300).table("stay", 100).table("keyless", 2).table("outside", 1);
        assert_contract(&*source, expected).await;
        let line = source.check().await.pop().unwrap().message;
        assert!(line.contains("tells of 2 tables") && line.contains("public.keyless"), "{line}");
    })
    .await;
}

#[tokio::test]
async fn every_kind_of_change_arrives_as_the_table_has_it() {
    with(TWO, async |house| {
        let mut house = two(house);
        house.run().await;
        house.assert_same("patient").await;
        house
            .database
            .execute(
                "INSERT INTO patient VALUES (1000, 'new', NULL), (1001, 'gone at once', NULL);
                 UPDATE patient SET name = 'changed' WHERE id <= 10;
                 UPDATE patient SET id = id + 5000 WHERE id BETWEEN 20 AND 25;
                 DELETE FROM patient WHERE id IN (1001, 30, 31);
                 UPDATE stay SET bed = bed + 100, note = NULL WHERE ward < 5;",
            )
            .await;
        house.database.execute("BEGIN; INSERT INTO patient VALUES (7777, 'never', NULL); ROLLBACK").await;
        house.run().await;
        house.assert_same("patient").await;
        house.assert_same("stay").await;
        house
            .database
            .execute(
                "INSERT INTO patient VALUES (8, 'x', NULL) ON CONFLICT DO NOTHING; TRUNCATE patient, stay;
                 INSERT INTO patient VALUES (1, 'after', NULL)",
            )
            .await;
        house.run().await;
        assert_eq!(house.copies["patient"].rows.len(), 1);
        house.assert_same("patient").await;
        house.assert_same("stay").await;
        let source = house.source();
        let before = house.copies["patient"].read;
        house.read(&*source, "patient").await.unwrap();
        assert_eq!(house.copies["patient"].read, before, "nothing comes twice");
    })
    .await;
}

#[tokio::test]
async fn values_are_the_same_whether_they_come_by_copy_or_by_the_log() {
    let types = r#"
        CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, b text); CREATE DOMAIN money2 AS numeric(12,2);
        CREATE TABLE t (id numeric(8,3), ch char(7), PRIMARY KEY (id, ch),
            b bool, i2 smallint, i8 bigint, f4 real, f8 double precision, n numeric(38,10), n0 numeric, dom money2,
            txt text, vc varchar(5), by bytea, d date, ts timestamp, tz timestamptz, ti time, tiz timetz,
            iv interval, u uuid, j json, jb jsonb, ia int[], ta text[], na numeric[], da timestamptz[], inet inet, mac macaddr,
            r int4range, e mood, ea mood[], p pair, x xml, bits bit varying(8), m money, pt point, o oid, tsv tsvector,
            g int GENERATED ALWAYS AS (i2 * 2) STORED);
        CREATE PUBLICATION mavis FOR TABLE t"#;
    with(types, async |house| {
        let mut house = house.copy("t", &["id", "ch"]);
        house.run().await;
        house
            .database
            .execute(
                r#"INSERT INTO t VALUES (1.5, 'ab',
            true, -32768, -9223372036854775808, 1.1, 0.1, -1234567890123456789012345678.0123456789,
            123456789012345678901234567890.678900, 99.90, E'a\n"b"\\', 'abcde', '\x00ff', '0044-03-15 BC',
            '1999-12-31 23:59:59.999999', '2024-06-01 12:00:00+02', '24:00:00', '10:00+02', '1 year 2 days 03:04:05',
            '00000000-0000-0000-0000-000000000001', '{"a": 1.10}', '{"b": [1, null]}', '{1,NULL,3}', '{{a,b},{c,"d,"}}',
            '{1.10,2}', '{2024-01-01 10:00+01}', '10.0.0.1', '08:00:2b:01:02:03', '[1,10)', 'ok', '{ok,sad}', ROW(1, 'x,y'),
            '<a/>', B'1010', 12.34, '(1,2)', 4294967295, 'fat cat'), (2, 'é', NULL, 3, NULL, 'NaN', '-Infinity', 0, 1e20, 0.01,
            '', '', '', '5000-01-01', '0001-01-01 00:00:00 BC', NULL, '00:00', NULL, '-1 day', NULL, 'null', '"x"', '{}', NULL,
            NULL, NULL, '::1/64', NULL, 'empty', NULL, '{}', ROW(NULL, ''), NULL, B'', NULL, NULL, 0, NULL);
            INSERT INTO t (id, ch) SELECT i, 'c' || i FROM generate_series(10, 60) i;
            DELETE FROM t WHERE id BETWEEN 20 AND 30"#,
            )
            .await;
        house.run().await;
        let without_generated = |rows: &BTreeMap<String, String>| -> Vec<String> {
            let parts = |row: &String| {
                let kept: Vec<&str> = row.split('|').filter(|part| !part.starts_with("g=")).collect();
                kept.join("|")
            };
            rows.values().map(parts).collect()
        };
        let truth = house.truth("t").await;
        assert_eq!(truth.len(), 42);
        assert_eq!(without_generated(&house.copies["t"].rows), without_generated(&truth));
    })
    .await;
}

#[tokio::test]
async fn an_update_that_leaves_a_large_value_alone_does_not_lose_it() {
    let large = "CREATE TABLE doc (id int PRIMARY KEY, state text, body text, pages bytea);
        CREATE TABLE full_doc (id int PRIMARY KEY, state text, body text);
        ALTER TABLE doc ALTER body SET STORAGE EXTERNAL; ALTER TABLE full_doc ALTER body SET STORAGE EXTERNAL;
        ALTER TABLE full_doc REPLICA IDENTITY FULL;
        INSERT INTO doc SELECT i, 'new', repeat(i::text || '-', 5000), NULL FROM generate_series(1, 30) i;
        INSERT INTO full_doc SELECT i, 'new', repeat(i::text || '-', 5000) FROM generate_series(1, 30) i;
        CREATE PUBLICATION mavis FOR TABLE doc, full_doc";
    with(large, async |house| {
        let mut house = house.copy("doc", &["id"]).copy("full_doc", &["id"]);
        house.run().await;
        house
            .database
            .execute(
                "UPDATE doc SET state = 'read'; UPDATE doc SET id = id + 100 WHERE id < 5; UPDATE doc SET body = 'short' WHERE id = 9;
                 UPDATE doc SET state = 'twice' WHERE id = 9; UPDATE doc SET state = 'going' WHERE id = 10; DELETE FROM doc WHERE id = 10;
                 UPDATE full_doc SET state = 'read'; UPDATE full_doc SET id = id + 100 WHERE id < 5; DELETE FROM full_doc WHERE id = 9",
            )
            .await;
        house.run().await;
        house.assert_same("doc").await;
        house.assert_same("full_doc").await;
        assert!(house.copies["doc"].rows.values().filter(|row| row.len() > 5000).count() > 20);
    })
    .await;
}

#[tokio::test]
async fn idle_tables_neither_hold_the_log_nor_lose_what_comes_later() {
    with(TWO, async |house| {
        let mut house = two(house);
        house.run().await;
        let idle = house.copies["stay"].cursor.clone();
        let mut before = house.confirmed().await;
        for round in 0..3 {
            house.database.execute(&format!("INSERT INTO patient VALUES ({}, 'x', NULL)", 2000 + round)).await;
            house.run().await;
            let now = house.confirmed().await;
            assert_ne!(now, before, "the slot is let go of what every table has");
            before = now;
        }
        assert_eq!(house.copies["stay"].cursor, idle, "a table without changes commits nothing");
        house.database.execute("INSERT INTO stay VALUES (900, 9, 'late')").await;
        house.run().await;
        house.assert_same("stay").await;
        // A table that fails holds the slot, and what it lacks stays there.
        house
            .database
            .execute("INSERT INTO stay VALUES (901, 9, 'x'); INSERT INTO patient VALUES (3000, 'x', NULL)")
            .await;
        let source = house.source();
        source.kept(house.kept.as_ref()).await.unwrap();
        house.read(&*source, "patient").await.unwrap();
        house.settle(&*source).await;
        drop(source);
        house.run().await;
        house.assert_same("stay").await;
        house.assert_same("patient").await;
    })
    .await;
}

#[tokio::test]
async fn a_slot_that_was_made_anew_or_is_gone_is_refused_rather_than_losing_rows() {
    with(TWO, async |house| {
        let mut house = two(house);
        house.run().await;
        let slot = house.slot.clone();
        house.database.execute(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
        house.database.execute("INSERT INTO patient VALUES (5000, 'lost', NULL)").await;
        house.database.execute(&format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")).await;
        for round in 0..2 {
            let source = house.source();
            source.kept(house.kept.as_ref()).await.unwrap();
            let error = house.read(&*source, "patient").await.unwrap_err().to_string();
            assert!(error.contains("made anew") && error.contains("in full"), "round {round}: {error}");
            // Nor does settling make it look sound.
            house.settle(&*source).await;
        }
        house.database.execute(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
        let source = house.source();
        let error = house.read(&*source, "stay").await.unwrap_err().to_string();
        assert!(error.contains("is gone") && error.contains("in full"), "{error}");
        drop(source);
        // In full: from the beginning, with a slot made anew.
        for copy in house.copies.values_mut() {
            copy.cursor = None;
            copy.rows.clear();
        }
        house.run().await;
        house.database.execute("UPDATE patient SET name = 'on' WHERE id < 9").await;
        house.run().await;
        house.assert_same("patient").await;
        // Somebody else consumes from the slot.
        house.database.execute("INSERT INTO patient VALUES (6000, 'eaten', NULL)").await;
        house
            .database
            .execute(&format!(
                "SELECT count(*) FROM pg_logical_slot_get_binary_changes('{slot}', NULL, NULL, 'proto_version', '1', 'publication_names', 'mavis')"
            ))
            .await;
        let source = house.source();
        source.kept(house.kept.as_ref()).await.unwrap();
        let error = house.read(&*source, "patient").await.unwrap_err().to_string();
        assert!(error.contains("moved by somebody else"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn what_a_changed_definition_does_to_rows_without_telling_the_log_is_found_by_comparing() {
    with(TWO, async |house| {
        let mut house = two(house);
        house.run().await;
        let emptied = |reading: &Reading| reading.steps.iter().any(|step| matches!(step, Change::Emptied));
        for (statement, compared) in [
            ("ALTER TABLE patient ADD COLUMN note text; UPDATE patient SET note = 'n' WHERE id < 4", false),
            ("VACUUM FULL patient", false),
            ("UPDATE patient SET note = 'v' WHERE id = 1", false),
            ("ALTER TABLE patient ADD COLUMN score int DEFAULT 5; UPDATE patient SET note = 'm' WHERE id < 3", true),
            ("ALTER TABLE patient ALTER name TYPE text USING upper(name)", true),
            ("ALTER TABLE patient DROP COLUMN born", true),
            ("ALTER TABLE patient RENAME COLUMN note TO remark", true),
            ("ALTER TABLE patient ADD COLUMN token uuid DEFAULT gen_random_uuid()", true),
            ("ALTER TABLE patient ALTER name SET STATISTICS 10; DELETE FROM patient WHERE id = 2", false),
            ("ALTER TABLE patient ALTER score TYPE bigint; UPDATE patient SET score = 5000000000 WHERE id = 7", true),
        ] {
            house.database.execute(statement).await;
            let source = house.source();
            source.kept(house.kept.as_ref()).await.unwrap();
            let reading = house.read(&*source, "patient").await.unwrap();
            assert_eq!(emptied(&reading), compared, "{statement}");
            house.settle(&*source).await;
            let truth = house.truth("patient").await;
            assert_eq!(house.copies["patient"].rows, truth, "{statement}");
        }
        house
            .database
            .execute(
                "DROP TABLE stay; CREATE TABLE stay (ward int, bed int, note text, PRIMARY KEY (bed, ward));
                                INSERT INTO stay VALUES (1, 1, 'other'); ALTER PUBLICATION mavis ADD TABLE stay",
            )
            .await;
        house.run().await;
        house.assert_same("stay").await;
        house.database.execute("ALTER PUBLICATION mavis DROP TABLE stay").await;
        let source = house.source();
        let error = house.read(&*source, "stay").await.unwrap_err().to_string();
        assert!(error.contains("no longer told of by publication"), "{error}");
        drop(source);
        house.database.execute("DROP TABLE patient").await;
        let source = house.source();
        let error = house.read(&*source, "patient").await.unwrap_err().to_string();
        assert!(error.contains("patient"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_value_that_has_no_place_is_rejected_and_the_rest_goes_on() {
    with(TWO, async |house| {
        let mut house = two(house);
        house.run().await;
        house
            .database
            .execute("UPDATE patient SET born = 'infinity' WHERE id = 1; UPDATE patient SET name = 'fine' WHERE id = 2")
            .await;
        let source = house.source();
        source.kept(house.kept.as_ref()).await.unwrap();
        let reading = house.read(&*source, "patient").await.unwrap();
        let [(_, reason, payload)] = &reading.rejects[..] else { panic!("{:?}", reading.rejects) };
        assert!(reason.starts_with("born: an infinite date") && payload.contains("\"n1\""), "{reason} {payload}");
        assert_eq!(reading.rows.len(), 1);
        house.settle(&*source).await;
        drop(source);
        house.database.execute("UPDATE patient SET born = '2000-01-01' WHERE id = 1").await;
        house.run().await;
        house.assert_same("patient").await;
    })
    .await;
}

#[tokio::test]
async fn one_run_reads_no_more_than_it_may_and_the_next_one_goes_on() {
    with(TWO, async |house| {
        let mut house = two(house);
        house.run().await;
        for _ in 0..10 {
            house.database.execute("UPDATE patient SET name = name || 'x'").await;
        }
        let (mut runs, mut told) = (0, false);
        loop {
            let source = house.source_with(json!({ "max_changes_per_run": 500 }));
            source.kept(house.kept.as_ref()).await.unwrap();
            let reading = house.read(&*source, "patient").await.unwrap();
            told |= house.settle(&*source).await.iter().any(|note| note.contains("more changes"));
            if reading.steps.is_empty() {
                break;
            }
            runs += 1;
        }
        assert!((4..=10).contains(&runs) && told, "{runs} runs");
        house.assert_same("patient").await;
    })
    .await;
}

#[tokio::test]
async fn what_is_asked_of_a_table_without_changes_is_answered_without_reading() {
    with(TWO, async |house| {
        let mut house = two(house);
        house.run().await;
        let from = |house: &House, name: &str| house.copies[name].cursor.clone();
        let ask = async |house: &House, name: &str| {
            let source = house.source();
            source.kept(house.kept.as_ref()).await.unwrap();
            source.changed(&table(name), from(house, name).as_ref()).await.unwrap()
        };
        assert_eq!(ask(&house, "patient").await, Some(false));
        house.database.execute("UPDATE patient SET name = 'x' WHERE id = 1").await;
        assert_eq!(ask(&house, "patient").await, Some(true));
        assert_eq!(ask(&house, "stay").await, Some(false), "another table's changes are not this one's");
        let busy = house.source();
        house.read(&*busy, "patient").await.unwrap();
        assert_eq!(ask(&house, "stay").await, None, "while a run has the slot nobody else can tell");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_writers_crashes_and_hand_overs_every_change_arrives_once() {
    let statements = "
        CREATE TABLE account (id int PRIMARY KEY, v bigint, blob text);
        CREATE TABLE log (id bigserial PRIMARY KEY, account int);
        ALTER TABLE account ALTER blob SET STORAGE EXTERNAL;
        INSERT INTO account SELECT i, 0, repeat('b', 3000) FROM generate_series(1, 200) i;
        CREATE PUBLICATION mavis FOR TABLE account, log";
    with(statements, async |house| {
        let mut house = house.copy("account", &["id"]).copy("log", &["id"]);
        let stop = Arc::new(AtomicBool::new(false));
        let written = Arc::new(AtomicU64::new(0));
        let writers: Vec<_> = (0..3_u64)
            .map(|writer| {
                let (stop, written, url) = (Arc::clone(&stop), Arc::clone(&written), house.database.url.clone());
                tokio::spawn(async move {
                    let mut connection = PgConnection::connect(&url).await.unwrap();
                    let mut seed = writer + 1;
                    let mut dice = |limit: u64| {
                        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        (seed >> 33) % limit
                    };
                    while !stop.load(Ordering::SeqCst) {
                        let id = 1 + dice(200);
                        let change = match dice(12) {
                            0 => format!("DELETE FROM account WHERE id = {id}"),
                            1 => format!("UPDATE account SET id = id + 1000 * (1 - 2 * (id > 1000)::int) WHERE id % 1000 = {id} AND NOT EXISTS (SELECT 1 FROM account b WHERE b.id % 1000 = {id} AND b.id <> account.id)"),
                            2 | 3 => format!("INSERT INTO account VALUES ({id}, 1, repeat('c', 2500)) ON CONFLICT (id) DO UPDATE SET v = account.v + 1"),
                            4 => format!("SAVEPOINT s; UPDATE account SET blob = repeat('d', 2600) WHERE id = {id}; ROLLBACK TO s; UPDATE account SET v = v - 1 WHERE id = {id}"),
                            _ => format!("UPDATE account SET v = v + 1 WHERE id = {id}"),
                        };
                        let hold = dice(40);
                        let text = format!("BEGIN; {change}; INSERT INTO log (account) VALUES ({id}); SELECT pg_sleep({hold} / 1000.0); COMMIT");
                        match connection.execute(sqlx::AssertSqlSafe(text)).await {
                            Ok(_) => drop(written.fetch_add(1, Ordering::SeqCst)),
                            // A deadlock or a key that two of them took.
                            Err(_) => drop(connection.execute("ROLLBACK").await),
                        }
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(300)).await;
        for round in 0..14 {
            let source = house.source();
            source.kept(house.kept.as_ref()).await.unwrap();
            for name in ["account", "log"] {
                // Some readings are given up in the middle, some end and are not committed.
                match (round + name.len()) % 4 {
                    0 => {
                        let request = ReadRequest { from: house.copies[name].cursor.clone(), batch_rows: 7, ..ReadRequest::whole(table(name)) };
                        let mut stream = source.read(request).await.unwrap();
                        stream.next().await;
                    }
                    _ => drop(house.read(&*source, name).await.unwrap()),
                }
            }
            if round % 3 != 0 {
                house.settle(&*source).await;
            }
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        stop.store(true, Ordering::SeqCst);
        for writer in writers {
            writer.await.unwrap();
        }
        house.run().await;
        house.assert_same("account").await;
        house.assert_same("log").await;
        let written = written.load(Ordering::SeqCst);
        assert!(written > 50, "{written} transactions");
        let log = &house.copies["log"];
        assert_eq!(log.read, log.rows.len(), "a row that is only ever inserted comes once");
    })
    .await;
}

#[tokio::test]
async fn a_table_that_joins_the_publication_is_read_whole_and_then_followed() {
    let more = format!("{TWO}; CREATE TABLE later (id int PRIMARY KEY, v text); INSERT INTO later VALUES (1, 'a')");
    with(&more, async |house| {
        let mut house = two(house);
        house.run().await;
        // A transaction that wrote the table before it joined, and is open when it is read first.
        let mut open = PgConnection::connect(&house.database.url).await.unwrap();
        open.execute("BEGIN; INSERT INTO later VALUES (2, 'before it joined')").await.unwrap();
        house.database.execute("ALTER PUBLICATION mavis ADD TABLE later").await;
        let mut house = house.copy("later", &["id"]);
        let source = house.source();
        source.kept(house.kept.as_ref()).await.unwrap();
        let reading = house.read(&*source, "later");
        let commit = async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            open.execute("INSERT INTO later VALUES (3, 'after'); COMMIT").await.unwrap();
        };
        let (reading, ()) = tokio::join!(reading, commit);
        assert_eq!(reading.unwrap().rows.len(), 3, "the open transaction is waited for");
        house.settle(&*source).await;
        drop(source);
        house.database.execute("INSERT INTO later VALUES (4, 'b'); DELETE FROM later WHERE id = 1").await;
        house.run().await;
        house.assert_same("later").await;
    })
    .await;
}
