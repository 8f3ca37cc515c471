use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arrow_flight::{
    CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo, sql::ActionCancelQueryResult,
};
use bytes::Bytes;
use mavis_types::TokenId;
use prost::Message;
use tonic::{Request, Status};
use uuid::Uuid;

use super::commands::{Commands, principal};

pub(super) const CANCEL: &str = "CancelFlightInfo";

/// `ActionCancelQueryResult.CancelResult`, which arrow-flight does not export.
const CANCELLED: i32 = 1;
const NOT_CANCELLABLE: i32 = 3;

/// Queries whose rows are being fetched, by the id in their ticket.
#[derive(Debug, Clone, Default)]
pub(super) struct Running(Arc<Mutex<HashMap<Uuid, Fetch>>>);

#[derive(Debug, Clone, Copy)]
struct Fetch {
    owner: TokenId,
    /// The engine's own id.
    query: Uuid,
}

/// Takes a query off the list when its stream ends or is dropped.
#[derive(Debug)]
pub(super) struct Entry {
    running: Running,
    id: Uuid,
    query: Uuid,
}

impl Running {
    /// Lists a query until the entry is dropped. A ticket that is fetched twice at once is listed by its newest fetch.
    pub(super) fn enter(&self, id: Uuid, owner: TokenId, query: Uuid) -> Entry {
        self.lock().insert(id, Fetch { owner, query });
        Entry { running: self.clone(), id, query }
    }

    /// The engine's id of a query that this principal started.
    fn find(&self, id: Uuid, owner: TokenId) -> Option<Uuid> {
        self.lock().get(&id).filter(|fetch| fetch.owner == owner).map(|fetch| fetch.query)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Fetch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut running = self.running.lock();
        if running.get(&self.id).is_some_and(|fetch| fetch.query == self.query) {
            running.remove(&self.id);
        }
    }
}

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
