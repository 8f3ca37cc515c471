use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// The value of an environment variable that `tests/setup` sets, or `None` (said on standard error) where it is not set.
///
/// # Panics
/// Where `CI=true` and it is not set: a skipped test must not look like a passed one.
fn counterpart(variable: &str, what: &str) -> Option<String> {
    match std::env::var(variable) {
        Ok(value) if !value.is_empty() => Some(value),
        _ => {
            skip(&format!("{what} is not there ({variable} is not set); run `make test`"));
            None
        }
    }
}

fn skip(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
    eprintln!("skipped: {why}");
}

/// A folder of the shared test data, which lies beside the project's folder on the machines that have it.
#[must_use]
pub fn shared(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(folder);
    if path.is_dir() {
        return Some(path);
    }
    skip(&format!("the shared test data `{folder}` is not there"));
    None
}

/// The address of the S3 server.
#[must_use]
pub fn s3_endpoint() -> Option<String> {
    counterpart("MAVIS_TEST_S3", "the S3 server")
}

/// The Python that has the Flight SQL driver and the FHIR models.
#[must_use]
pub fn python() -> Option<PathBuf> {
    counterpart("MAVIS_TEST_PYTHON", "the Python with the Flight SQL driver and the FHIR models").map(PathBuf::from)
}

/// The Python that has Apache Superset and a SQLAlchemy dialect for Flight SQL.
#[must_use]
pub fn superset() -> Option<PathBuf> {
    counterpart("MAVIS_TEST_SUPERSET", "the Python with Apache Superset").map(PathBuf::from)
}

/// The folder whose `node_modules` has the FHIR client; `node` is on the path then.
#[must_use]
pub fn node_packages() -> Option<PathBuf> {
    counterpart("MAVIS_TEST_NODE", "the FHIR client of Node").map(PathBuf::from)
}

/// A database of its own on the PostgreSQL server, dropped with this value.
#[derive(Debug)]
pub struct Postgres {
    admin: String,
    /// `postgres://user@host:port/database`.
    pub url: String,
    pub host: String,
    pub port: u16,
    pub user: String,
    pub database: String,
}

impl Postgres {
    /// # Errors
    /// When the server is there but does not answer.
    pub fn create() -> Result<Option<Self>> {
        let Some(admin) = counterpart("MAVIS_TEST_POSTGRES", "PostgreSQL") else { return Ok(None) };
        let database = format!("e2e_{}", uuid::Uuid::new_v4().simple());
        run_psql(&admin, &format!("CREATE DATABASE {database}"))?;
        let (base, _) = admin.rsplit_once('/').context("no database in the URL")?;
        let authority = base.strip_prefix("postgres://").context("not a postgres URL")?;
        let (user, address) = authority.rsplit_once('@').context("no user in the URL")?;
        let (host, port) = address.rsplit_once(':').context("no port in the URL")?;
        Ok(Some(Self {
            url: format!("{base}/{database}"),
            host: host.to_owned(),
            port: port.parse()?,
            user: user.to_owned(),
            database,
            admin,
        }))
    }

    /// Runs statements with `psql`.
    ///
    /// # Errors
    /// With what psql said.
    pub fn execute(&self, sql: &str) -> Result<String> {
        run_psql(&self.url, sql)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Err(error) = run_psql(&self.admin, &format!("DROP DATABASE {} WITH (FORCE)", self.database)) {
            eprintln!("database {} stays behind: {error}", self.database);
        }
    }
}

