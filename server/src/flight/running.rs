use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use mavis_types::TokenId;
use uuid::Uuid;

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
    pub(super) fn find(&self, id: Uuid, owner: TokenId) -> Option<Uuid> {
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
