//! A FHIR server as a source, by search or by Bulk Data export.
//!
//! Each resource type is a table (`TableKind::Resources`) whose column `resource` holds the JSON exactly as received; the key
//! is the resource's `id`. Tables are read on by `meta.lastUpdated`: the next reading asks from the last one (less an overlap,
//! since servers' clocks differ and writes become visible late) and leaves out what it has.
//!
//! A search does not tell of deletions. A full reading finds them, and so does the type's history where `deletions` asks for
//! it; an export tells of them itself.

mod bulk;
mod bundle;
mod deletions;
mod describe;
mod place;
mod rows;
mod search;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::runtime::Handle;

use crate::{
    Ambient, Discovery, Error, ReadRequest, ReadStream, Selection, Source, SourceKind, Stage, StageReport,
    fhir_files::record::is_type_name,
    reading,
    source::BoxedSource,
    web::{Auth, Client, Credentials, Net, Request, Settings, fail, probe, reach},
};

/// Parameters of the kind `fhir_server`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FhirServerParams {
    /// The base that types are below (`https://fhir.example.org/r4`).
    pub base_url: String,
    #[serde(default)]
    pub mode: Mode,
    /// Resource types; those that the server declares and has resources of, where none are named.
    #[serde(default)]
    pub types: Vec<String>,
    /// Resources of a page that are asked for (`_count`).
    #[serde(default = "default_page_size")]
    pub page_size: u32,
    /// Further search parameters per type, such as `{"Observation": {"category": "vital-signs"}}`.
    #[serde(default)]
    pub search: BTreeMap<String, BTreeMap<String, String>>,
    /// Whether the server sorts by `_lastUpdated`, so that a long reading may be committed between pages.
    #[serde(default = "yes")]
    pub sorted: bool,
    /// Seconds before the last `lastUpdated` that are asked for again.
    #[serde(default = "default_overlap")]
    pub overlap_seconds: u32,
    #[serde(default)]
    pub deletions: Deletions,
    #[serde(default)]
    pub bulk: Bulk,
    #[serde(default)]
    pub auth: Auth,
    /// Headers of every request, never a secret.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Seconds without a byte after which an answer is given up.
    #[serde(default = "default_timeout")]
    pub timeout: u64,
    /// Seconds until a connection attempt is given up.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout: u64,
    /// Further tries after one that failed.
    #[serde(default = "default_retries")]
    pub max_retries: u32,
    /// Origins beside that of `base_url` where pages and files may be, and credentials may go.
    #[serde(default)]
    pub trusted_origins: Vec<String>,
    /// A PEM file of the authorities that sign the server's certificate, instead of the system's.
    #[serde(default)]
    pub ca_file: Option<String>,
}

/// How resources are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    #[default]
    Search,
    /// Bulk Data export (`$export`).
    Bulk,
}

/// How deletions are found between full readings, where resources are searched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Deletions {
    #[default]
    None,
    /// By `[type]/_history?_since=`.
    History,
}

/// What is exported.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bulk {
    #[serde(default)]
    pub level: Level,
    /// The group's id, where `level` is `group`.
    #[serde(default)]
    pub group: Option<String>,
    /// Minutes until an export that does not end is given up.
    #[serde(default = "default_patience")]
    pub patience_minutes: u64,
}

impl Default for Bulk {
    fn default() -> Self {
        Self { level: Level::default(), group: None, patience_minutes: default_patience() }
    }
}

/// Whose resources are exported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    #[default]
    System,
    /// All patients' resources (`Patient/$export`).
    Patient,
    /// Those of a group's patients (`Group/[id]/$export`).
    Group,
}

fn default_page_size() -> u32 {
    200
}

fn yes() -> bool {
    true
}

