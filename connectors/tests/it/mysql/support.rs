//! Databases and servers of MariaDB for tests (`MAVIS_TEST_MARIADB`, `MAVIS_TEST_MARIADB_SERVER`, see `tests/setup`).

use std::{
    path::PathBuf,
    process::{Child, Command},
    sync::Arc,
    time::{Duration, Instant},
};

use mavis_connectors::{Registry, Secrets, Source, SourceSpec, TableRef};
use mavis_types::SourceName;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, MySqlConnection};

pub(crate) fn counterpart(variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{variable} is not set");
        eprintln!("skipped: {variable} is not set; run `make test`");
    }
    value
}

/// A database of its own.
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) name: String,
    pub(crate) port: u16,
}

impl Database {
    pub(crate) async fn with(statements: &str) -> Option<Self> {
        let admin = counterpart("MAVIS_TEST_MARIADB")?;
        Some(Self::on(&admin, statements).await)
    }

    pub(crate) async fn on(admin: &str, statements: &str) -> Self {
        let name = format!("connector_{}", uuid::Uuid::new_v4().simple());
        let mut connection = MySqlConnection::connect(admin).await.unwrap();
        connection.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name} CHARACTER SET utf8mb4"))).await.unwrap();
        let (base, _) = admin.rsplit_once('/').unwrap();
        let (_, port) = base.rsplit_once(':').unwrap();
        let database = Self { url: format!("{base}/{name}"), name, port: port.parse().unwrap() };
        database.execute(statements).await;
        database
    }

    pub(crate) async fn connection(&self) -> MySqlConnection {
        let mut connection = MySqlConnection::connect(&self.url).await.unwrap();
        connection.execute("SET sql_mode = ''").await.unwrap();
        connection
    }

    pub(crate) async fn execute(&self, statements: &str) {
        let mut connection = self.connection().await;
        // One by one, so that the one that is wrong says so.
        sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned())).execute(&mut connection).await.unwrap();
    }

    pub(crate) fn source(&self, more: Value) -> Arc<dyn Source> {
        self.source_with(more, "mavis")
    }

    pub(crate) fn source_with(&self, more: Value, password: &str) -> Arc<dyn Source> {
        let mut params = json!({ "host": "127.0.0.1", "port": self.port, "user": "mavis", "database": self.name });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let spec =
            SourceSpec { name: SourceName::new("his").unwrap(), kind: "mysql".into(), params, authoritative: false };
        Registry::built_in().connect(&spec, &Secrets::from_pairs([("MYSQL_PASSWORD_HIS", password)])).unwrap()
    }
}

pub(crate) fn table(name: &str) -> TableRef {
    TableRef { schema: None, name: name.to_owned() }
}

/// A server of its own that a test may kill.
pub(crate) struct Server {
    start: String,
    folder: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Server {
    pub(crate) async fn start() -> Option<Self> {
        let start = counterpart("MAVIS_TEST_MARIADB_SERVER")?;
        let folder = tempfile::Builder::new().prefix("mariadb").tempdir().unwrap();
        // The server may run as another user.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = spawn(&start, folder.path().into(), port);
        let server = Self { start, folder, port, child };
        server.wait().await;
        Some(server)
    }

    pub(crate) fn admin(&self) -> String {
        format!("mysql://mavis:mavis@127.0.0.1:{}/mysql", self.port)
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) async fn restart(&mut self) {
        self.child = spawn(&self.start, self.folder.path().into(), self.port);
        self.wait().await;
    }

    async fn wait(&self) {
        let begin = Instant::now();
        while MySqlConnection::connect(&self.admin()).await.is_err() {
            assert!(begin.elapsed() < Duration::from_secs(60), "MariaDB does not start");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn spawn(start: &str, folder: PathBuf, port: u16) -> Child {
    Command::new(start).arg(folder).arg(port.to_string()).spawn().unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}
