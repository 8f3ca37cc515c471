//! Who works next: places for tables, given to the sources in turn, so that a source with a thousand tables keeps none of the
//! others waiting for more than one of them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use mavis_types::SourceId;
use tokio::sync::oneshot;

/// A number of places, and who waits for one.
#[derive(Debug)]
pub(crate) struct Places {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Sources that wait, the next one first; each stands here once.
    order: VecDeque<Option<SourceId>>,
    waiting: HashMap<Option<SourceId>, VecDeque<oneshot::Sender<Place>>>,
}

/// A place that is held; it is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    state: Arc<Mutex<State>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.free += 1;
        // A waiter that is gone drops its place within this lock otherwise: hand them over after it.
        let next = state.next(&self.state);
        drop(state);
        drop(next);
    }
}

impl State {
    /// Gives a free place to whoever is next. What is answered was refused, and is to be dropped without the lock.
    fn next(&mut self, shared: &Arc<Mutex<State>>) -> Option<Place> {
        while self.free > 0 {
            let source = self.order.pop_front()?;
            let Some(queue) = self.waiting.get_mut(&source) else { continue };
            let waiter = queue.pop_front();
            if queue.is_empty() {
                self.waiting.remove(&source);
            } else {
                self.order.push_back(source);
            }
            let Some(waiter) = waiter else { continue };
            self.free -= 1;
            if let Err(refused) = waiter.send(Place { state: Arc::clone(shared) }) {
                return Some(refused);
            }
        }
        None
    }
}

impl Places {
    pub(crate) fn new(places: usize) -> Self {
        let state = State { free: places.max(1), order: VecDeque::new(), waiting: HashMap::new() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Waits for a place.
    pub(crate) async fn take(&self, source: Option<SourceId>) -> Place {
        loop {
            let (sender, receiver) = oneshot::channel();
            let refused = {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                let queue = state.waiting.entry(source).or_default();
                queue.push_back(sender);
                if queue.len() == 1 {
                    state.order.push_back(source);
                }
                state.next(&self.state)
            };
            drop(refused);
            if let Ok(place) = receiver.await {
                return place;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use uuid::Uuid;

    fn source(n: u128) -> Option<SourceId> {
        Some(SourceId::from_uuid(Uuid::from_u128(n)))
    }

    #[tokio::test]
    async fn sources_take_turns_however_many_tables_one_has() {
        let places = Arc::new(Places::new(1));
        let held = places.take(source(9)).await;
        let done = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for (name, number) in [("big", 1), ("big", 1), ("big", 1), ("big", 1), ("small", 2), ("other", 3), ("small", 2)]
        {
            let (places, done) = (Arc::clone(&places), Arc::clone(&done));
            tasks.push(tokio::spawn(async move {
                let _place = places.take(source(number)).await;
                done.lock().unwrap().push(name);
            }));
            tokio::task::yield_now().await;
        }
        drop(held);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*done.lock().unwrap(), ["big", "small", "other", "big", "small", "big", "big"]);
    }

    #[tokio::test]
    async fn whoever_stops_waiting_loses_nobody_a_place() {
        let places = Arc::new(Places::new(2));
        let held = (places.take(source(1)).await, places.take(source(1)).await);
        for _ in 0..10 {
            let gives_up = tokio::time::timeout(Duration::from_millis(1), places.take(source(2))).await;
            assert!(gives_up.is_err());
        }
        drop(held);
        let again = tokio::time::timeout(Duration::from_secs(5), async {
            (places.take(source(3)).await, places.take(source(3)).await)
        });
        assert!(again.await.is_ok());
        assert!(
            tokio::time::timeout(Duration::from_millis(1), places.take(source(4))).await.is_ok(),
            "both are free again"
        );
    }
}
