//! Databases and servers of Firebird for tests (`MAVIS_TEST_FIREBIRD...`, see `tests/setup`). Databases are made with the
//! plain client, so that what the connector reads was written by another program.

use std::{
    io::Write,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use mavis_connectors::{Registry, Secrets, Source, SourceSpec, TableRef};
use mavis_types::SourceName;
use serde_json::{Value, json};

use crate::mysql::support::counterpart;

/// A database of its own.
pub(crate) struct Database {
    pub(crate) port: u16,
    /// On the server.
    pub(crate) path: String,
}

impl Database {
    /// Made with the default character set WIN1251, as the systems it is about have it.
    pub(crate) fn with(statements: &str) -> Option<Self> {
        let server = counterpart("MAVIS_TEST_FIREBIRD")?;
        let (_, address) = server.rsplit_once('@').unwrap();
        let (host_and_port, folder) = address.split_once('/').unwrap();
        let (_, port) = host_and_port.split_once(':').unwrap();
        Some(Self::on(port.parse().unwrap(), &format!("/{folder}"), statements))
    }

    pub(crate) fn on(port: u16, folder: &str, statements: &str) -> Self {
        let path = format!("{folder}/{}.fdb", uuid::Uuid::new_v4().simple());
        let database = Self { port, path };
        let create = format!("CREATE DATABASE '{}' PAGE_SIZE 8192 DEFAULT CHARACTER SET WIN1251;", database.address());
        isql(&[], &create);
        database.execute(statements);
        database
    }

    fn address(&self) -> String {
        format!("127.0.0.1/{}:{}", self.port, self.path)
    }

    pub(crate) fn execute(&self, statements: &str) {
        isql(&[&self.address()], statements);
    }

    /// A session of the plain client that stays open; its transaction ends with it.
    pub(crate) fn hold(&self, statements: &str) -> Child {
        let mut child = client(&[&self.address()]).spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(statements.as_bytes()).unwrap();
        child.stdin.as_mut().unwrap().flush().unwrap();
        child
    }

    pub(crate) fn source(&self, more: Value) -> Arc<dyn Source> {
        self.source_with(more, "masterkey")
    }

    pub(crate) fn source_with(&self, more: Value, password: &str) -> Arc<dyn Source> {
        let mut params = json!({ "host": "127.0.0.1", "port": self.port, "user": "SYSDBA", "database": self.path });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        connect(params, password).unwrap()
    }
}

pub(crate) fn connect(params: Value, password: &str) -> Result<Arc<dyn Source>, mavis_connectors::Error> {
    let spec =
        SourceSpec { name: SourceName::new("mis").unwrap(), kind: "firebird".into(), params, authoritative: false };
    Registry::built_in().connect(&spec, &Secrets::from_pairs([("FIREBIRD_PASSWORD_MIS", password)]))
}

fn client(arguments: &[&str]) -> Command {
    let mut command = Command::new(counterpart("MAVIS_TEST_FIREBIRD_ISQL").expect("the server is there"));
    command
        .args(["-q", "-bail", "-ch", "UTF8", "-user", "SYSDBA", "-password", "masterkey"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn isql(arguments: &[&str], statements: &str) {
    let mut child = client(arguments).spawn().unwrap();
    // Each statement of definition is committed by itself, the rest at the end.
    child.stdin.take().unwrap().write_all(format!("{statements}\nCOMMIT;\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

pub(crate) fn table(name: &str) -> TableRef {
    TableRef { schema: None, name: name.to_owned() }
}

/// A server of its own that a test may kill.
pub(crate) struct Server {
    start: String,
    folder: tempfile::TempDir,
    pub(crate) port: u16,
    child: Child,
}

impl Server {
    pub(crate) fn start() -> Option<Self> {
        let start = counterpart("MAVIS_TEST_FIREBIRD_SERVER")?;
        let folder = tempfile::Builder::new().prefix("firebird").tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = spawn(&start, folder.path(), port);
        let server = Self { start, folder, port, child };
        server.wait();
        Some(server)
    }

    pub(crate) fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn restart(&mut self) {
        self.child = spawn(&self.start, self.folder.path(), self.port);
        self.wait();
    }

    fn wait(&self) {
        let begin = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(60), "Firebird does not start");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn spawn(start: &str, folder: &std::path::Path, port: u16) -> Child {
    Command::new(start).arg(folder).arg(port.to_string()).spawn().unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}
