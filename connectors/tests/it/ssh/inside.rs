//! What stands behind the tunnel: logins and certificates of the database, drivers that only know TCP.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use mavis_connectors::{
    Registry, Secrets,
    ssh::{SshParams, Tunnels},
};
use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection, postgres::PgConnectOptions};
use tempfile::TempDir;

use super::{assert_failed, assert_passed, source, sshd::Sshd};
use crate::postgres::Database;

/// A PostgreSQL server that asks for passwords and speaks TLS.
struct Strict {
    bin: PathBuf,
    folder: TempDir,
    port: u16,
}

/// PostgreSQL refuses to run as root.
fn as_postgres(program: PathBuf) -> Command {
    let id = Command::new("id").arg("-u").output().unwrap().stdout;
    if id.trim_ascii() != b"0" {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Strict {
    fn start() -> Option<Self> {
        let bin = PathBuf::from(std::env::var_os("MAVIS_TEST_PG_BIN").filter(|bin| !bin.is_empty())?);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let data = path.join("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::write(path.join("password"), "tiger\n").unwrap();
        run(Command::new("openssl")
            .args(["req", "-new", "-x509", "-days", "2", "-nodes", "-subj", "/CN=db.inside", "-out"])
            .arg(path.join("server.crt"))
            .arg("-keyout")
            .arg(path.join("server.key")));
        run(Command::new("chmod").arg("0600").arg(path.join("server.key")));
        if as_postgres(bin.join("initdb")).get_program() == "runuser" {
            run(Command::new("chown").args(["-R", "postgres"]).arg(path));
        }
        run(as_postgres(bin.join("initdb"))
            .args(["-A", "scram-sha-256", "-U", "mavis", "-E", "UTF8", "--no-locale", "-N", "-D"])
            .arg(&data)
            .arg("--pwfile")
            .arg(path.join("password")));
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options = format!(
            "-p {port} -h 127.0.0.1 -k {0} -c fsync=off -c ssl=on -c ssl_cert_file={0}/server.crt \
             -c ssl_key_file={0}/server.key",
            path.display()
        );
        run(as_postgres(bin.join("pg_ctl"))
            .args(["-w", "-o", &options, "-l"])
            .arg(path.join("log"))
            .arg("-D")
            .arg(&data)
            .arg("start"));
        Some(Self { bin, folder, port })
    }

    fn database(&self) -> Database {
        let params = json!({ "host": "127.0.0.1", "port": self.port, "user": "mavis", "database": "postgres",
                             "schemas": ["information_schema"] });
        Database { url: String::new(), params }
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        let data = self.folder.path().join("data");
        run(as_postgres(self.bin.join("pg_ctl")).args(["-m", "immediate", "-D"]).arg(data).arg("stop"));
        if as_postgres(self.bin.clone()).get_program() == "runuser" {
            run(Command::new("chown").args(["-R", "root"]).arg(self.folder.path()));
        }
    }
}

#[tokio::test]
async fn the_databases_own_password_and_certificate_are_checked_through_the_tunnel() {
    let Some(gate) = Sshd::start("") else { return };
    let Some(strict) = Strict::start() else { return };
    let database = strict.database();
    let check = async |password: &str, more: Value| {
        let secrets = Secrets::from_pairs([("POSTGRES_PASSWORD_FAR", password), ("POSTGRES_PASSWORD_HIS", "tiger")]);
        source(&Registry::built_in(), &database, &gate.block(), more, &secrets).check().await
    };
    assert_passed(&check("tiger", json!({ "sslmode": "require" })).await);
    assert_passed(&check("tiger", json!({ "sslmode": "disable" })).await);
    assert_passed(&check("", json!({ "secret": "his" })).await);
    for wrong in ["lion", ""] {
        let reports = check(wrong, json!({})).await;
        assert_failed(&reports, "login", &["user `mavis` was not let in", "POSTGRES_PASSWORD_FAR"]);
        assert!(!format!("{reports:?}").contains("lion"), "{reports:?}");
    }
    // Nobody that this machine trusts has signed it, and it is another host's.
    assert_failed(&check("tiger", json!({ "sslmode": "verify-full" })).await, "database", &["TLS", "certificate"]);
}

#[tokio::test]
async fn a_driver_that_only_knows_tcp_gets_a_port_of_the_loopback() {
    let Some(gate) = Sshd::start("") else { return };
    let Some(database) = Database::with("CREATE TABLE t AS SELECT 7 AS i").await else { return };
    let params: SshParams = serde_json::from_value(gate.block()).unwrap();
    let tunnel = Tunnels::default().tunnel("far", &params, &Secrets::from_pairs([])).unwrap();
    let field = |name: &str| database.params[name].as_str().unwrap().to_owned();
    let port = u16::try_from(database.params["port"].as_u64().unwrap()).unwrap();
    let local = tunnel.port(&field("host"), port).await.unwrap();
    assert!(local.addr().ip().is_loopback());
    let options = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(local.addr().port())
        .username(&field("user"))
        .database(&field("database"));
    for _ in 0..3 {
        let mut connection = options.connect().await.unwrap();
        assert_eq!(sqlx::query_scalar::<_, i32>("SELECT i FROM t").fetch_one(&mut connection).await.unwrap(), 7);
        connection.close().await.unwrap();
    }
    drop(local);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert!(options.connect().await.is_err(), "the port goes with its holder");
    assert!(tunnel.port(&field("host"), 1).await.unwrap_err().to_string().contains("refused there"));
}

#[tokio::test]
async fn a_server_behind_ssh_tells_its_databases() {
    let Some(gate) = Sshd::start("") else { return };
    let Some(database) = Database::with("SELECT 1").await else { return };
    let far = source(&Registry::built_in(), &database, &gate.block(), json!({}), &Secrets::from_pairs([]));
    let databases = far.databases().await.unwrap();
    assert!(databases.contains(&database.params["database"].as_str().unwrap().to_owned()), "{databases:?}");
    assert!(!databases.iter().any(|name| name.starts_with("template") || name == "postgres"), "{databases:?}");
}