fn default_overlap() -> u32 {
    60
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

fn default_patience() -> u64 {
    24 * 60
}

/// The kind `fhir_server`.
#[derive(Debug)]
pub struct FhirServer;

impl SourceKind for FhirServer {
    const NAME: &'static str = "fhir_server";
    const SUMMARY: &'static str = "the resources of a FHIR server, by search or by Bulk Data export";
    type Params = FhirServerParams;

    fn connect(name: &str, params: FhirServerParams, ambient: &Ambient) -> Result<BoxedSource, Error> {
        let refuse = |reason: String| Error::Params { source_name: name.to_owned(), reason };
        let base = crate::web::base("base_url", &params.base_url).map_err(refuse)?;
        if base.query().is_some() {
            return Err(refuse("`base_url` has parameters: declare them in `search`".to_owned()));
        }
        if let Some(wrong) = params.types.iter().chain(params.search.keys()).find(|kind| !is_type_name(kind)) {
            return Err(refuse(format!("`{wrong}` is not the name of a resource type")));
        }
        match (params.bulk.level, &params.bulk.group) {
            (Level::Group, Some(group)) if is_id(group) => {}
            (Level::Group, _) => return Err(refuse("`bulk.group` is not the id of a group".to_owned())),
            (_, Some(_)) => return Err(refuse("`bulk.group` goes with the `bulk.level` group".to_owned())),
            _ => {}
        }
        let credentials = Credentials::new(params.auth.clone(), Self::NAME, name, &ambient.secrets)?;
        let settings = Settings {
            source: name.to_owned(),
            base,
            timeout: Duration::from_secs(params.timeout.max(1)),
            connect_timeout: Duration::from_secs(params.connect_timeout.max(1)),
            max_retries: params.max_retries,
            ca_file: params.ca_file.clone(),
            trusted_origins: params.trusted_origins.clone(),
            headers: params.headers.clone(),
        };
        let client = Arc::new(Client::new(settings, credentials)?);
        Ok(Arc::new(FhirServerSource { inner: Arc::new(Inner { client, params }) }))
    }
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

/// What all readings of one source share.
#[derive(Debug)]
struct Inner {
    client: Arc<Client>,
    params: FhirServerParams,
}

impl Inner {
    /// A request for FHIR's JSON.
    fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Request, Error> {
        let mut url = self.client.below(path)?;
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        let mut request = Request::get(url);
        request.header("accept", "application/fhir+json");
        Ok(request)
    }
}

#[derive(Debug)]
struct FhirServerSource {
    inner: Arc<Inner>,
}

#[async_trait]
impl Source for FhirServerSource {
    async fn check(&self) -> Vec<StageReport> {
        let client = &self.inner.client;
        let mut stages = match reach(client.base(), client.settings().connect_timeout, "base_url").await {
            Ok(stages) => stages,
            Err(reports) => return reports,
        };
        match describe::capabilities(&self.inner).await {
            Ok(capabilities) => stages.passed(Stage::Database, capabilities.told()),
            Err(error) => return fail(stages, Stage::Route, &error),
        }
        let kind = self.inner.params.types.first().map_or("Patient", String::as_str);
        let seen = match self.inner.get(kind, &[("_count", "1")]) {
            Ok(request) => probe(client, &request).await,
            Err(error) => Err(error),
        };
        match seen {
            Ok(_) => {
                stages.passed(Stage::Login, "the server lets us in");
                stages.passed(Stage::Read, format!("`{kind}` can be searched"));
                stages.end()
            }
            Err(error) => fail(stages, Stage::Database, &error),
        }
    }

    async fn discover(&self, selection: &Selection) -> Result<Discovery, Error> {
        describe::discover(&self.inner, selection).await
    }

    async fn read(&self, request: ReadRequest) -> Result<ReadStream, Error> {
        let kind = &request.table.name;
        let is_declared = self.inner.params.types.is_empty() || self.inner.params.types.contains(kind);
        if request.table.schema.is_some() || !is_type_name(kind) || !is_declared {
            return Err(Error::NoSuchTable { table: request.table.to_string() });
        }
        let (inner, runtime) = (Arc::clone(&self.inner), Handle::current());
        Ok(reading::spawn(move |output| {
            let net = Net { client: &inner.client, runtime: &runtime, output: Some(output) };
            // Rows to look at need no export, which may take hours.
            match inner.params.mode {
                Mode::Bulk if !request.sample => bulk::run(&inner, &net, &request, output),
                _ => search::run(&inner, &net, &request, output),
            }
        }))
    }
}
