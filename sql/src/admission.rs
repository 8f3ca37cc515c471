use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use crate::{Error, stream::out_of_time};

/// Lets few queries run at once; the others wait in the order in which they came.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    running: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    queued: usize,
}

impl Admission {
    pub(crate) fn new(concurrent: usize, queued: usize) -> Self {
        let running = Arc::new(Semaphore::new(concurrent.max(1)));
        Self { running, waiting: Arc::new(AtomicUsize::new(0)), queued }
    }

    /// Waits for the right to run, which lasts until the permit is dropped.
    ///
    /// # Errors
    /// [`Error::Limit`] when too many wait already, or when the deadline passes while waiting.
    pub(crate) async fn admit(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, Error> {
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Ok(permit);
        }
        let _place = Place::take(Arc::clone(&self.waiting), self.queued)?;
        match timeout_at(deadline, Arc::clone(&self.running).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::Cancelled),
            Err(_) => Err(out_of_time()),
        }
    }
}

/// A place in the queue, given up when its holder gets in, gives up, or is dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(waiting: Arc<AtomicUsize>, queued: usize) -> Result<Self, Error> {
        let room = |count: usize| (count < queued).then_some(count + 1);
        match waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, room) {
            Ok(_) => Ok(Self(waiting)),
            Err(_) => Err(Error::Limit {
                limit: "queue limit",
                detail: format!("{queued} queries wait already; try again in a moment"),
            }),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn one_more_than_the_queue_holds_is_refused_and_the_first_in_line_goes_first() {
        let admission = Admission::new(1, 2);
        let later = Instant::now() + Duration::from_secs(5);
        let running = admission.admit(later).await.unwrap();
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for name in [1, 2] {
            let (admission, order) = (admission.clone(), Arc::clone(&order));
            waiting.push(tokio::spawn(async move {
                let permit = admission.admit(later).await.unwrap();
                order.lock().unwrap().push(name);
                drop(permit);
            }));
            tokio::task::yield_now().await;
        }
        assert!(matches!(admission.admit(later).await, Err(Error::Limit { limit: "queue limit", .. })));
        drop(running);
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [1, 2]);
        assert!(admission.admit(later).await.is_ok());
    }

    #[tokio::test]
    async fn waiting_ends_at_the_deadline() {
        let admission = Admission::new(1, 2);
        let soon = Instant::now() + Duration::from_millis(20);
        let _running = admission.admit(soon).await.unwrap();
        assert!(matches!(admission.admit(soon).await, Err(Error::Limit { limit: "time limit", .. })));
    }
}
