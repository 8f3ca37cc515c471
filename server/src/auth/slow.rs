use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A peer's failures are forgotten after so long without another.
const FORGET: Duration = Duration::from_secs(60);
/// The delay of the first failure; it doubles with each further one.
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);
/// Peers remembered at once; beyond it the oldest are forgotten, so that a flood cannot fill the memory.
const PEERS: usize = 10_000;

/// Counts the failed logins of each peer.
#[derive(Debug, Default)]
pub(super) struct SlowDown {
    failures: Mutex<HashMap<Option<IpAddr>, (u32, Instant)>>,
}

impl SlowDown {
    /// Notes a failure and tells how long its answer should wait. Peers without a known address share one count.
    pub(super) fn failed(&self, peer: Option<IpAddr>) -> Duration {
        self.failed_at(peer, Instant::now())
    }

    fn failed_at(&self, peer: Option<IpAddr>, now: Instant) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= PEERS {
            failures.retain(|_, (_, last)| now.duration_since(*last) < FORGET);
            if failures.len() >= PEERS {
                failures.clear();
            }
        }
        let (count, last) = failures.entry(peer).or_insert((0, now));
        if now.duration_since(*last) >= FORGET {
            *count = 0;
        }
        *last = now;
        *count = count.saturating_add(1);
        FIRST.saturating_mul(1 << (*count - 1).min(10)).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_of_a_peer_waits_longer_until_it_is_forgotten() {
        let (slow, start) = (SlowDown::default(), Instant::now());
        let (one, two) = (Some(IpAddr::from([10, 0, 0, 1])), Some(IpAddr::from([10, 0, 0, 2])));
        let delays: Vec<_> = (0..9).map(|_| slow.failed_at(one, start)).collect();
        assert_eq!(delays[0], FIRST);
        assert_eq!(delays[1], FIRST * 2);
        assert_eq!(delays[8], LONGEST);
        assert_eq!(slow.failed_at(two, start), FIRST);
        assert_eq!(slow.failed_at(one, start + FORGET), FIRST);
    }
}
