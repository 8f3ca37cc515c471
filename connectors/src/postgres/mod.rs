//! PostgreSQL: tables, views and materialised views of all or chosen schemas, read by binary COPY into Arrow.
//!
//! [`types`] decides how each column travels: what Arrow holds exactly comes in PostgreSQL's binary form, everything else
//! (ranges, network addresses, enums, intervals, geometry) as the text that PostgreSQL itself writes, arrays and composites
//! as JSON. Nothing is rounded: a NUMERIC without a declared precision stays text.
//!
//! Every reading is one REPEATABLE READ transaction, so that a table is seen in one state. A value that Arrow has no place
//! for (an infinite date, NaN in a NUMERIC) rejects its row; see [`Params::infinity`].

mod changed;
mod check;
mod copy;
mod describe;
mod discover;
mod incremental;
mod numeric;
mod pace;
mod parallel;
mod read;
mod replication;
mod session;
mod text;
mod types;
mod xmin;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use mavis_types::Cursor;
use schemars::JsonSchema;
use serde::Deserialize;

use self::replication::Replication;
pub use self::replication::ReplicationParams;
use crate::{
    Ambient, Discovery, Error, LogHealth, ReadRequest, ReadStream, Secret, Selection, Settled, Source, SourceKind,
    StageReport, TableRef,
    line::{Line, default_keep_alive},
    ssh::SshParams,
};

/// Parameters of a PostgreSQL source.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    pub host: String,
    #[serde(default = "default_port")]
    pub port: u16,
    pub user: String,
    pub database: String,
    /// Schemas to read; all but the system's where none is named. Tables of `public` (or of the only schema named) get the
    /// source's own schema in the lake, those of other schemas `<source>__<schema>`.
    #[serde(default)]
    pub schemas: Vec<String>,
    /// Names or `schema.name`; `*` and `?` allowed. Empty: all.
    #[serde(default)]
    pub tables_to_include: Vec<String>,
    #[serde(default)]
    pub tables_to_exclude: Vec<String>,
    /// Per table (`name` or `schema.name`), the column that grows with each insert and update: only rows beyond the last
    /// value read are read again. Deletions are not seen this way.
    #[serde(default)]
    pub cursor_columns: BTreeMap<String, String>,
    /// Tables (`name` or `schema.name`; `*` and `?` allowed) of which only rows written since the last reading are read, by
    /// PostgreSQL's own transaction numbers. Deletions are not seen this way: ingest in full from time to time.
    #[serde(default)]
    pub xmin: Vec<String>,
    /// Changes of the tables of a publication, deletions too, by a replication slot. Tables in `cursor_columns` are left out.
    #[serde(default)]
    pub replication: Option<ReplicationParams>,
    #[serde(default)]
    pub infinity: Infinity,
    /// Connections that read one big table at the same time, in one snapshot (PostgreSQL 14 and later). More than one helps
    /// where the network or the decoding is slower than the server's disk, and loads the server as much more.
    #[serde(default = "one")]
    pub parallel: u8,
    /// Seconds that one statement may take on the server; 0: as long as it takes.
    #[serde(default)]
    pub statement_timeout_seconds: u32,
    /// Seconds that a table locked by somebody else is waited for; 0: as long as it takes.
    #[serde(default = "default_lock_timeout")]
    pub lock_timeout_seconds: u32,
    /// Rows of a table that are read in a second, at most.
    #[serde(default)]
    pub max_rows_per_second: Option<u64>,
    /// Megabytes of a table that are read in a second, at most.
    #[serde(default)]
    pub max_megabytes_per_second: Option<u64>,
    /// `disable`, `prefer` (default), `require`, `verify-ca` or `verify-full`.
    #[serde(default)]
    pub sslmode: SslMode,
    /// Seconds until a connection attempt is given up.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout_seconds: u64,
    /// Seconds of silence (1 to 7,200) after which the server is asked for a sign of life; three that stay unanswered end the connection.
    #[serde(default = "default_keep_alive")]
    pub keep_alive_seconds: u64,
    /// The name under which the password is kept (`POSTGRES_PASSWORD_<THIS>`), so that many databases of one server share
    /// one. The source's own name where nothing is said.
    #[serde(default)]
    pub secret: Option<String>,
    /// The SSH server that `host` is reached through. `host` is a name as that server knows it.
    #[serde(default)]
    pub ssh: Option<SshParams>,
}

fn default_port() -> u16 {
    5432
}

fn one() -> u8 {
    1
}

fn default_lock_timeout() -> u32 {
    60
}

fn default_connect_timeout() -> u64 {
    10
}

/// What becomes of `infinity` and `-infinity` in dates and timestamps, which Arrow has no value for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Infinity {
    /// The row is rejected and can be seen in quarantine.
    #[default]
    Reject,
    /// The year 9999 or the year 1, as most systems write it.
    Limit,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    Disable,
    #[default]
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// The kind `postgres`.
#[derive(Debug)]
pub struct Postgres;

impl SourceKind for Postgres {
    const NAME: &'static str = "postgres";
    const SUMMARY: &'static str = "tables and views of a PostgreSQL database, by binary COPY";
    type Params = Params;