fn run_psql(url: &str, sql: &str) -> Result<String> {
    let output =
        Command::new("psql").args([url, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]).output()?;
    ensure!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

/// A database of its own on the MariaDB server, dropped with this value.
#[derive(Debug)]
pub struct MariaDb {
    client: String,
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: String,
    pub database: String,
}

impl MariaDb {
    /// # Errors
    /// When the server is there but does not answer.
    pub fn create() -> Result<Option<Self>> {
        let Some(url) = counterpart("MAVIS_TEST_MARIADB", "MariaDB") else { return Ok(None) };
        let Some(client) = counterpart("MAVIS_TEST_MARIADB_CLIENT", "MariaDB's client") else { return Ok(None) };
        let rest = url.strip_prefix("mysql://").context("not a mysql URL")?;
        let (login, address) = rest.split_once('@').context("no user in the URL")?;
        let (user, password) = login.split_once(':').context("no password in the URL")?;
        let (host, port) =
            address.split_once('/').context("no database in the URL")?.0.split_once(':').context("no port")?;
        let name = format!("e2e_{}", uuid::Uuid::new_v4().simple());
        let mut made = Self {
            client,
            host: host.to_owned(),
            port: port.parse()?,
            user: user.to_owned(),
            password: password.to_owned(),
            database: "mysql".to_owned(),
        };
        made.execute(&format!("CREATE DATABASE {name} CHARACTER SET utf8mb4"))?;
        made.database = name;
        Ok(Some(made))
    }

    /// Runs statements with the plain client; what they answer, without names.
    ///
    /// # Errors
    /// With what the client said.
    pub fn execute(&self, sql: &str) -> Result<String> {
        let port = self.port.to_string();
        let output = Command::new(&self.client)
            .args(["--no-defaults", "-h", &self.host, "-P", &port, "-u", &self.user, "-N", "-B", "-e", sql])
            .arg(&self.database)
            .env("MYSQL_PWD", &self.password)
            .output()?;
        ensure!(output.status.success(), "mariadb: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }

    /// Parameters of a source that reaches it at a port.
    #[must_use]
    pub fn params(&self, port: u16) -> serde_json::Value {
        serde_json::json!({ "host": self.host, "port": port, "user": self.user, "database": self.database })
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        if let Err(error) = self.execute(&format!("DROP DATABASE {}", self.database)) {
            eprintln!("database {} stays behind: {error}", self.database);
        }
    }
}

/// A database of its own on the Firebird server.
#[derive(Debug)]
pub struct Firebird {
    client: String,
    pub port: u16,
    /// On the server.
    pub path: String,
}

impl Firebird {
    pub const USER: &'static str = "SYSDBA";
    pub const PASSWORD: &'static str = "masterkey";

    /// # Errors
    /// When the server is there but does not answer.
    pub fn create() -> Result<Option<Self>> {
        let Some(server) = counterpart("MAVIS_TEST_FIREBIRD", "Firebird") else { return Ok(None) };
        let Some(client) = counterpart("MAVIS_TEST_FIREBIRD_ISQL", "Firebird's client") else { return Ok(None) };
        let (_, address) = server.rsplit_once('@').context("no address")?;
        let (address, folder) = address.split_once('/').context("no folder")?;
        let port = address.split_once(':').context("no port")?.1.parse()?;
        let path = format!("/{folder}/{}.fdb", uuid::Uuid::new_v4().simple());
        let database = Self { client, port, path };
        let place = database.place();
        database.isql(&[], &format!("CREATE DATABASE '{place}' PAGE_SIZE 8192 DEFAULT CHARACTER SET UTF8;"))?;
        Ok(Some(database))
    }

    fn place(&self) -> String {
        format!("127.0.0.1/{}:{}", self.port, self.path)
    }

    /// Runs statements with the plain client and commits them.
    ///
    /// # Errors
    /// With what the client said.
    pub fn execute(&self, sql: &str) -> Result<()> {
        self.isql(&[&self.place()], sql).map(drop)
    }

    /// The only value of a query's only row.
    ///
    /// # Errors
    /// With what the client said.
    pub fn value(&self, sql: &str) -> Result<String> {
        let told = self.isql(&[&self.place()], &format!("SET HEADING OFF;\n{sql};"))?;
        Ok(told.trim().to_owned())
    }

    fn isql(&self, arguments: &[&str], sql: &str) -> Result<String> {
        let mut child = Command::new(&self.client)
            .args(["-q", "-bail", "-ch", "UTF8", "-user", Self::USER, "-password", Self::PASSWORD])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut input = child.stdin.take().context("no input")?;
        input.write_all(format!("{sql}\nCOMMIT;\n").as_bytes())?;
        drop(input);
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && said.is_empty(), "isql: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }
}
