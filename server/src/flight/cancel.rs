use arrow_flight::{
    CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo, sql::ActionCancelQueryResult,
};
use bytes::Bytes;
use prost::Message;
use tonic::{Request, Status};

use super::service::{Commands, principal};

pub(super) const CANCEL: &str = "CancelFlightInfo";

/// `ActionCancelQueryResult.CancelResult`, which arrow-flight does not export.
const CANCELLED: i32 = 1;
const NOT_CANCELLABLE: i32 = 3;

impl Commands {
    /// Stops the queries of a FlightInfo that the caller started; false where none of them runs.
    fn cancel<T>(&self, request: &Request<T>, info: &FlightInfo) -> Result<bool, Status> {
        let owner = principal(request)?.token;
        let mut cancelled = false;
        for ticket in info.endpoint.iter().filter_map(|endpoint| endpoint.ticket.as_ref()) {
            let id = self.handles.of_ticket(&ticket.ticket)?.id();
            if let Some(query) = self.running.find(id, owner) {
                cancelled |= self.app.engine.cancel(query);
            }
        }
        Ok(cancelled)
    }

    /// The action `CancelFlightInfo`.
    pub(super) fn cancel_flight<T>(&self, request: &Request<T>, body: &Bytes) -> Result<Bytes, Status> {
        let asked = CancelFlightInfoRequest::decode(body.clone()).map_err(|_| unreadable())?;
        let cancelled = self.cancel(request, &asked.info.ok_or_else(unreadable)?)?;
        let status = if cancelled { CancelStatus::Cancelled } else { CancelStatus::NotCancellable };
        Ok(CancelFlightInfoResult::new(status).encode_to_vec().into())
    }

    /// The action `CancelQuery`, which older clients send.
    pub(super) fn cancel_query<T>(
        &self,
        request: &Request<T>,
        info: &Bytes,
    ) -> Result<ActionCancelQueryResult, Status> {
        let info = FlightInfo::decode(info.clone()).map_err(|_| unreadable())?;
        let result = if self.cancel(request, &info)? { CANCELLED } else { NOT_CANCELLABLE };
        Ok(ActionCancelQueryResult { result })
    }
}

fn unreadable() -> Status {
    Status::invalid_argument("the FlightInfo to cancel cannot be read")
}