    fn connect(name: &str, params: Params, ambient: &Ambient) -> Result<Arc<dyn Source>, Error> {
        let secret = params.secret.as_deref().unwrap_or(name);
        if params.replication.iter().any(|replication| !is_slot(&replication.slot)) {
            return Err(Error::Params {
                source_name: name.to_owned(),
                reason: "`replication.slot` is a name of lower-case letters, digits and `_`, at most 63".to_owned(),
            });
        }
        Ok(Arc::new(PostgresSource {
            replication: params.replication.clone().map(|params| Arc::new(Replication::new(params))),
            inner: Arc::new(Inner {
                name: name.to_owned(),
                password: ambient.secrets.of(Self::NAME, secret),
                line: Line::new(name, params.ssh.as_ref(), params.keep_alive_seconds, ambient)?,
                params,
            }),
        }))
    }
}

/// What PostgreSQL takes as a slot's name.
fn is_slot(name: &str) -> bool {
    (1..=63).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[derive(Debug)]
struct PostgresSource {
    inner: Arc<Inner>,
    replication: Option<Arc<Replication>>,
}

/// What every connection of a source needs.
#[derive(Debug)]
struct Inner {
    name: String,
    params: Params,
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

    /// The schema whose tables carry no schema in their names.
    fn default_schema(&self) -> &str {
        match self.params.schemas.as_slice() {
            [only] => only,
            _ => "public",
        }
    }

    fn table_ref(&self, schema: &str, name: &str) -> TableRef {
        let schema = (schema != self.default_schema()).then(|| schema.to_owned());
        TableRef { schema, name: name.to_owned() }
    }

    fn schema_of<'a>(&'a self, table: &'a TableRef) -> &'a str {
        table.schema.as_deref().unwrap_or_else(|| self.default_schema())
    }

    /// Whether the declaration takes a table, by patterns with or without its schema.
    fn declares(&self, schema: &str, name: &str) -> bool {
        let named = self.params.schemas.is_empty() || self.params.schemas.iter().any(|declared| declared == schema);
        named && self.takes(&self.selection(), schema, name)
    }

    /// A pattern may name the default schema, although tables of it do not carry its name.
    fn takes(&self, selection: &Selection, schema: &str, name: &str) -> bool {
        let (short, full) =
            (self.table_ref(schema, name), TableRef { schema: Some(schema.to_owned()), name: name.to_owned() });
        let only =
            |include: &[String], exclude: &[String]| Selection { include: include.to_vec(), exclude: exclude.to_vec() };
        let (included, kept) = (only(&selection.include, &[]), only(&[], &selection.exclude));
        (included.takes(&short) || included.takes(&full)) && kept.takes(&short) && kept.takes(&full)
    }

    /// Whether a table is read by transaction numbers.
    fn by_xmin(&self, table: &TableRef) -> bool {
        let selection = Selection { include: self.params.xmin.clone(), exclude: Vec::new() };
        !self.params.xmin.is_empty() && self.takes(&selection, self.schema_of(table), &table.name)
    }

    /// The declared cursor column of a table, by `name`, or by `schema.name` in any case of a schema.
    fn cursor_column(&self, table: &TableRef) -> Option<&str> {
        let full = format!("{}.{}", self.schema_of(table), table.name);
        let columns = &self.params.cursor_columns;
        columns.get(&full).or_else(|| columns.get(&table.to_string())).map(String::as_str)
    }
}

impl PostgresSource {
    /// The replication that may tell of a table.
    fn replicated(&self, table: &TableRef) -> Option<&Arc<Replication>> {
        self.replication.as_ref().filter(|_| self.inner.cursor_column(table).is_none())
    }
}

#[async_trait]
impl Source for PostgresSource {
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
        if let Some(replication) = self.replicated(&request.table)
            && !request.sample
            && let Some(stream) = replication.read(&self.inner, &request).await?
        {
            return Ok(stream);
        }
        read::read(Arc::clone(&self.inner), request).await
    }

    async fn changed(&self, table: &TableRef, from: Option<&Cursor>) -> Result<Option<bool>, Error> {
        let Some(from) = from else { return Ok(None) };
        match self.replicated(table) {
            Some(replication) => replication.changed(&self.inner, table, from).await,
            None => changed::changed(&self.inner, table, from).await,
        }
    }

    async fn kept(&self, state: Option<&Cursor>) -> Result<bool, Error> {
        let Some(replication) = &self.replication else { return Ok(false) };
        replication.kept(&self.inner, state).await?;
        Ok(true)
    }

    async fn settle(&self, committed: &[(TableRef, Cursor)]) -> Result<Settled, Error> {
        match &self.replication {
            Some(replication) => replication.settle(&self.inner, committed).await,
            None => Ok(Settled::default()),
        }
    }

    async fn log_health(&self) -> Result<Option<LogHealth>, Error> {
        match &self.replication {
            Some(replication) => replication.health(&self.inner).await,
            None => Ok(None),
        }
    }
}
