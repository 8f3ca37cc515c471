//! Sources that change under the reader's hands: tables altered, locked, dropped and renamed while they are read or before,
//! values that do not fit, passwords that were changed.

use std::time::{Duration, Instant};

use mavis_tests::{MariaDb, Postgres, Server, ServerBuilder, write};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, MySqlConnection, PgConnection};

use super::{Gate, OwnPostgres, begin, declare, ended, ingest, log, params_of, told, totals, totals_of};

/// The two databases, as far as they differ.
enum Database {
    Postgres(Postgres),
    MariaDb(MariaDb),
}

impl Database {
    fn execute(&self, sql: &str) -> String {
        match self {
            Self::Postgres(database) => database.execute(sql),
            Self::MariaDb(database) => database.execute(sql),
        }
        .unwrap()
    }

    fn truth(&self, table: &str) -> Value {
        let object = if matches!(self, Self::Postgres(_)) { "json_build_object" } else { "json_object" };
        serde_json::from_str(&self.execute(&totals_of(object, table))).unwrap()
    }

    /// Whether a statement waits for a lock that somebody else has.
    fn waits(&self) -> bool {
        let asked = match self {
            Self::Postgres(_) => {
                "SELECT count(*) FROM pg_locks WHERE NOT granted
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            }
            Self::MariaDb(_) => {
                "SELECT count(*) FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND STATE LIKE 'Waiting for table%'"
            }
        };
        self.execute(asked) != "0"
    }

    fn port(&self) -> u16 {
        match self {
            Self::Postgres(database) => database.port,
            Self::MariaDb(database) => database.port,
        }
    }

    fn params(&self, port: u16) -> Value {
        match self {
            Self::Postgres(database) => params_of(database, port),
            Self::MariaDb(database) => database.params(port),
        }
    }

    /// Takes a lock that no reader gets past; it is held until the answer is dropped.
    async fn lock(&self, table: &str) -> Held {
        match self {
            Self::Postgres(database) => {
                let mut held = PgConnection::connect(&database.url).await.unwrap();
                let text = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
                held.execute(sqlx::AssertSqlSafe(text)).await.unwrap();
                Held::Postgres(held)
            }
            Self::MariaDb(database) => {
                let MariaDb { host, port, user, password, database, .. } = database;
                let url = format!("mysql://{user}:{password}@{host}:{port}/{database}");
                let mut held = MySqlConnection::connect(&url).await.unwrap();
                held.execute(sqlx::AssertSqlSafe(format!("LOCK TABLES {table} WRITE"))).await.unwrap();
                Held::MariaDb(held)
            }
        }
    }
}

enum Held {
    Postgres(PgConnection),
    MariaDb(MySqlConnection),
}

impl Held {
    async fn release(self) {
        match self {
            Self::Postgres(held) => held.close().await.unwrap(),
            Self::MariaDb(held) => held.close().await.unwrap(),
        }
    }
}

async fn quarantined(server: &Server) -> i64 {
    server.count("SELECT count(*) FROM system.ops.quarantine WHERE state = 'waiting'").await.unwrap()
}

