//! `mavis.v1.ScheduleService`: when sources are read by themselves.

use mavis_catalog::Schedule;
use mavis_pipeline::ScheduleSpec;
use mavis_proto::v1::{self as pb, schedule_service_server::ScheduleService};
use mavis_sql::knows_source;
use tonic::{Request, Response, Status};

use super::{
    caller::engineer,
    convert::{source_name, timestamp},
    status, visible,
};
use crate::App;

#[derive(Debug, Clone)]
pub(super) struct Schedules {
    pub(super) app: App,
}

fn told(source: &str, schedule: Schedule) -> pb::Schedule {
    let state = schedule.state;
    pb::Schedule {
        source: source.to_owned(),
        declaration_json: schedule.spec.to_string(),
        enabled: state.disabled_at.is_none(),
        next_at: state.next_at.filter(|_| state.disabled_at.is_none()).map(timestamp),
        last_at: state.fired_at.map(timestamp),
        last_run: state.last_run.map(|id| id.to_string()).unwrap_or_default(),
        failures: state.failures,
        disabled_reason: state.disabled_reason.unwrap_or_default(),
    }
}

#[tonic::async_trait]
impl ScheduleService for Schedules {
    async fn set_schedule(
        &self,
        request: Request<pb::SetScheduleRequest>,
    ) -> Result<Response<pb::SetScheduleResponse>, Status> {
        let by = engineer(&self.app, &request, "schedule.set").await?;
        let request = request.into_inner();
        let name = source_name(&request.source)?;
        visible::source(&self.app, &by, &name).await?;
        let spec: ScheduleSpec = serde_json::from_str(&request.declaration_json)
            .map_err(|error| Status::invalid_argument(format!("the schedule's declaration: {error}")))?;
        let schedule = self.app.pipeline.set_schedule(&by, &name, &spec).await.map_err(status)?;
        Ok(Response::new(pb::SetScheduleResponse { schedule: Some(told(name.as_str(), schedule)) }))
    }

    async fn remove_schedule(
        &self,
        request: Request<pb::RemoveScheduleRequest>,
    ) -> Result<Response<pb::RemoveScheduleResponse>, Status> {
        let by = engineer(&self.app, &request, "schedule.remove").await?;
        let name = source_name(&request.into_inner().source)?;
        visible::source(&self.app, &by, &name).await?;
        self.app.pipeline.remove_schedule(&by, &name).await.map_err(status)?;
        Ok(Response::new(pb::RemoveScheduleResponse {}))
    }

    async fn enable_schedule(
        &self,
        request: Request<pb::EnableScheduleRequest>,
    ) -> Result<Response<pb::EnableScheduleResponse>, Status> {
        let by = engineer(&self.app, &request, "schedule.enable").await?;
        let request = request.into_inner();
        let name = source_name(&request.source)?;
        visible::source(&self.app, &by, &name).await?;
        let schedule = self.app.pipeline.enable_schedule(&by, &name, request.enabled).await.map_err(status)?;
        Ok(Response::new(pb::EnableScheduleResponse { schedule: Some(told(name.as_str(), schedule)) }))
    }

    async fn list_schedules(
        &self,
        request: Request<pb::ListSchedulesRequest>,
    ) -> Result<Response<pb::ListSchedulesResponse>, Status> {
        let by = engineer(&self.app, &request, "schedule.list").await?;
        let mut all = self.app.pipeline.schedules().await.map_err(status)?;
        all.retain(|(source, _)| knows_source(&by, source.name.as_str()));
        let schedules = all.into_iter().map(|(source, schedule)| told(source.name.as_str(), schedule)).collect();
        Ok(Response::new(pb::ListSchedulesResponse { schedules }))
    }
}
