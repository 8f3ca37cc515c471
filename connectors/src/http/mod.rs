//! Exports over HTTP: JSON, NDJSON, XML or CSV by declared requests, page by page.
//!
//! A table is a request and what to do with its answer: where the records are, how the next page is asked for, and what
//! asks only for what is new. Without declared tables the address itself is one. An answer is taken whole before its first
//! record is yielded, so that what breaks off is asked for again; an answer that is no page of the table (HTML, an error
//! message with status 200, a list that is missing) ends the reading.
//!
//! A reading from the beginning is `whole` only if every page was read to an end that the server told. An answer of lines
//! (CSV, NDJSON) whose end is a closed connection, without a length, may be cut between two lines: its rows are taken, and
//! it is not whole.

mod format;
mod page;
mod paging;
mod read;
pub(crate) mod since;
mod table;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::runtime::Handle;
use url::Url;

use self::{
    page::{Page, Walker},
    paging::Place,
    table::Table,
};
pub use self::{
    paging::{Carrier, Paging},
    table::{AnswerFormat, Incremental, TableParams, Verb},
};
use crate::{
    Ambient, Discovery, Error, ReadRequest, ReadStream, Selection, Source, SourceKind, Stage, StageReport, TableRef,
    reading,
    source::BoxedSource,
    web::{Auth, Client, Credentials, Settings, fail, probe, reach},
};

/// How long the pages of a discovery are good for the reading that follows.
const KEPT: Duration = Duration::from_secs(120);

/// Parameters of the kind `http`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpParams {
    /// The address that tables' paths are below; the table itself where none are declared.
    pub api_url: String,
    /// Seconds without a byte after which an answer is given up.
    #[serde(default = "default_timeout")]
    pub timeout: u64,
    /// Seconds until a connection attempt is given up.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout: u64,
    /// Further tries after one that failed (no connection, 429, 500 to 504, an answer that broke off).
    #[serde(default = "default_retries")]
    pub max_retries: u32,
    #[serde(default)]
    pub auth: Auth,
    /// Headers of every request, never a secret.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub tables: BTreeMap<String, TableParams>,
    /// Names; `*` and `?` allowed. Empty: all.
    #[serde(default)]
    pub tables_to_include: Vec<String>,
    #[serde(default)]
    pub tables_to_exclude: Vec<String>,
    /// Origins beside that of `api_url` where pages may be, and credentials may go.
    #[serde(default)]
    pub trusted_origins: Vec<String>,
    /// A PEM file of the authorities that sign the server's certificate, instead of the system's.
    #[serde(default)]
    pub ca_file: Option<String>,
}

fn default_timeout() -> u64 {
    300
}

fn default_connect_timeout() -> u64 {
    30
}

fn default_retries() -> u32 {
    2
}

/// The kind `http`.
#[derive(Debug)]
pub struct Http;

impl SourceKind for Http {
    const NAME: &'static str = "http";
    const SUMMARY: &'static str = "JSON, NDJSON, XML and CSV exports over HTTP, page by page";
    type Params = HttpParams;

    fn connect(name: &str, params: HttpParams, ambient: &Ambient) -> Result<BoxedSource, Error> {
        let refuse = |reason: String| Error::Params { source_name: name.to_owned(), reason };
        let base = crate::web::base("api_url", &params.api_url).map_err(refuse)?;
        let credentials = Credentials::new(params.auth, Self::NAME, name, &ambient.secrets)?;
        let mut declared = params.tables;
        if declared.is_empty() {
            declared.insert(table_name(&base), TableParams::default());
        }
        let settings = Settings {
            source: name.to_owned(),
            base,
            timeout: Duration::from_secs(params.timeout.max(1)),
            connect_timeout: Duration::from_secs(params.connect_timeout.max(1)),
            max_retries: params.max_retries,
            ca_file: params.ca_file,
            trusted_origins: params.trusted_origins,
            headers: params.headers,
        };
        let client = Client::new(settings, credentials)?;
        let selection = Selection { include: params.tables_to_include, exclude: params.tables_to_exclude };
        let mut tables = BTreeMap::new();
        for (table, params) in declared {
            client.below(&params.path)?;
            let table = Table::new(&table, params).map_err(refuse)?;
            if selection.takes(&TableRef { schema: None, name: table.name.clone() }) {
                tables.insert(table.name.clone(), Arc::new(table));
            }
        }
        Ok(Arc::new(HttpSource { inner: Arc::new(Inner { client, tables, kept: Mutex::default() }) }))
    }
}

