//! PostgreSQL: tables, views and materialised views of all or chosen schemas, read by binary COPY into Arrow.
//!
//! [`types`] decides how each column travels: what Arrow holds exactly comes in PostgreSQL's binary form, everything else
//! (ranges, network addresses, enums, intervals, geometry) as the text that PostgreSQL itself writes, arrays and composites
//! as JSON. Nothing is rounded: a NUMERIC without a declared precision stays text.
//!
//! Every reading is one REPEATABLE READ transaction, so that a table is seen in one state. A value that Arrow has no place
//! for (an infinite date, NaN in a NUMERIC) rejects its row; see [`Params::infinity`].

mod check;
mod copy;
mod describe;
mod discover;
mod incremental;
mod numeric;
mod read;
mod session;
mod types;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Ambient, Discovery, Error, ReadRequest, ReadStream, Secret, Selection, Source, SourceKind, StageReport, TableRef,
    ssh::{SshParams, Tunnel},
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
    #[serde(default)]
    pub infinity: Infinity,
    /// `disable`, `prefer` (default), `require`, `verify-ca` or `verify-full`.
    #[serde(default)]
    pub sslmode: SslMode,
    /// Seconds until a connection attempt is given up.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout_seconds: u64,
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
        Ok(Arc::new(PostgresSource {
            inner: Arc::new(Inner {
                name: name.to_owned(),
                password: ambient.secrets.of(Self::NAME, secret),
                tunnel: ambient.tunnel(name, params.ssh.as_ref())?,
                params,
            }),
        }))
    }
}

#[derive(Debug)]
struct PostgresSource {
    inner: Arc<Inner>,
}

/// What every connection of a source needs.
#[derive(Debug)]
struct Inner {
    name: String,
    params: Params,
    /// Asked for at each connection.
    password: Secret,
    /// The way to the server, where it is not reached from here.
    tunnel: Option<Tunnel>,
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

    /// The declared cursor column of a table, by `name`, or by `schema.name` in any case of a schema.
    fn cursor_column(&self, table: &TableRef) -> Option<&str> {
        let full = format!("{}.{}", self.schema_of(table), table.name);
        let columns = &self.params.cursor_columns;
        columns.get(&full).or_else(|| columns.get(&table.to_string())).map(String::as_str)
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
        read::read(Arc::clone(&self.inner), request).await
    }
}
