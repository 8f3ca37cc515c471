use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use datafusion::{
    common::{DataFusionError, Result},
    execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation},
};

/// One query's share of the memory of all: what it takes counts against its own limit first, then against the whole.
#[derive(Debug)]
pub(crate) struct QueryPool {
    whole: Arc<dyn MemoryPool>,
    limit_bytes: usize,
    used_bytes: AtomicUsize,
}

impl QueryPool {
    pub(crate) fn new(whole: Arc<dyn MemoryPool>, limit_bytes: usize) -> Self {
        Self { whole, limit_bytes, used_bytes: AtomicUsize::new(0) }
    }
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query({} of {} bytes)", self.reserved(), self.limit_bytes)
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &'static str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.whole.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.whole.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.used_bytes.fetch_add(additional, Ordering::Relaxed);
        self.whole.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.used_bytes.fetch_sub(shrink, Ordering::Relaxed);
        self.whole.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        if additional == 0 {
            // `grow` may have gone over the limit; asking for nothing is not what fails then.
            return Ok(());
        }
        let room = |used: usize| used.checked_add(additional).filter(|wanted| *wanted <= self.limit_bytes);
        self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).map_err(|used| {
            DataFusionError::ResourcesExhausted(format!(
                "{additional} bytes more than the {used} that the query has are over its {}",
                self.limit_bytes
            ))
        })?;
        self.whole.try_grow(reservation, additional).inspect_err(|_| {
            self.used_bytes.fetch_sub(additional, Ordering::Relaxed);
        })
    }

    fn reserved(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::execution::memory_pool::GreedyMemoryPool;

    #[test]
    fn a_query_can_take_neither_more_than_its_own_share_nor_more_than_the_whole() {
        let whole: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1_000));
        let first: Arc<dyn MemoryPool> = Arc::new(QueryPool::new(Arc::clone(&whole), 700));
        let second: Arc<dyn MemoryPool> = Arc::new(QueryPool::new(Arc::clone(&whole), 700));
        let one = MemoryConsumer::new("one").register(&first);
        let two = MemoryConsumer::new("two").register(&second);
        assert!(one.try_grow(701).is_err());
        one.try_grow(700).unwrap();
        assert!(two.try_grow(400).is_err());
        assert_eq!(second.reserved(), 0);
        two.try_grow(300).unwrap();
        drop((one, two));
        assert_eq!(whole.reserved(), 0);
    }
}