/// What the only table is called: the last part of the address.
fn table_name(base: &Url) -> String {
    let last = base.path_segments().and_then(|mut parts| parts.rfind(|part| !part.is_empty()));
    let stem = last.unwrap_or_default().split('.').next().unwrap_or_default();
    if stem.is_empty() { "export".to_owned() } else { stem.to_owned() }
}

/// The pages that a discovery fetched.
#[derive(Debug, Clone)]
struct Kept {
    at: Instant,
    pages: Vec<Arc<Page>>,
    walker: Walker,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    tables: BTreeMap<String, Arc<Table>>,
    kept: Mutex<HashMap<String, Kept>>,
}

impl Inner {
    fn keep(&self, table: &str, kept: Kept) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(table.to_owned(), kept);
    }

    /// Pages that are not too old; older ones are forgotten.
    fn kept(&self, table: &str) -> Option<Kept> {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, kept| kept.at.elapsed() < KEPT);
        all.get(table).cloned()
    }
}

#[derive(Debug)]
struct HttpSource {
    inner: Arc<Inner>,
}

#[async_trait]
impl Source for HttpSource {
    async fn check(&self) -> Vec<StageReport> {
        let client = &self.inner.client;
        let mut stages = match reach(client.base(), client.settings().connect_timeout, "api_url").await {
            Ok(stages) => stages,
            Err(reports) => return reports,
        };
        let Some(table) = self.inner.tables.values().next() else {
            stages.failed(Stage::Read, "no table is left by `tables_to_include` and `tables_to_exclude`".to_owned());
            return stages.end();
        };
        let request = match table.request(client, &Place::Start, None) {
            Ok(request) => request,
            Err(error) => return fail(stages, Stage::Route, &error),
        };
        let seen = match probe(client, &request).await {
            Ok(start) => read::looks_right(table, &start, &request.url),
            Err(error) => Err(error),
        };
        match seen {
            Ok(message) => {
                stages.passed(Stage::Login, "the server lets us in");
                stages.passed(Stage::Read, message);
                stages.end()
            }
            Err(error) => fail(stages, Stage::Route, &error),
        }
    }

    async fn discover(&self, selection: &Selection) -> Result<Discovery, Error> {
        let (inner, selection, runtime) = (Arc::clone(&self.inner), selection.clone(), Handle::current());
        reading::aside("discovery", move || {
            let mut discovery = Discovery::default();
            for table in inner.tables.values() {
                let reference = TableRef { schema: None, name: table.name.clone() };
                if !selection.takes(&reference) {
                    continue;
                }
                match read::describe(&inner, table, &runtime) {
                    Ok(described) => discovery.tables.push(described),
                    // A server that is down is down for every table.
                    Err(error @ Error::Unreachable { stage: Stage::Name | Stage::Route, .. }) => return Err(error),
                    Err(error) => discovery.failures.push((reference, error.to_string())),
                }
            }
            Ok(discovery)
        })
        .await
    }

    async fn read(&self, request: ReadRequest) -> Result<ReadStream, Error> {
        let table = request.table.schema.is_none().then(|| self.inner.tables.get(&request.table.name)).flatten();
        let Some(table) = table.cloned() else {
            return Err(Error::NoSuchTable { table: request.table.to_string() });
        };
        let (inner, runtime) = (Arc::clone(&self.inner), Handle::current());
        Ok(reading::spawn(move |output| read::run(&inner, &table, &runtime, &request, output)))
    }
}