/// One after the other, what happens to a source; `misfit` is a row of `doubtful` that the lake has no place for.
async fn changes_under_the_reader(server: ServerBuilder, kind: &str, database: Database, misfit: &str) {
    // One table after the other, in the order of their names.
    let config = "[pipeline]\nworkers = 1\ntables_per_run = 1\nattempts = 1\n";
    let server = server.config(config).start().await.unwrap();
    let gate = Gate::to(database.port()).await;
    let mut params = database.params(gate.port);
    params["drift"] = json!({ "look_every_seconds": 0 });
    params["lock_timeout_seconds"] = json!(1);
    declare(&server, "src", kind, &params);

    // A value that does not fit its type.
    let first = begin(&server, "src");
    let (state, error) = ended(&server, &first).await;
    assert_eq!(state, "completed_with_warnings", "{error}");
    assert!(log(&server, &first).await.contains("doubtful"), "{}", log(&server, &first).await);
    assert_eq!((totals(&server, "raw.src.doubtful").await["n"].as_i64(), quarantined(&server).await), (Some(1), 1));
    database.execute(misfit);
    ingest(&server, "src");
    assert_eq!((totals(&server, "raw.src.doubtful").await["n"].as_i64(), quarantined(&server).await), (Some(2), 0));

    // Altered while it is read: the reading ends with every row of before, the next one has what is new.
    database.execute("UPDATE patient SET v = v + 1");
    let before = database.truth("patient");
    gate.hold_after(500_000);
    let run = begin(&server, "src");
    gate.holding().await;
    std::thread::scope(|scope| {
        let altering =
            scope.spawn(|| database.execute("ALTER TABLE patient ADD COLUMN extra int; UPDATE patient SET extra = 7"));
        let end = Instant::now() + Duration::from_secs(60);
        while !database.waits() && !altering.is_finished() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!altering.is_finished(), "whoever alters a table waits for its reader");
        gate.open();
    });
    let (state, error) = ended(&server, &run).await;
    assert!(state.starts_with("completed"), "{error}");
    assert_eq!(totals(&server, "raw.src.patient").await, before);
    ingest(&server, "src");
    let sevens = "SELECT count(*) FROM processed.src.patient WHERE extra = 7";
    assert_eq!(server.count(sevens).await.unwrap(), before["n"].as_i64().unwrap());

    // Locked: told, and read when it is free.
    database.execute("UPDATE patient SET v = v + 1");
    let held = database.lock("patient").await;
    let run = begin(&server, "src");
    told(&server, &run, "lock").await;
    held.release().await;
    let (state, error) = ended(&server, &run).await;
    assert!(state.starts_with("completed"), "{error}");
    assert_eq!(totals(&server, "raw.src.patient").await, database.truth("patient"));

    // Dropped while its turn has not come: the others land, and the run says which one is gone.
    database.execute("UPDATE patient SET v = v + 1");
    gate.hold_after(500_000);
    let run = begin(&server, "src");
    gate.holding().await;
    let visits = totals(&server, "raw.src.visit").await;
    database.execute("DROP TABLE visit");
    gate.open();
    let (state, error) = ended(&server, &run).await;
    assert_eq!(state, "failed", "{}", log(&server, &run).await);
    assert!(error.contains("visit"), "{error}");
    assert_eq!(totals(&server, "raw.src.patient").await, database.truth("patient"));
    assert_eq!(totals(&server, "raw.src.visit").await, visits, "what was there stays");
    // Renamed: a new table, and the old one's rows stay.
    let before = database.truth("patient");
    database.execute("ALTER TABLE patient RENAME TO person");
    let run = begin(&server, "src");
    let (state, error) = ended(&server, &run).await;
    assert_eq!(state, "completed_with_warnings", "{error}");
    let words = log(&server, &run).await;
    for gone in ["visit` is no longer in source", "patient` is no longer in source"] {
        assert!(words.contains(gone), "{gone}:\n{words}");
    }
    for table in ["raw.src.person", "processed.src.person", "raw.src.patient"] {
        assert_eq!(totals(&server, table).await, before, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_may_change_under_the_reader() {
    let Some(database) = Postgres::create().unwrap() else { return };
    database
        .execute(
            "CREATE TABLE patient (id bigint PRIMARY KEY, v bigint, words text);
             INSERT INTO patient SELECT i, i, repeat(md5(i::text), 3) FROM generate_series(1, 20000) i;
             CREATE TABLE visit (id bigint PRIMARY KEY, v bigint, words text); INSERT INTO visit VALUES (1, 1, 'x');
             CREATE TABLE doubtful (id bigint PRIMARY KEY, v bigint, words text, born date);
             INSERT INTO doubtful VALUES (1, 1, 'fits', '2000-01-01'), (2, 2, 'does not', 'infinity')",
        )
        .unwrap();
    let misfit = "UPDATE doubtful SET born = '2001-01-01' WHERE id = 2";
    changes_under_the_reader(Server::builder(), "postgres", Database::Postgres(database), misfit).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_may_change_under_the_reader() {
    let Some(database) = MariaDb::create().unwrap() else { return };
    database
        .execute(
            "CREATE TABLE patient (id bigint PRIMARY KEY, v bigint, words varchar(100)) ENGINE=InnoDB;
             INSERT INTO patient SELECT seq, seq, repeat(md5(seq), 3) FROM seq_1_to_20000;
             CREATE TABLE visit (id bigint PRIMARY KEY, v bigint, words text); INSERT INTO visit VALUES (1, 1, 'x');
             CREATE TABLE doubtful (id bigint PRIMARY KEY, v bigint, words text, born date);
             SET sql_mode = ''; INSERT INTO doubtful VALUES (1, 1, 'fits', '2000-01-01'), (2, 2, 'does not', '0000-00-00');",
        )
        .unwrap();
    let server = Server::builder().env("MYSQL_PASSWORD_SRC", &database.password);
    let misfit = "UPDATE doubtful SET born = '2001-01-01' WHERE id = 2";
    changes_under_the_reader(server, "mysql", Database::MariaDb(database), misfit).await;
}

/// A password that is changed at the source: refused with what to do, and taken up from its file without a restart.
async fn rotated(variable: &str, kind: &str, params: Value, change: impl Fn(&str)) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    write(&file, "first-one-4801\n").unwrap();
    let server = Server::builder()
        .env(&format!("{variable}_FILE"), file.to_str().unwrap())
        .config("[pipeline]\nattempts = 1\n")
        .start()
        .await
        .unwrap();
    declare(&server, "src", kind, &params);
    ingest(&server, "src");
    change("second-one-4802");
    let run = begin(&server, "src");
    let (state, error) = ended(&server, &run).await;
    assert_eq!(state, "failed");
    assert!(error.contains("login") && error.contains(variable), "{error}");
    write(&file, "second-one-4802\n").unwrap();
    ingest(&server, "src");
    let told = format!("{error}{}{}", log(&server, &run).await, server.log());
    assert!(!told.contains("-one-480"), "a password is told");
    assert_eq!(server.count("SELECT count(*) FROM processed.src.t").await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_of_postgresql_may_change_between_runs() {
    let Some(database) = OwnPostgres::start(&[]) else { return };
    let set = |password: &str| drop(database.execute(&format!("ALTER ROLE reader PASSWORD '{password}'")));
    database.execute("CREATE ROLE reader LOGIN; CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); GRANT SELECT ON t TO reader");
    set("first-one-4801");
    let params = json!({ "host": "127.0.0.1", "port": database.port, "user": "reader", "database": "postgres" });
    rotated("POSTGRES_PASSWORD_SRC", "postgres", params, set).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_of_mariadb_may_change_between_runs() {
    let Some(database) = MariaDb::create().unwrap() else { return };
    let user = format!("u{}", &uuid::Uuid::new_v4().simple().to_string()[..16]);
    database.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);").unwrap();
    let text = format!(
        "CREATE USER {user}@'%' IDENTIFIED BY 'first-one-4801'; GRANT SELECT ON {}.* TO {user}@'%';",
        database.database
    );
    database.execute(&text).unwrap();
    let set = |password: &str| {
        drop(database.execute(&format!("ALTER USER {user}@'%' IDENTIFIED BY '{password}'")).unwrap());
    };
    let mut params = database.params(database.port);
    params["user"] = json!(user);
    rotated("MYSQL_PASSWORD_SRC", "mysql", params, set).await;
    database.execute(&format!("DROP USER {user}@'%'")).unwrap();
}
