//! `mavis.v1.QuarantineService`.

use mavis_catalog::{QuarantineFilter, QuarantineState, Quarantined};
use mavis_proto::v1::{self as pb, quarantine_service_server::QuarantineService};
use mavis_sql::{Payloads, origin};
use mavis_types::{Principal, TableName};
use tonic::{Request, Response, Status};

use super::{
    caller::engineer,
    convert::{Names, run_id, timestamp, word},
    hidden, status,
};
use crate::{App, auth::Door};

/// Rows of a list where the caller names no limit, and at most.
const ROWS: (u32, u32) = (100, 10_000);

#[derive(Debug, Clone)]
pub(super) struct Quarantine {
    pub(super) app: App,
}

fn row(row: Quarantined, table: &TableName) -> pb::QuarantinedRow {
    pb::QuarantinedRow {
        id: row.id,
        run_id: row.run.to_string(),
        table: table.to_string(),
        step: word(row.step),
        reason: row.reason,
        origin: row.origin,
        state: word(row.state),
        at: Some(timestamp(row.at)),
        payload: Some(row.payload),
    }
}

fn state(text: &str) -> Result<Option<QuarantineState>, Status> {
    match text {
        "" => Ok(None),
        "waiting" => Ok(Some(QuarantineState::Waiting)),
        "replayed" => Ok(Some(QuarantineState::Replayed)),
        "dropped" => Ok(Some(QuarantineState::Dropped)),
        _ => Err(Status::invalid_argument(format!(
            "there is no quarantine state `{text}`: use waiting, replayed or dropped"
        ))),
    }
}

impl Quarantine {
    /// The row, if the principal may read the table it was on its way to; otherwise it is as if it were not there.
    async fn visible(&self, principal: &Principal, id: i64) -> Result<(Quarantined, TableName), Status> {
        let unknown = || Status::not_found(format!("there is no quarantined row `{id}`"));
        let found = self.app.catalog.quarantined_row(id).await.map_err(status)?;
        let table = Names::new(&self.app.catalog, principal).table(found.table).await?.ok_or_else(unknown)?;
        if principal.may_read(&table) { Ok((found, table)) } else { Err(unknown()) }
    }
}

#[tonic::async_trait]
impl QuarantineService for Quarantine {
    async fn list_quarantined(
        &self,
        request: Request<pb::ListQuarantinedRequest>,
    ) -> Result<Response<pb::ListQuarantinedResponse>, Status> {
        let by = engineer(&self.app, &request, "quarantine.list").await?;
        let request = request.into_inner();
        let table = if request.table.is_empty() {
            None
        } else {
            let name: TableName = request.table.parse().map_err(status)?;
            // The same answer as for one that is not there.
            if !by.may_read(&name) {
                return Err(status(mavis_catalog::Error::NotFound { what: "table", name: name.to_string() }));
            }
            Some(self.app.catalog.table(&name).await.map_err(status)?.id)
        };
        let run = if request.run_id.is_empty() { None } else { Some(run_id(&request.run_id)?) };
        let limit = if request.limit == 0 { ROWS.0 } else { request.limit.min(ROWS.1) };
        let filter = QuarantineFilter {
            table,
            run,
            state: state(&request.state)?,
            after: Some(request.after),
            limit: Some(limit),
        };
        let found = self.app.pipeline.quarantined(&filter).await.map_err(status)?;
        let next_after = match found.last() {
            Some(last) if found.len() == limit as usize => last.id,
            _ => 0,
        };
        let mut names = Names::new(&self.app.catalog, &by);
        let mut payloads = Payloads::default();
        let mut rows = Vec::with_capacity(found.len());
        for found in found {
            if let Some(table) = names.table(found.table).await?
                && by.may_read(&table)
            {
                let shown = payloads.are_shown(&self.app.catalog, &by, &found, &table).await.map_err(status)?;
                let origin = origin(&found, shown).to_owned();
                rows.push(pb::QuarantinedRow { payload: None, origin, ..row(found, &table) });
            }
        }
        Ok(Response::new(pb::ListQuarantinedResponse { rows, next_after }))
    }

    async fn get_quarantined(
        &self,
        request: Request<pb::GetQuarantinedRequest>,
    ) -> Result<Response<pb::GetQuarantinedResponse>, Status> {
        let by = engineer(&self.app, &request, "quarantine.show").await?;
        let id = request.into_inner().id;
        let (found, table) = self.visible(&by, id).await?;
        let mut told = row(found.clone(), &table);
        if !Payloads::default().are_shown(&self.app.catalog, &by, &found, &table).await.map_err(status)? {
            told.payload = None;
            origin(&found, false).clone_into(&mut told.origin);
        }
        // Somebody looked at patient data that no query guard saw.
        self.app.auth.audit(&by.name, "quarantine.show", &format!("{table} row {id}"), true, Door::Grpc).await;
        Ok(Response::new(pb::GetQuarantinedResponse { row: Some(told) }))
    }

    async fn replay_quarantined(
        &self,
        request: Request<pb::ReplayQuarantinedRequest>,
    ) -> Result<Response<pb::ReplayQuarantinedResponse>, Status> {
        let by = engineer(&self.app, &request, "quarantine.replay").await?;
        let request = request.into_inner();
        if request.ids.is_empty() {
            return Err(Status::invalid_argument("name at least one quarantined row"));
        }
        if request.corrected.is_some() && request.ids.len() != 1 {
            return Err(Status::invalid_argument("a corrected payload replaces exactly one row: name one id"));
        }
        for id in &request.ids {
            let (found, table) = self.visible(&by, *id).await?;
            if request.corrected.is_some() {
                let shown =
                    Payloads::default().are_shown(&self.app.catalog, &by, &found, &table).await.map_err(status)?;
                hidden::no_payload(&self.app, &by, shown, &table, "quarantine.replay").await?;
            }
        }
        let run = self.app.pipeline.replay(&by, &request.ids, request.corrected.as_deref()).await.map_err(status)?;
        let run = Names::new(&self.app.catalog, &by).run(run).await?;
        Ok(Response::new(pb::ReplayQuarantinedResponse { run: Some(run) }))
    }
}
