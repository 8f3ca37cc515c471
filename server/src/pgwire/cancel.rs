use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI32, Ordering},
    },
};

use tokio_util::sync::CancellationToken;

/// Connections that may be asked to stop what they run, by the number that they were told.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    next: AtomicI32,
    open: Mutex<HashMap<i32, Entry>>,
}

#[derive(Debug)]
struct Entry {
    secret: i32,
    /// What runs now.
    running: Arc<Mutex<Option<CancellationToken>>>,
}

/// A connection's own entry, which goes with it.
#[derive(Debug)]
pub(super) struct Place {
    connections: Connections,
    pub(super) number: i32,
    pub(super) secret: i32,
    running: Arc<Mutex<Option<CancellationToken>>>,
}

impl Connections {
    /// Enters a connection; `None` where `most` are there already.
    pub(super) fn enter(&self, most: usize) -> Option<Place> {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= most {
            return None;
        }
        let mut number = 0;
        while number <= 0 || open.contains_key(&number) {
            number = self.0.next.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & i32::MAX;
        }
        let (secret, running) = (rand::random::<i32>(), Arc::new(Mutex::new(None)));
        open.insert(number, Entry { secret, running: Arc::clone(&running) });
        Some(Place { connections: self.clone(), number, secret, running })
    }

    /// Stops what a connection runs, for whoever knows its secret. Nobody is told whether there was something.
    pub(super) fn cancel(&self, number: i32, secret: i32) {
        let open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = open.get(&number).filter(|entry| entry.secret == secret)
            && let Some(running) = entry.running.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            running.cancel();
        }
    }
}

impl Place {
    /// From here on a request to cancel is meant for what begins now.
    pub(super) fn begin(&self) -> CancellationToken {
        let token = CancellationToken::new();
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
        token
    }

    /// Nothing runs: a request that comes late stops nothing.
    pub(super) fn end(&self) {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.0.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_knows_the_secret_cancels_and_only_what_runs_now() {
        let connections = Connections::default();
        let place = connections.enter(1).unwrap();
        assert!(connections.enter(1).is_none());
        let first = place.begin();
        connections.cancel(place.number, place.secret.wrapping_add(1));
        assert!(!first.is_cancelled());
        connections.cancel(place.number, place.secret);
        assert!(first.is_cancelled());
        place.end();
        connections.cancel(place.number, place.secret);
        assert!(!place.begin().is_cancelled());
        drop(place);
        assert!(connections.enter(1).is_some());
    }
}
