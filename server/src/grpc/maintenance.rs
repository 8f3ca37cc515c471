//! `mavis.v1.MaintenanceService`.

use std::time::Duration;

use mavis_proto::v1::{self as pb, maintenance_service_server::MaintenanceService};
use mavis_types::{Principal, TableName};
use tonic::{Request, Response, Status};

use super::{
    caller::{admin, engineer},
    status,
};
use crate::{App, erase::erase};

/// Retention where the caller names none, and at least, in hours.
const RETENTION: (u32, u32) = (168, 24);

#[derive(Debug, Clone)]
pub(super) struct Maintenance {
    pub(super) app: App,
}

/// The named table, if the caller may read it; otherwise it is as if it were not there.
fn table(by: &Principal, text: &str) -> Result<Option<TableName>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let name: TableName = text.parse().map_err(status)?;
    if by.may_read(&name) {
        return Ok(Some(name));
    }
    let (name, hint) = (name.to_string(), String::new());
    Err(status(mavis_pipeline::Error::NotFound { what: "table", name, hint }))
}

/// Whether the caller is told what was done to a table. All of the lake is kept in order for whoever asks; the size of a table
/// of which rows are hidden is not told, nor one that may not be read.
fn is_told(by: &Principal, name: &TableName) -> bool {
    by.may_read(name) && by.rights.filters(name).next().is_none()
}

fn retention(hours: u32) -> Result<Duration, Status> {
    match hours {
        0 => Ok(Duration::from_secs(u64::from(RETENTION.0) * 3600)),
        hours if hours < RETENTION.1 => Err(Status::invalid_argument(format!(
            "a retention of {hours} h is too short: pinned snapshots live {} h",
            RETENTION.1
        ))),
        hours => Ok(Duration::from_secs(u64::from(hours) * 3600)),
    }
}

#[tonic::async_trait]
impl MaintenanceService for Maintenance {
    async fn optimize(&self, request: Request<pb::OptimizeRequest>) -> Result<Response<pb::OptimizeResponse>, Status> {
        let by = engineer(&self.app, &request, "lake.optimize").await?;
        let name = table(&by, &request.into_inner().table)?;
        let done = self.app.pipeline.optimize(&by, name.as_ref()).await.map_err(status)?;
        let tables = done
            .into_iter()
            .filter(|(name, _)| is_told(&by, name))
            .map(|(name, done)| pb::OptimizedTable {
                table: name.to_string(),
                files_before: done.files_before,
                files_after: done.files_after,
                bytes_before: done.bytes_before,
                bytes_after: done.bytes_after,
            })
            .collect();
        Ok(Response::new(pb::OptimizeResponse { tables }))
    }

    async fn vacuum(&self, request: Request<pb::VacuumRequest>) -> Result<Response<pb::VacuumResponse>, Status> {
        let by = engineer(&self.app, &request, "lake.vacuum").await?;
        let request = request.into_inner();
        let (name, retention) = (table(&by, &request.table)?, retention(request.retention_hours)?);
        let done = self.app.pipeline.vacuum(&by, name.as_ref(), retention).await.map_err(status)?;
        let tables = done
            .into_iter()
            .filter(|(name, _)| is_told(&by, name))
            .map(|(name, done)| pb::VacuumedTable { table: name.to_string(), files_deleted: done.files_deleted })
            .collect();
        Ok(Response::new(pb::VacuumResponse { tables }))
    }

    async fn erase(&self, request: Request<pb::EraseRequest>) -> Result<Response<pb::EraseResponse>, Status> {
        let by = admin(&self.app, &request, "patient.erase").await?;
        let request = request.into_inner();
        let options = mavis_pipeline::EraseOptions { shared: request.shared_too, finish: request.finish };
        let (done, exports) = erase(&self.app, &by, &request.patient, options).await.map_err(status)?;
        Ok(Response::new(pb::EraseResponse {
            resources: done.resources.into_iter().collect(),
            rows: done.rows.into_iter().collect(),
            quarantined: done.quarantined,
            files: done.files,
            exports,
            shared: done.shared,
            referring: done.referring,
            unreached: done.unreached,
        }))
    }
}
