//! `mavis.v1.IngestService`: sources and runs; uploads are in [`super::import`].

use futures::{StreamExt, stream::BoxStream};
use mavis_connectors::SourceSpec;
use mavis_pipeline::IngestRequest;
use mavis_proto::v1::{self as pb, ingest_service_server::IngestService, test_source_request::What};
use mavis_sql::knows_counts;
use mavis_types::{Principal, SourceName};
use tonic::{Request, Response, Status, Streaming};

use super::{
    caller::{engineer, principal},
    convert::{self, Names, chosen_run_id, required, run_id, source_name},
    hidden, import, status, visible,
};
use crate::App;

/// Runs of a list where the caller names no limit, and at most.
const RUNS: (u32, u32) = (50, 1000);

#[derive(Debug, Clone)]
pub(super) struct Ingest {
    pub(super) app: App,
}

impl Ingest {
    async fn run(&self, by: &Principal, run: mavis_catalog::Run) -> Result<pb::Run, Status> {
        Names::new(&self.app.catalog, by).run(run).await
    }

    /// A registered source as it was declared.
    async fn registered(&self, name: &SourceName) -> Result<SourceSpec, Status> {
        let source = self.app.catalog.source(name).await.map_err(status)?;
        Ok(SourceSpec {
            name: source.name,
            kind: source.kind,
            params: source.params,
            authoritative: source.authoritative,
        })
    }
}

#[tonic::async_trait]
impl IngestService for Ingest {
    async fn register_source(
        &self,
        request: Request<pb::RegisterSourceRequest>,
    ) -> Result<Response<pb::RegisterSourceResponse>, Status> {
        let by = engineer(&self.app, &request, "source.add").await?;
        let spec = convert::spec(required(request.into_inner().spec, "spec")?)?;
        hidden::nothing_of_new(&self.app, &by, &spec.name, "source.add").await?;
        let source = self.app.pipeline.add_source(&by, spec).await.map_err(status)?;
        Ok(Response::new(pb::RegisterSourceResponse { source: Some(convert::source(source)) }))
    }

    async fn update_source(
        &self,
        request: Request<pb::UpdateSourceRequest>,
    ) -> Result<Response<pb::UpdateSourceResponse>, Status> {
        let by = engineer(&self.app, &request, "source.update").await?;
        let spec = convert::spec(required(request.into_inner().spec, "spec")?)?;
        hidden::nothing(&self.app, &by, &spec.name, "source.update").await?;
        hidden::nothing_of_source(&self.app, &by, &spec.name, "source.update").await?;
        let source = self.app.pipeline.update_source(&by, spec).await.map_err(status)?;
        Ok(Response::new(pb::UpdateSourceResponse { source: Some(convert::source(source)) }))
    }

    async fn remove_source(
        &self,
        request: Request<pb::RemoveSourceRequest>,
    ) -> Result<Response<pb::RemoveSourceResponse>, Status> {
        let by = engineer(&self.app, &request, "source.remove").await?;
        let name = source_name(&request.into_inner().name)?;
        visible::source(&self.app, &by, &name).await?;
        self.app.pipeline.remove_source(&by, &name).await.map_err(status)?;
        Ok(Response::new(pb::RemoveSourceResponse {}))
    }

