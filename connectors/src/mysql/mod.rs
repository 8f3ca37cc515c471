//! MySQL and MariaDB: tables and views of one database, read row by row from one consistent snapshot into Arrow.
//!
//! [`types`] decides how each column travels; everything comes in the text protocol, in which no value is rounded and zero
//! dates are what they are. Nothing is lost: a DECIMAL beyond 38 digits, a TIME and what later versions add stay text.
//!
//! A reading is one `START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY`, so that a table of a transactional engine
//! (InnoDB) is seen in one state and nobody is kept waiting; MyISAM and Aria have no snapshots and lock out writers while
//! they are read. Rows stream: neither side ever holds a whole table.

mod check;
mod discover;
mod read;
mod session;
mod types;
mod value;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Ambient, Discovery, Error, ReadRequest, ReadStream, Secret, Selection, Source, SourceKind, StageReport, TableRef,
    line::{Line, default_keep_alive},
    ssh::SshParams,
};

/// Parameters of a MySQL or MariaDB source.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MysqlParams {
    pub host: String,
    #[serde(default = "default_port")]
    pub port: u16,
    pub user: String,
    pub database: String,
    /// Names; `*` and `?` allowed. Empty: all.
    #[serde(default)]
    pub tables_to_include: Vec<String>,
    #[serde(default)]
    pub tables_to_exclude: Vec<String>,
    /// Per table, the column that grows with each insert and update: only rows beyond the last value read are read again.
    /// Deletions are not seen this way.
    #[serde(default)]
    pub cursor_columns: BTreeMap<String, String>,
    #[serde(default)]
    pub zero_dates: ZeroDates,
    /// `disabled`, `preferred` (default), `required`, `verify-ca` or `verify-identity`.
    #[serde(default)]
    pub ssl_mode: SslMode,
    /// A PEM file of the authorities that the server's certificate is checked against, beside the usual ones.
    #[serde(default)]
    pub ssl_ca: Option<std::path::PathBuf>,
    /// Seconds until a connection attempt is given up.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout_seconds: u64,
    /// Seconds of silence (1 to 7,200) after which the server is asked for a sign of life; three that stay unanswered end the connection.
    #[serde(default = "default_keep_alive")]
    pub keep_alive_seconds: u64,
    /// Seconds to wait for a table that somebody has locked.
    #[serde(default = "default_lock_timeout")]
    pub lock_timeout_seconds: u64,
    /// Seconds without a row after which a reading is given up.
    #[serde(default = "default_read_timeout")]
    pub read_timeout_seconds: u64,
    /// The name under which the password is kept (`MYSQL_PASSWORD_<THIS>`), so that many databases of one server share one.
    /// The source's own name where nothing is said.
    #[serde(default)]
    pub secret: Option<String>,
    /// The SSH server that `host` is reached through. `host` is a name as that server knows it.
    #[serde(default)]
    pub ssh: Option<SshParams>,
}

fn default_port() -> u16 {
    3306
}

fn default_connect_timeout() -> u64 {
    10
}

fn default_lock_timeout() -> u64 {
    60
}

fn default_read_timeout() -> u64 {
    900
}

/// What becomes of `0000-00-00` and of dates without a month or a day, which Arrow has no value for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ZeroDates {
    /// The row is rejected and can be seen in quarantine.
    #[default]
    Reject,
    /// `0000-00-00` is no value; `2020-00-00` still rejects its row, since it says something.
    Null,
    /// Dates and times travel as text, exactly as the server writes them.
    Text,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    Disabled,
    #[default]
    Preferred,
    Required,
    VerifyCa,
    VerifyIdentity,
}

/// The kind `mysql`.
#[derive(Debug)]
pub struct Mysql;

impl SourceKind for Mysql {
    const NAME: &'static str = "mysql";
    const SUMMARY: &'static str = "tables and views of a MySQL or MariaDB database";
    type Params = MysqlParams;

    fn connect(name: &str, params: MysqlParams, ambient: &Ambient) -> Result<Arc<dyn Source>, Error> {
        source(name, params, ambient)
    }
}

/// The kind `mariadb`: the same under its other name.
#[derive(Debug)]
pub struct Mariadb;

impl SourceKind for Mariadb {
    const NAME: &'static str = "mariadb";
    const SUMMARY: &'static str = "the same as mysql";
    type Params = MysqlParams;

    fn connect(name: &str, params: MysqlParams, ambient: &Ambient) -> Result<Arc<dyn Source>, Error> {
        source(name, params, ambient)
    }
}

/// The password is `MYSQL_PASSWORD_<NAME>` under either name.
fn source(name: &str, params: MysqlParams, ambient: &Ambient) -> Result<Arc<dyn Source>, Error> {
    let password = ambient.secrets.of(Mysql::NAME, params.secret.as_deref().unwrap_or(name));
    let line = Line::new(name, params.ssh.as_ref(), params.keep_alive_seconds, ambient)?;
    Ok(Arc::new(MysqlSource { inner: Arc::new(Inner { name: name.to_owned(), params, password, line }) }))
}

#[derive(Debug)]
struct MysqlSource {
    inner: Arc<Inner>,
}

/// What every connection of a source needs.
#[derive(Debug)]
struct Inner {
    name: String,
    params: MysqlParams,
    /// Asked for at each connection.
    password: Secret,
    line: Line,
}

impl Inner {
    fn endpoint(&self) -> String {
        format!("{}:{}/{}", self.params.host, self.params.port, self.params.database)
    }

    fn selection(&self) -> Selection {
        Selection { include: self.params.tables_to_include.clone(), exclude: self.params.tables_to_exclude.clone() }
    }

    /// The declared cursor column of a table, with or without the database before its name.
    fn cursor_column(&self, table: &TableRef) -> Option<&str> {
        let full = format!("{}.{}", self.params.database, table.name);
        let columns = &self.params.cursor_columns;
        columns.get(&table.name).or_else(|| columns.get(&full)).map(String::as_str)
    }
}

#[async_trait]
impl Source for MysqlSource {
    async fn check(&self) -> Vec<StageReport> {
        check::check(&self.inner).await
    }

    async fn discover(&self, selection: &Selection) -> Result<Discovery, Error> {
        discover::discover(&self.inner, selection).await
    }

    async fn databases(&self) -> Result<Vec<String>, Error> {
        discover::databases(&self.inner).await
    }

    async fn read(&self, request: ReadRequest) -> Result<ReadStream, Error> {
        read::read(Arc::clone(&self.inner), request).await
    }
}
