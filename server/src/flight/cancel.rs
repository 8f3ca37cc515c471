use arrow_flight::{
    CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo, sql::ActionCancelQueryResult,
};
use bytes::Bytes;
use prost::Message;
use tonic::Status;

use super::{
    handle::Handle,
    poll,
    service::{Caller, Commands},
};

pub(super) const CANCEL: &str = "CancelFlightInfo";

/// `ActionCancelQueryResult.CancelResult`, which arrow-flight does not export.
const CANCELLED: i32 = 1;
const NOT_CANCELLABLE: i32 = 3;

impl Commands {
    /// Stops the queries of a FlightInfo that the caller started; false where none of them runs.
    fn cancel(&self, caller: &Caller, info: &FlightInfo) -> Result<bool, Status> {
        let tickets = info.endpoint.iter().filter_map(|endpoint| endpoint.ticket.as_ref());
        let mut handles =
            tickets.map(|ticket| self.handles.of_ticket(&ticket.ticket)).collect::<Result<Vec<_>, _>>()?;
        if handles.is_empty() {
            // A query that is polled has no endpoint before its end; its descriptor names it.
            handles.extend(self.polled(info));
        }
        let mut cancelled = false;
        for handle in handles {
            cancelled |= match &handle.stored {
                Some(stored) => poll::cancel(self, caller, stored).unwrap_or_default(),
                None => {
                    let query = self.running.find(handle.id(), caller.principal.token);
                    query.is_some_and(|query| self.app.engine.cancel(query))
                }
            };
        }
        Ok(cancelled)
    }

    fn polled(&self, info: &FlightInfo) -> Option<Handle> {
        let of_descriptor = info.flight_descriptor.as_ref().map(|descriptor| &descriptor.cmd);
        of_descriptor.into_iter().chain([&info.app_metadata]).find_map(|bytes| self.handles.of_ticket(bytes).ok())
    }

    /// The action `CancelFlightInfo`.
    pub(super) fn cancel_flight(&self, caller: &Caller, body: &Bytes) -> Result<Bytes, Status> {
        let asked = CancelFlightInfoRequest::decode(body.clone()).map_err(|_| unreadable())?;
        let cancelled = self.cancel(caller, &asked.info.ok_or_else(unreadable)?)?;
        let status = if cancelled { CancelStatus::Cancelled } else { CancelStatus::NotCancellable };
        Ok(CancelFlightInfoResult::new(status).encode_to_vec().into())
    }

    /// The action `CancelQuery`, which older clients send.
    pub(super) fn cancel_query(&self, caller: &Caller, info: &Bytes) -> Result<ActionCancelQueryResult, Status> {
        let info = FlightInfo::decode(info.clone()).map_err(|_| unreadable())?;
        let result = if self.cancel(caller, &info)? { CANCELLED } else { NOT_CANCELLABLE };
        Ok(ActionCancelQueryResult { result })
    }
}

fn unreadable() -> Status {
    Status::invalid_argument("the FlightInfo to cancel cannot be read")
}