    async fn forget_host_key(
        &self,
        request: Request<pb::ForgetHostKeyRequest>,
    ) -> Result<Response<pb::ForgetHostKeyResponse>, Status> {
        let by = engineer(&self.app, &request, "host_key.forget").await?;
        let pb::ForgetHostKeyRequest { host, port } = request.into_inner();
        let port = u16::try_from(port).ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| Status::invalid_argument("`port` is not a port (1 to 65535)"))?;
        self.app.pipeline.forget_host_key(&by, &host, port).await.map_err(status)?;
        Ok(Response::new(pb::ForgetHostKeyResponse {}))
    }

    async fn list_sources(
        &self,
        request: Request<pb::ListSourcesRequest>,
    ) -> Result<Response<pb::ListSourcesResponse>, Status> {
        let by = principal(&request)?;
        Ok(Response::new(pb::ListSourcesResponse { sources: visible::sources(&self.app, &by).await? }))
    }

    async fn test_source(
        &self,
        request: Request<pb::TestSourceRequest>,
    ) -> Result<Response<pb::TestSourceResponse>, Status> {
        let by = engineer(&self.app, &request, "source.test").await?;
        let spec = match required(request.into_inner().what, "what")? {
            What::Name(name) => {
                let name = source_name(&name)?;
                hidden::nothing_of_source(&self.app, &by, &name, "source.test").await?;
                self.registered(&name).await?
            }
            What::Spec(spec) => {
                let spec = convert::spec(spec)?;
                hidden::nothing(&self.app, &by, &spec.name, "source.test").await?;
                // Without a kind it means the registered one.
                if spec.kind.is_empty() {
                    hidden::nothing_of_source(&self.app, &by, &spec.name, "source.test").await?;
                }
                spec
            }
        };
        let stages = self.app.pipeline.test_source(&spec).await.map_err(status)?;
        let stages = stages.into_iter().map(convert::stage).collect();
        Ok(Response::new(pb::TestSourceResponse { stages }))
    }

    async fn discover(&self, request: Request<pb::DiscoverRequest>) -> Result<Response<pb::DiscoverResponse>, Status> {
        let by = engineer(&self.app, &request, "source.discover").await?;
        let name = source_name(&request.into_inner().name)?;
        hidden::nothing_of_source(&self.app, &by, &name, "source.discover").await?;
        let report = self.app.pipeline.discover(&by, &name).await.map_err(status)?;
        // Schemas that were not there before may be of those that the caller does not read.
        hidden::nothing_of_source(&self.app, &by, &name, "source.discover").await?;
        Ok(Response::new(pb::DiscoverResponse { report: Some(convert::report(&report)) }))
    }

    async fn discover_many(
        &self,
        request: Request<pb::DiscoverManyRequest>,
    ) -> Result<Response<pb::DiscoverManyResponse>, Status> {
        let by = engineer(&self.app, &request, "source.discover").await?;
        let request = request.into_inner();
        let id = chosen_run_id(&request.run_id)?;
        let names = request.sources.iter().map(|name| source_name(name)).collect::<Result<Vec<_>, _>>()?;
        let names = hidden::whole_sources(&self.app, &by, names, "source.discover").await?;
        self.app.pipeline.discover_many(&by, id, &names).await.map_err(status)?;
        // A run of that id that was there before may be anybody's.
        let run = visible::run(&self.app, &by, id).await?;
        Ok(Response::new(pb::DiscoverManyResponse { run: Some(self.run(&by, run).await?) }))
    }

    async fn accept_drift(
        &self,
        request: Request<pb::AcceptDriftRequest>,
    ) -> Result<Response<pb::AcceptDriftResponse>, Status> {
        let by = engineer(&self.app, &request, "source.accept").await?;
        let name = source_name(&request.into_inner().name)?;
        hidden::nothing_of_source(&self.app, &by, &name, "source.accept").await?;
        let report = self.app.pipeline.accept_drift(&by, &name).await.map_err(status)?;
        hidden::nothing_of_source(&self.app, &by, &name, "source.accept").await?;
        Ok(Response::new(pb::AcceptDriftResponse { report: Some(convert::report(&report)) }))
    }

    async fn get_discovery_report(
        &self,
        request: Request<pb::GetDiscoveryReportRequest>,
    ) -> Result<Response<pb::GetDiscoveryReportResponse>, Status> {
        let by = engineer(&self.app, &request, "source.report").await?;
        let name = source_name(&request.into_inner().name)?;
        hidden::nothing_of_source(&self.app, &by, &name, "source.report").await?;
        let report = self.app.pipeline.discovery_report(&name).await.map_err(status)?.ok_or_else(|| {
            Status::not_found(format!("`{name}` was not discovered yet: run `mavis source discover {name}`"))
        })?;
        Ok(Response::new(pb::GetDiscoveryReportResponse { report: Some(convert::report(&report)) }))
    }

    async fn import_discovery_report(
        &self,
        request: Request<pb::ImportDiscoveryReportRequest>,
    ) -> Result<Response<pb::ImportDiscoveryReportResponse>, Status> {
        let by = engineer(&self.app, &request, "source.import_report").await?;
        let request = request.into_inner();
        let name = source_name(&request.name)?;
        hidden::nothing_of_source(&self.app, &by, &name, "source.import_report").await?;
        let report =
            self.app.pipeline.import_discovery_report(&by, &name, &request.report_json).await.map_err(status)?;
        Ok(Response::new(pb::ImportDiscoveryReportResponse { report: Some(convert::report(&report)) }))
    }

    async fn start_run(&self, request: Request<pb::StartRunRequest>) -> Result<Response<pb::StartRunResponse>, Status> {
        let by = engineer(&self.app, &request, "run.start").await?;
        let request = request.into_inner();
        let id = chosen_run_id(&request.run_id)?;
        let ingest =
            IngestRequest { source: source_name(&request.source)?, tables: request.tables, full: request.full };
        visible::source(&self.app, &by, &ingest.source).await?;
        visible::tables(&self.app, &by, &ingest.source, &ingest.tables).await?;
        self.app.pipeline.start_run(&by, id, ingest).await.map_err(status)?;
        // A run of that id that was there before may be anybody's.
        let run = visible::run(&self.app, &by, id).await?;
        Ok(Response::new(pb::StartRunResponse { run: Some(self.run(&by, run).await?) }))
    }

    type WatchRunStream = BoxStream<'static, Result<pb::WatchRunResponse, Status>>;

    async fn watch_run(&self, request: Request<pb::WatchRunRequest>) -> Result<Response<Self::WatchRunStream>, Status> {
        let by = principal(&request)?;
        let id = run_id(&request.into_inner().run_id)?;
        let run = visible::run(&self.app, &by, id).await?;
        let sized = visible::sized(&self.app, &by, &run).await?;
        let events = self.app.pipeline.watch(id).await.map_err(status)?;
        let stopping = self.app.readiness.stopping();
        let answers = async_stream::stream! {
            let mut events = events;
            tokio::pin!(stopping);
            loop {
                tokio::select! {
                    biased;
                    event = events.next() => match event {
                        Some(event) if !visible::is_told(&by, &event, sized) => {}
                        Some(event) => {
                            let event = convert::event(event, knows_counts(&by), sized);
                            yield Ok(pb::WatchRunResponse { event: Some(event) });
                        }
                        None => return,
                    },
                    () = &mut stopping => {
                        yield Err(Status::unavailable(format!(
                            "the server is stopping; run {id} goes on when it is started again"
                        )));
                        return;
                    }
                }
            }
        };
        Ok(Response::new(answers.boxed()))
    }

    async fn cancel_run(
        &self,
        request: Request<pb::CancelRunRequest>,
    ) -> Result<Response<pb::CancelRunResponse>, Status> {
        let by = engineer(&self.app, &request, "run.cancel").await?;
        let id = run_id(&request.into_inner().run_id)?;
        visible::run(&self.app, &by, id).await?;
        let run = self.app.pipeline.cancel(&by, id).await.map_err(status)?;
        Ok(Response::new(pb::CancelRunResponse { run: Some(self.run(&by, run).await?) }))
    }

    async fn retry_run(&self, request: Request<pb::RetryRunRequest>) -> Result<Response<pb::RetryRunResponse>, Status> {
        let by = engineer(&self.app, &request, "run.retry").await?;
        let id = run_id(&request.into_inner().run_id)?;
        visible::run(&self.app, &by, id).await?;
        let run = self.app.pipeline.retry(&by, id).await.map_err(status)?;
        Ok(Response::new(pb::RetryRunResponse { run: Some(self.run(&by, run).await?) }))
    }

    async fn list_runs(&self, request: Request<pb::ListRunsRequest>) -> Result<Response<pb::ListRunsResponse>, Status> {
        let by = principal(&request)?;
        let request = request.into_inner();
        let limit = if request.limit == 0 { RUNS.0 } else { request.limit.min(RUNS.1) };
        Ok(Response::new(pb::ListRunsResponse { runs: visible::runs(&self.app, &by, &request.source, limit).await? }))
    }

    async fn get_run(&self, request: Request<pb::GetRunRequest>) -> Result<Response<pb::GetRunResponse>, Status> {
        let by = principal(&request)?;
        let id = run_id(&request.into_inner().run_id)?;
        let catalog = &self.app.catalog;
        let run = visible::run(&self.app, &by, id).await?;
        let mut names = Names::new(catalog, &by);
        let mut units = Vec::new();
        for unit in catalog.run_units(id).await.map_err(status)? {
            let table = match names.table(unit.table).await? {
                Some(name) if by.may_read(&name) => name.to_string(),
                None if by.knows_all() => unit.table.to_string(),
                _ => continue,
            };
            units.push(convert::unit(unit, table, None, knows_counts(&by)));
        }
        let sized = visible::sized(&self.app, &by, &run).await?;
        let log = if sized { catalog.run_log(id, -1).await.map_err(status)? } else { Vec::new() };
        let log = convert::log(log);
        Ok(Response::new(pb::GetRunResponse { run: Some(names.run(run).await?), units, log }))
    }

    async fn import_files(
        &self,
        request: Request<Streaming<pb::ImportFilesRequest>>,
    ) -> Result<Response<pb::ImportFilesResponse>, Status> {
        let by = engineer(&self.app, &request, "import.files").await?;
        let files = import::receive(&self.app, &by, request.into_inner()).await?;
        Ok(Response::new(pb::ImportFilesResponse { files }))
    }

    async fn list_imported_files(
        &self,
        request: Request<pb::ListImportedFilesRequest>,
    ) -> Result<Response<pb::ListImportedFilesResponse>, Status> {
        let by = engineer(&self.app, &request, "import.list").await?;
        let options = import::options(required(request.into_inner().options, "options")?)?;
        visible::source_to_be(&by, &options.source)?;
        // Names of files say who is in them. Of a source that is yet to come there are none.
        match self.app.catalog.source(&options.source).await {
            Ok(_) => hidden::nothing_of_source(&self.app, &by, &options.source, "import.list").await?,
            Err(mavis_catalog::Error::NotFound { .. }) => {}
            Err(error) => return Err(status(error)),
        }
        let files = self.app.pipeline.imported_files(&options).await.map_err(status)?;
        let told = |file: mavis_pipeline::ImportedFile| pb::ImportedFile {
            name: file.name,
            size: file.bytes,
            sha256: file.sha256,
            landed: file.landed,
        };
        let files = files.into_iter().map(told).collect();
        Ok(Response::new(pb::ListImportedFilesResponse { files }))
    }

    async fn start_import(
        &self,
        request: Request<pb::StartImportRequest>,
    ) -> Result<Response<pb::StartImportResponse>, Status> {
        let by = engineer(&self.app, &request, "import.start").await?;
        let request = request.into_inner();
        let id = chosen_run_id(&request.run_id)?;
        let options = import::options(required(request.options, "options")?)?;
        // Who asks again is answered the run that is there, which may be anybody's.
        let run = match self.app.catalog.run(id).await {
            Ok(_) => visible::run(&self.app, &by, id).await?,
            Err(mavis_catalog::Error::NotFound { .. }) => {
                visible::source_to_be(&by, &options.source)?;
                self.app.pipeline.start_import(&by, id, options).await.map_err(status)?;
                // Somebody else may have begun one of that id meanwhile.
                visible::run(&self.app, &by, id).await?
            }
            Err(error) => return Err(status(error)),
        };
        Ok(Response::new(pb::StartImportResponse { run: Some(self.run(&by, run).await?) }))
    }
}
