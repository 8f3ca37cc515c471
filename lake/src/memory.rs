use std::{fmt, sync::Arc};

use datafusion::{
    common::Result,
    execution::memory_pool::{FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation},
};

/// One session's share of the memory of all: what it takes counts against its own limit first, then against the whole.
///
/// Within the session the operators that can spill share evenly: the first sort of a plan must not take what the second
/// one needs to begin.
#[derive(Debug)]
pub(crate) struct ChildPool {
    whole: Arc<dyn MemoryPool>,
    own: FairSpillPool,
    limit_bytes: usize,
}

impl ChildPool {
    pub(crate) fn new(whole: Arc<dyn MemoryPool>, limit_bytes: usize) -> Self {
        Self { whole, own: FairSpillPool::new(limit_bytes), limit_bytes }
    }
}

impl fmt::Display for ChildPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mavis_child({} of {} bytes)", self.reserved(), self.limit_bytes)
    }
}

impl MemoryPool for ChildPool {
    fn name(&self) -> &'static str {
        "mavis_child"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own.register(consumer);
        self.whole.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
        self.whole.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own.grow(reservation, additional);
        self.whole.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.whole.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.own.try_grow(reservation, additional)?;
        self.whole.try_grow(reservation, additional).inspect_err(|_| self.own.shrink(reservation, additional))
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
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
    fn a_session_can_take_neither_more_than_its_own_share_nor_more_than_the_whole() {
        let whole: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1_000));
        let first: Arc<dyn MemoryPool> = Arc::new(ChildPool::new(Arc::clone(&whole), 700));
        let second: Arc<dyn MemoryPool> = Arc::new(ChildPool::new(Arc::clone(&whole), 700));
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
