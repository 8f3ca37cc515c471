//! The PostgreSQL door: `psql`, drivers and tools as they are, and what they ask when they connect.

mod catalogs;
mod clients;
mod psql;
mod sessions;
mod wire;

use std::{
    path::PathBuf,
    process::{Command, Output},
    sync::Arc,
};

use arrow::datatypes::{DataType, Field, TimeUnit};
use mavis_catalog::{NewColumn, NewTable};
use mavis_types::{TableName, Zone};
use sqlx::{
    ConnectOptions, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};

use crate::harness::TestServer;

/// Enters a table of these columns into the catalog; its key is `id`. In the FHIR zone it can be read: it has no rows yet.
async fn table(test: &TestServer, zone: Zone, schema: &str, name: &str) {
    let catalog = &test.server.app().catalog;
    let column = |name: &str, kind: &DataType, comment: Option<&str>| NewColumn {
        name: name.to_owned(),
        source_name: None,
        data_type: kind.to_string(),
        source_type: None,
        nullable: name != "id",
        comment: comment.map(str::to_owned),
    };
    let new = NewTable {
        name: TableName::new(zone, schema, name),
        source: None,
        source_schema: None,
        source_table: None,
        key: vec!["id".to_owned()],
        comment: Some(format!("about {name}")),
    };
    let columns = [
        column("id", &DataType::Utf8, Some("the key")),
        column("birthDate", &DataType::Date32, None),
        column("price", &DataType::Decimal128(10, 2), None),
        column("seen", &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), None),
        column("tags", &DataType::List(Arc::new(Field::new("element", DataType::Utf8, true))), None),
        column("n", &DataType::Int64, None),
    ];
    let table = catalog.ensure_table(new).await.unwrap();
    catalog.set_columns(table.id, &columns).await.unwrap();
}

/// A server with some tables.
async fn with_tables() -> TestServer {
    let test = TestServer::start().await;
    table(&test, Zone::Fhir, "r4", "patient").await;
    table(&test, Zone::Fhir, "r4", "observation").await;
    table(&test, Zone::Raw, "hms", "visits").await;
    table(&test, Zone::Raw, "lab", "results").await;
    test
}

async fn connect(test: &TestServer, database: &str) -> PgConnection {
    options(test, database, &test.admin_token()).connect().await.unwrap()
}

pub(crate) fn options(test: &TestServer, database: &str, token: &str) -> PgConnectOptions {
    let address = test.server.postgres_address().unwrap();
    let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(address.port()).username("anybody");
    options.password(token).database(database).ssl_mode(PgSslMode::Prefer)
}

/// `psql` of this machine, where there is one.
fn psql() -> Option<PathBuf> {
    let own = std::env::var("MAVIS_TEST_PG_BIN").ok().map(|folder| PathBuf::from(folder).join("psql"));
    let found = own.filter(|path| path.is_file());
    if found.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "MAVIS_TEST_PG_BIN is not set");
        eprintln!("skipped: psql is not there (MAVIS_TEST_PG_BIN); run `make test`");
    }
    found
}

fn psql_command(program: &PathBuf, test: &TestServer, database: &str, token: &str) -> Command {
    let port = test.server.postgres_address().unwrap().port().to_string();
    let mut command = Command::new(program);
    command
        .args(["-X", "-w", "-h", "127.0.0.1", "-p", &port, "-U", "anybody", "-d", database])
        .args(["-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose"])
        .env("PGPASSWORD", token)
        .env_remove("PGSSLMODE");
    command
}

/// Runs commands of psql one after the other in one connection.
async fn run_psql(test: &TestServer, database: &str, token: &str, commands: &[&str]) -> Option<Output> {
    let mut command = psql_command(&psql()?, test, database, token);
    command.arg("-At");
    for line in commands {
        command.args(["-c", line]);
    }
    Some(crate::harness::run(command).await)
}

/// What commands of psql print, which must not fail.
async fn printed(test: &TestServer, database: &str, commands: &[&str]) -> Option<String> {
    let output = run_psql(test, database, &test.admin_token(), commands).await?;
    let (out, error) = (crate::harness::stdout(&output), crate::harness::stderr(&output));
    assert!(output.status.success() && !error.contains("ERROR"), "{commands:?}: {out}{error}");
    Some(out)
}
