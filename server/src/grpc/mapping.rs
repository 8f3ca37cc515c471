//! `mavis.v1.MappingService`.

use mavis_fhir::mapping::MappingProblem;
use mavis_proto::v1::{self as pb, mapping_service_server::MappingService};
use tonic::{Request, Response, Status};

use super::{
    caller::engineer,
    convert::{source_name, timestamp},
    hidden, status, visible,
};
use crate::App;

#[derive(Debug, Clone)]
pub(super) struct Mappings {
    pub(super) app: App,
}

fn mapping(row: mavis_catalog::MappingRow) -> pb::Mapping {
    pb::Mapping {
        name: row.name,
        version: row.version,
        resource: row.resource,
        text: row.text,
        applied_at: Some(timestamp(row.applied_at)),
    }
}

fn problem(problem: MappingProblem) -> pb::MappingProblem {
    pb::MappingProblem { place: problem.place, message: problem.message }
}

#[tonic::async_trait]
impl MappingService for Mappings {
    async fn list_mappings(
        &self,
        request: Request<pb::ListMappingsRequest>,
    ) -> Result<Response<pb::ListMappingsResponse>, Status> {
        let by = engineer(&self.app, &request, "mapping.list").await?;
        let mappings = visible::mappings(&self.app, &by).await?;
        Ok(Response::new(pb::ListMappingsResponse { mappings: mappings.into_iter().map(mapping).collect() }))
    }

    async fn check_mapping(
        &self,
        request: Request<pb::CheckMappingRequest>,
    ) -> Result<Response<pb::CheckMappingResponse>, Status> {
        let by = engineer(&self.app, &request, "mapping.check").await?;
        let text = request.into_inner().text;
        // What is wrong with it names columns that there are.
        let tables = self.app.pipeline.tables_of_mapping("", &text).await.map_err(status)?;
        hidden::nothing_of_tables(&self.app, &by, &tables, "mapping.check").await?;
        let problems = self.app.pipeline.check_mapping(&text).await.map_err(status)?;
        Ok(Response::new(pb::CheckMappingResponse { problems: problems.into_iter().map(problem).collect() }))
    }

    async fn apply_mapping(
        &self,
        request: Request<pb::ApplyMappingRequest>,
    ) -> Result<Response<pb::ApplyMappingResponse>, Status> {
        let by = engineer(&self.app, &request, "mapping.apply").await?;
        let request = request.into_inner();
        if request.name.trim().is_empty() {
            return Err(Status::invalid_argument("a mapping needs a name, such as `source.table`"));
        }
        let tables = self.app.pipeline.tables_of_mapping(&request.name, &request.text).await.map_err(status)?;
        hidden::nothing_of_tables(&self.app, &by, &tables, "mapping.apply").await?;
        let row = self.app.pipeline.apply_mapping(&by, &request.name, &request.text).await.map_err(status)?;
        Ok(Response::new(pb::ApplyMappingResponse { mapping: Some(mapping(row)) }))
    }

    async fn suggest_mappings(
        &self,
        request: Request<pb::SuggestMappingsRequest>,
    ) -> Result<Response<pb::SuggestMappingsResponse>, Status> {
        let by = engineer(&self.app, &request, "mapping.suggest").await?;
        let source = source_name(&request.into_inner().source)?;
        hidden::nothing_of_source(&self.app, &by, &source, "mapping.suggest").await?;
        let suggestions = self.app.pipeline.suggest_mappings(&source).await.map_err(status)?;
        let suggestions = suggestions
            .into_iter()
            .map(|suggestion| pb::SuggestedMapping {
                resource: suggestion.mapping.resource.to_string(),
                text: suggestion.mapping.to_toml(),
                confidence: suggestion.confidence,
                unmapped: suggestion.unmapped,
            })
            .collect();
        Ok(Response::new(pb::SuggestMappingsResponse { suggestions }))
    }

    async fn set_code_map(
        &self,
        request: Request<pb::SetCodeMapRequest>,
    ) -> Result<Response<pb::SetCodeMapResponse>, Status> {
        let by = engineer(&self.app, &request, "code_map.set").await?;
        let request = request.into_inner();
        let codes = self.app.pipeline.set_code_map(&by, &request.name, &request.text).await.map_err(status)?;
        Ok(Response::new(pb::SetCodeMapResponse { codes }))
    }
}
