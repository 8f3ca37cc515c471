use bytes::Bytes;
use futures::stream::BoxStream;
use mavis_catalog::{Catalog, MappingRow, QuarantineFilter, Quarantined, Run, Source};
use mavis_connectors::{Registry, Secrets, SourceSpec, StageReport};
use mavis_fhir::mapping::{MappingProblem, Suggestion};
use mavis_lake::{
    Lake,
    maintain::{Optimized, Vacuumed},
};
use mavis_types::{Principal, RunId, SourceName, TableName};

use crate::{DiscoveryReport, Error, ImportOptions, IngestRequest, RunEvent, SourceSummary};

/// How much the pipeline does at once.
#[derive(Debug, Clone)]
pub struct PipelineOptions {
    /// Runs at once.
    pub workers: usize,
    /// Tables of one run at once.
    pub tables_per_run: usize,
    /// Folder for uploaded files; local.
    pub spool: std::path::PathBuf,
    /// Tries of a failed run, the first one included.
    pub attempts: u32,
}

/// The pipeline as doors see it: cheap to clone. Runs go on in the background and survive the caller.
#[derive(Debug, Clone)]
pub struct Pipeline {}

impl Pipeline {
    /// Starts the workers and resumes what an earlier process left unfinished.
    ///
    /// # Errors
    /// When the catalog or the lake cannot be read.
    pub async fn start(
        catalog: Catalog,
        lake: Lake,
        registry: Registry,
        secrets: Secrets,
        options: PipelineOptions,
    ) -> Result<Self, Error> {
        let _ = (catalog, lake, registry, secrets, options);
        todo!()
    }

    /// Takes no new runs, lets each unit reach a commit or give up its stage, and waits for them.
    pub async fn stop(&self) {}

    pub async fn add_source(&self, by: &Principal, spec: SourceSpec) -> Result<Source, Error> {
        let _ = (by, spec);
        todo!()
    }

    pub async fn update_source(&self, by: &Principal, spec: SourceSpec) -> Result<Source, Error> {
        let _ = (by, spec);
        todo!()
    }

    pub async fn remove_source(&self, by: &Principal, name: &SourceName) -> Result<(), Error> {
        let _ = (by, name);
        todo!()
    }

    pub async fn sources(&self) -> Result<Vec<SourceSummary>, Error> {
        todo!()
    }

    /// Tries the connection stage by stage: of a registered source by name, or of a declaration before it is registered.
    pub async fn test_source(&self, spec: &SourceSpec) -> Result<Vec<StageReport>, Error> {
        let _ = spec;
        todo!()
    }

    /// Reads what tables there are, profiles a sample of each, stores the report, and makes the raw tables' entries.
    pub async fn discover(&self, by: &Principal, name: &SourceName) -> Result<DiscoveryReport, Error> {
        let _ = (by, name);
        todo!()
    }

    pub async fn discovery_report(&self, name: &SourceName) -> Result<Option<DiscoveryReport>, Error> {
        let _ = name;
        todo!()
    }

    /// Takes a report made elsewhere (ours, or the replaced system's `discovery_report.json`).
    pub async fn import_discovery_report(
        &self,
        by: &Principal,
        name: &SourceName,
        json: &str,
    ) -> Result<DiscoveryReport, Error> {
        let _ = (by, name, json);
        todo!()
    }

    /// Queues a run. `id`: chosen by the caller, so that a request sent twice starts one run.
    pub async fn start_run(&self, by: &Principal, id: RunId, request: IngestRequest) -> Result<Run, Error> {
        let _ = (by, id, request);
        todo!()
    }

    /// Everything that happened and happens in a run, from the beginning, until it ends.
    pub async fn watch(&self, run: RunId) -> Result<BoxStream<'static, RunEvent>, Error> {
        let _ = run;
        todo!()
    }

    pub async fn cancel(&self, by: &Principal, run: RunId) -> Result<Run, Error> {
        let _ = (by, run);
        todo!()
    }

    /// A child run that does the same again.
    pub async fn retry(&self, by: &Principal, run: RunId) -> Result<Run, Error> {
        let _ = (by, run);
        todo!()
    }

    pub async fn runs(&self, source: Option<&SourceName>, limit: u32) -> Result<Vec<Run>, Error> {
        let _ = (source, limit);
        todo!()
    }

    /// Takes one uploaded file of an import; the same bytes under the same name are taken once.
    pub async fn import_file(
        &self,
        by: &Principal,
        options: &ImportOptions,
        name: &str,
        content: BoxStream<'static, std::io::Result<Bytes>>,
    ) -> Result<u64, Error> {
        let _ = (by, options, name, content);
        todo!()
    }

    /// Names and sizes of the files of an import that are complete here already: what need not be sent again.
    pub async fn imported_files(&self, options: &ImportOptions) -> Result<Vec<(String, u64)>, Error> {
        let _ = options;
        todo!()
    }

    /// Queues the run that lands the uploaded files in the FHIR zone.
    pub async fn start_import(&self, by: &Principal, id: RunId, options: ImportOptions) -> Result<Run, Error> {
        let _ = (by, id, options);
        todo!()
    }

    pub async fn mappings(&self) -> Result<Vec<MappingRow>, Error> {
        todo!()
    }

    /// Checks a mapping against the definitions and, where they are there, against the tables.
    pub async fn check_mapping(&self, text: &str) -> Result<Vec<MappingProblem>, Error> {
        let _ = text;
        todo!()
    }

    /// Stores a mapping that checks out; the next ingest of its source runs it.
    pub async fn apply_mapping(&self, by: &Principal, name: &str, text: &str) -> Result<MappingRow, Error> {
        let _ = (by, name, text);
        todo!()
    }

    pub async fn suggest_mappings(&self, source: &SourceName) -> Result<Vec<Suggestion>, Error> {
        let _ = source;
        todo!()
    }

    /// Stores a code map: CSV with a header `source_code,target_code[,target_system,target_display]`, or a ConceptMap.
    pub async fn set_code_map(&self, by: &Principal, name: &str, text: &str) -> Result<u64, Error> {
        let _ = (by, name, text);
        todo!()
    }

    pub async fn quarantined(&self, filter: &QuarantineFilter) -> Result<Vec<Quarantined>, Error> {
        let _ = filter;
        todo!()
    }

    /// Sends quarantined rows again, corrected where a payload is given, through the step that refused them.
    pub async fn replay(&self, by: &Principal, ids: &[i64], corrected: Option<&str>) -> Result<Run, Error> {
        let _ = (by, ids, corrected);
        todo!()
    }

    pub async fn optimize(
        &self,
        by: &Principal,
        table: Option<&TableName>,
    ) -> Result<Vec<(TableName, Optimized)>, Error> {
        let _ = (by, table);
        todo!()
    }

    pub async fn vacuum(
        &self,
        by: &Principal,
        table: Option<&TableName>,
        retention: std::time::Duration,
    ) -> Result<Vec<(TableName, Vacuumed)>, Error> {
        let _ = (by, table, retention);
        todo!()
    }
}
