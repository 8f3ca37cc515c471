use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A peer's failures are forgotten after so long without another.
const FORGET: Duration = Duration::from_secs(60);
/// The delay of the first failure; it doubles with each further one.
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);
/// Peers remembered at once, so that a flood cannot fill the memory.
const PEERS: usize = 10_000;
/// Failures of one peer whose answers wait at once; more are answered without waiting.
const WAITING: usize = 100;
/// Failures are told again, as a number, after so long.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Counts the failed logins of each peer.
#[derive(Debug, Default)]
pub(super) struct SlowDown {
    failures: Mutex<HashMap<Peer, Failures>>,
}

/// Whose failures are counted together: an address, of IPv6 a network of 64 bits, for one machine has as many addresses as it
/// likes in it. Peers without a known address share one count, and so do those for whom there was no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Peer {
    Network(IpAddr),
    Unknown,
    Others,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    last: Instant,
    waiting: usize,
    /// Failures that the audit has no line of yet, at which door the last of them was, and when it was last told.
    untold: u64,
    door: &'static str,
    told: Instant,
}

/// What to do about a failed login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failed {
    /// Wait before answering.
    pub(super) delay: Duration,
    /// How many failures the audit is told of now.
    pub(super) tell: Option<u64>,
}

/// Failures that were not told yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Untold {
    pub(super) peer: String,
    pub(super) door: &'static str,
    pub(super) count: u64,
}

impl Peer {
    fn of(peer: Option<IpAddr>) -> Self {
        match peer.map(|peer| peer.to_canonical()) {
            None => Self::Unknown,
            Some(IpAddr::V6(address)) => {
                let [a, b, c, d, ..] = address.segments();
                Self::Network(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
            Some(address) => Self::Network(address),
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Network(address @ IpAddr::V4(_)) => write!(f, "{address}"),
            Self::Network(address) => write!(f, "{address}/64"),
            Self::Unknown => f.write_str("unknown"),
            Self::Others => f.write_str("others"),
        }
    }
}

impl SlowDown {
    /// Notes a failure. [`SlowDown::answered`] follows once its answer has waited.
    pub(super) fn failed(&self, peer: Option<IpAddr>, door: &'static str) -> Failed {
        self.failed_at(peer, door, Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Peer, Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed_at(&self, peer: Option<IpAddr>, door: &'static str, now: Instant) -> Failed {
        let mut failures = self.lock();
        let mut peer = Peer::of(peer);
        if failures.len() >= PEERS && !failures.contains_key(&peer) {
            let is_over = |one: &Failures| {
                now.saturating_duration_since(one.last) >= FORGET && one.untold == 0 && one.waiting == 0
            };
            failures.retain(|_, one| !is_over(one));
            if failures.len() >= PEERS {
                peer = Peer::Others;
            }
        }
        let new = Failures { count: 0, last: now, waiting: 0, untold: 0, door, told: now };
        let known = failures.contains_key(&peer);
        let one = failures.entry(peer).or_insert(new);
        if now.saturating_duration_since(one.last) >= FORGET {
            one.count = 0;
        }
        (one.last, one.door) = (now, door);
        one.count = one.count.saturating_add(1);
        one.untold += 1;
        let mut tell = None;
        // The first is told at once, the next ones as a number.
        if !known || now.saturating_duration_since(one.told) >= TOLD_EVERY {
            tell = Some(std::mem::take(&mut one.untold));
            one.told = now;
        }
        let mut delay = FIRST.saturating_mul(1 << (one.count - 1).min(10)).min(LONGEST);
        if one.waiting >= WAITING {
            delay = Duration::ZERO;
        } else {
            one.waiting += 1;
        }
        Failed { delay, tell }
    }

    /// The answer to a failure has waited.
    pub(super) fn answered(&self, peer: Option<IpAddr>) {
        let mut failures = self.lock();
        let peer = Peer::of(peer);
        let known = if failures.contains_key(&peer) { peer } else { Peer::Others };
        if let Some(one) = failures.get_mut(&known) {
            one.waiting = one.waiting.saturating_sub(1);
        }
    }

    /// Failures that the audit should have a line of by now; with `all` those of the last moments too.
    pub(super) fn untold(&self, all: bool) -> Vec<Untold> {
        self.untold_at(all, Instant::now())
    }

    fn untold_at(&self, all: bool, now: Instant) -> Vec<Untold> {
        let mut untold = Vec::new();
        let mut failures = self.lock();
        for (peer, one) in failures.iter_mut() {
            if one.untold > 0 && (all || now.saturating_duration_since(one.told) >= TOLD_EVERY) {
                let count = std::mem::take(&mut one.untold);
                untold.push(Untold { peer: peer.to_string(), door: one.door, count });
                one.told = now;
            }
        }
        failures.retain(|_, one| now.saturating_duration_since(one.last) < FORGET || one.untold > 0 || one.waiting > 0);
        untold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_of_a_peer_waits_longer_until_it_is_forgotten() {
        let (slow, start) = (SlowDown::default(), Instant::now());
        let (one, two) = (Some(IpAddr::from([10, 0, 0, 1])), Some(IpAddr::from([10, 0, 0, 2])));
        let delay = |peer, at| slow.failed_at(peer, "http", at).delay;
        let delays: Vec<_> = (0..9).map(|_| delay(one, start)).collect();
        assert_eq!(delays[0], FIRST);
        assert_eq!(delays[1], FIRST * 2);
        assert_eq!(delays[8], LONGEST);
        assert_eq!(delay(two, start), FIRST);
        assert_eq!(delay(one, start + FORGET), FIRST);
    }

    #[test]
    fn addresses_of_one_network_are_one_peer() {
        let (slow, start) = (SlowDown::default(), Instant::now());
        let delay = |text: &str| slow.failed_at(Some(text.parse().unwrap()), "http", start).delay;
        assert_eq!(delay("2001:db8:1:2::1"), FIRST);
        assert_eq!(delay("2001:db8:1:2:ffff::9"), FIRST * 2);
        assert_eq!(delay("2001:db8:1:3::1"), FIRST);
        assert_eq!(delay("10.0.0.1"), FIRST);
        assert_eq!(delay("::ffff:10.0.0.1"), FIRST * 2, "IPv4 in the clothes of IPv6");
    }

    #[test]
    fn a_flood_fills_neither_the_memory_nor_the_audit() {
        let (slow, start) = (SlowDown::default(), Instant::now());
        let mut lines = 0;
        for n in 0..50_000_u32 {
            let peer = IpAddr::from((n | 0x0a00_0000).to_be_bytes());
            let failed = slow.failed_at(Some(peer), "http", start);
            lines += usize::from(failed.tell.is_some());
            slow.answered(Some(peer));
        }
        assert!(slow.lock().len() <= PEERS + 1 && lines <= PEERS + 1, "{lines} lines");
        let one = Some(IpAddr::from([10, 0, 0, 1]));
        let told: Vec<_> = (0..1_000).map(|_| slow.failed_at(one, "flight", start).tell).collect();
        assert_eq!(told.iter().flatten().count(), 0, "told once already");
        assert_eq!(slow.failed_at(one, "flight", start + TOLD_EVERY).tell, Some(1_001));
        assert!(slow.lock()[&Peer::of(one)].waiting <= WAITING);
        let untold = slow.untold_at(true, start);
        assert_eq!(untold.iter().map(|one| one.count).sum::<u64>(), 50_000 - lines as u64);
        slow.failed_at(one, "http", start);
        let peer = "10.0.0.1".to_owned();
        assert_eq!(slow.untold_at(true, start), [Untold { peer, door: "http", count: 1 }]);
    }
}
