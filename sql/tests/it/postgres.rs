//! Sessions of PostgreSQL's clients: what they look for in their database, and what the catalogs tell them.

use std::sync::Arc;

use mavis_sql::{Error, Postgres};
use mavis_types::{Principal, Role, Scope, Zone};

use crate::fixture::{Fixture, grant, lines, principal};

/// Asks on a connection of a database.
async fn ask(lake: &Fixture, who: &Principal, database: &str, sql: &str) -> Result<Vec<String>, Error> {
    let own = Postgres {
        database: database.to_owned(),
        path: vec!["hms".to_owned(), "shared".to_owned()],
        ..Postgres::default()
    };
    let session = lake.engine.session(who, None).await?.as_postgres(Arc::new(own));
    lines(session.query(sql, &[], None).await?).await
}

async fn told(lake: &Fixture, database: &str, sql: &str) -> Vec<String> {
    ask(lake, &lake.admin, database, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hive_asks_is_looked_for_in_the_connections_database() {
    let lake = Fixture::new().await;
    for database in ["raw", "processed"] {
        let all = told(&lake, database, "SHOW TABLES").await;
        let own = format!("{database}|hms|hms_patient|BASE TABLE");
        assert!(all.contains(&own) && all.iter().all(|line| line.starts_with(database)), "{all:?}");
        assert!(!all.iter().any(|line| line.contains("information_schema")), "{all:?}");
        assert_eq!(told(&lake, database, "SHOW TABLES IN hms").await, [own]);
        assert_eq!(told(&lake, database, "DESCRIBE DATABASE hms").await, [format!("{database}|hms")]);
        for sql in ["SHOW CREATE TABLE hms.hms_patient", "SHOW CREATE TABLE hms_patient"] {
            let made = told(&lake, database, sql).await;
            assert!(made[0].starts_with(&format!("CREATE TABLE {database}.hms.")), "{sql}: {made:?}");
        }
        for sql in ["DESCRIBE hms_patient", "SHOW COLUMNS IN hms_patient", "DESCRIBE hms.hms_patient"] {
            assert!(told(&lake, database, sql).await[0].starts_with("id|"), "{sql}");
        }
    }
    // Another database is still reached by its name.
    let made = told(&lake, "raw", "SHOW CREATE TABLE processed.hms.hms_patient").await;
    assert!(made[0].starts_with("CREATE TABLE processed.hms."), "{made:?}");
    assert!(told(&lake, "raw", "SHOW TABLES IN processed").await.iter().all(|line| line.starts_with("processed")));
    let secret = ask(&lake, &lake.reader, "processed", "DESCRIBE secret.staff").await;
    assert!(matches!(secret, Err(Error::NoSuchTable { .. })), "{secret:?}");
    assert!(ask(&lake, &lake.reader, "raw", "SHOW TABLES").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_definition_of_a_view_is_for_who_may_see_it() {
    let lake = Fixture::new().await;
    lake.run("CREATE VIEW work.shared.staff AS SELECT nom FROM secret.staff").await;
    lake.run("CREATE VIEW work.shared.patients (number, name) AS SELECT id, nom FROM hms.hms_patient").await;
    let grants = vec![grant(Zone::Processed, "hms"), grant(Zone::Work, "shared")];
    let reader = principal(Role::Reader, Scope::Schemas(grants));
    let of_all = [
        "SELECT viewname FROM pg_views WHERE schemaname = 'shared' AND definition IS NOT NULL ORDER BY 1",
        "SELECT table_name FROM information_schema.views WHERE table_schema = 'shared' AND view_definition IS NOT NULL ORDER BY 1",
        "SELECT c.relname FROM pg_class c JOIN pg_rewrite r ON r.ev_class = c.oid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = 'shared' AND r.ev_action IS NOT NULL ORDER BY 1",
        "SELECT DISTINCT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
         WHERE c.relkind = 'v' AND c.relname IN ('patients', 'staff') ORDER BY 1",
    ];
    for sql in of_all {
        assert_eq!(told(&lake, "work", sql).await, ["patients", "staff"], "{sql}");
        assert_eq!(ask(&lake, &reader, "work", sql).await.unwrap(), ["patients"], "{sql}");
    }
    for (view, shown) in [("patients", true), ("staff", false)] {
        for sql in [
            format!("SELECT pg_get_viewdef('shared.{view}'::regclass, true)"),
            format!("SELECT pg_get_viewdef('shared.{view}')"),
            format!("SELECT pg_get_viewdef(c.oid) FROM pg_class c WHERE c.relname = '{view}' AND c.relkind = 'v'"),
        ] {
            let definition = told(&lake, "work", &sql).await;
            assert!(definition.len() == 1 && definition[0].contains("nom"), "{sql}: {definition:?}");
            let read = ask(&lake, &reader, "work", &sql).await.unwrap();
            assert_eq!(read, if shown { definition } else { vec!["NULL".to_owned()] }, "{sql}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_of_types_are_numbers_that_are_shown_by_their_names() {
    let lake = Fixture::new().await;
    for (sql, expected) in [
        ("SELECT typreceive, typsend AS s, typmodin FROM pg_type WHERE typname = 'date'", "date_recv|date_send|-"),
        ("SELECT typname FROM pg_type WHERE typreceive::text = 'timestamptz_recv'", "timestamptz"),
        ("SELECT typname FROM pg_type WHERE typreceive = 'int4recv'", "int4"),
        ("SELECT count(*) FROM pg_type WHERE typinput = 'array_in'::regproc AND typelem = 0", "0"),
        ("SELECT count(*) FROM pg_type WHERE typreceive = 0 AND typsend = 0", "0"),
        (
            "SELECT p.proname FROM pg_type t JOIN pg_proc p ON p.oid = t.typreceive WHERE t.typname = '_text'",
            "array_recv",
        ),
        ("SELECT p.oid::regproc::text FROM pg_proc p WHERE p.oid = 2406", "int4recv"),
        ("SELECT typarray FROM pg_type WHERE typname = 'numeric' AND typreceive != 0", "1231"),
    ] {
        assert_eq!(told(&lake, "processed", sql).await, [expected], "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_of_a_key_are_told_by_their_places() {
    let lake = Fixture::new().await;
    let of_table = "i.indrelid = 'hms.hms_patient'::regclass";
    for (sql, expected) in [
        (
            "SELECT a.attname FROM pg_index i, pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = i.indkey[0] AND ",
            "id",
        ),
        ("SELECT i.indkey, i.indclass FROM pg_index i WHERE ", "[1]|[1978]"),
        ("SELECT pg_get_indexdef(i.indexrelid, 1, true) FROM pg_index i WHERE ", "id"),
        (
            "SELECT ARRAY(SELECT pg_get_indexdef(i.indexrelid, k + 1, true) FROM generate_subscripts(i.indkey, 1) AS k ORDER BY k) \
          FROM pg_index i WHERE ",
            "[id]",
        ),
        (
            "SELECT u.n, a.attname FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY u(k, n) \
          JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.k WHERE ",
            "1|id",
        ),
        (
            "SELECT ARRAY(SELECT attname FROM unnest(c.conkey) WITH ORDINALITY k(n, p) JOIN pg_attribute a ON k.n = a.attnum \
          WHERE a.attrelid = c.conrelid ORDER BY k.p) FROM pg_constraint c JOIN pg_index i ON i.indexrelid = c.conindid WHERE ",
            "[id]",
        ),
        (
            "SELECT v, o, p FROM (SELECT * FROM pg_index i, unnest(i.indkey, i.indoption) WITH ORDINALITY k(v, o, p)) i \
          WHERE ",
            "1|0|1",
        ),
    ] {
        let sql = format!("{sql}{of_table}");
        assert_eq!(told(&lake, "raw", &sql).await, [expected], "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_called_by_words_that_postgresql_keeps_free() {
    let lake = Fixture::new().await;
    lake.run("CREATE TABLE work.shared.frame (index BIGINT, key TEXT, level INT)").await;
    lake.run("INSERT INTO work.shared.frame (index, key, level) VALUES (0, 'a', 1)").await;
    assert_eq!(lake.rows("SELECT index, key, level FROM work.shared.frame").await, ["0|a|1"]);
}

/// As in PostgreSQL, rights on a table that is not there are an error, and one that is hidden is not there.
#[tokio::test(flavor = "multi_thread")]
async fn rights_are_told_of_tables_that_are_there() {
    let lake = Fixture::new().await;
    for (table, right, may) in [
        ("hms.hms_patient", "select", "true"),
        ("hms_patient", "SELECT", "true"),
        ("processed.hms.hms_patient", "select", "true"),
        ("hms.hms_patient", "update", "false"),
        ("pg_class", "select", "true"),
    ] {
        for sql in [
            format!("SELECT has_table_privilege('{table}', '{right}')"),
            format!("SELECT has_any_column_privilege(current_user, '{table}', '{right}')"),
        ] {
            assert_eq!(told(&lake, "processed", &sql).await, [may], "{sql}");
        }
    }
    let mut refusals = Vec::new();
    for table in ["secret.staff", "secret.nobody", "staff", "nothing"] {
        let sql = format!("SELECT pg_catalog.has_table_privilege('{table}', 'select')");
        let error = ask(&lake, &lake.reader, "processed", &sql).await.unwrap_err();
        assert!(matches!(error, Error::NoSuchTable { .. }), "{sql}: {error}");
        refusals.push(error.to_string().replace(table, "T"));
    }
    assert!(refusals.iter().all(|refusal| *refusal == refusals[0]), "{refusals:?}");
}
