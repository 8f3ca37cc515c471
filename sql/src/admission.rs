//! Lets few queries run at once. The others wait, and principals take turns: whoever asks a hundred at once waits with
//! ninety-nine of them while somebody else's first one goes.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mavis_types::{Role, TokenId};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use crate::{
    Error,
    limits::{Allowed, ByRole},
};

/// The one gate of an engine. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Admission(Arc<Gate>);

#[derive(Debug)]
struct Gate {
    concurrent: usize,
    queued: usize,
    limits: ByRole,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    of_role: HashMap<Role, usize>,
    of_principal: HashMap<TokenId, usize>,
    /// Principals that wait, whose turn is next first.
    turns: VecDeque<TokenId>,
    /// Their queries, first come first.
    lines: HashMap<TokenId, VecDeque<Waiting>>,
    waiting: usize,
    /// Numbers given to those that waited.
    given: u64,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    role: Role,
    turn: oneshot::Sender<Permit>,
}

/// The right to run, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Arc<Gate>,
    principal: TokenId,
    role: Role,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.running = state.running.saturating_sub(1);
        less(&mut state.of_role, self.role);
        less(&mut state.of_principal, self.principal);
        let next = self.gate.next(&mut state);
        self.gate.tell(&state, self.role);
        drop(state);
        hand_over(next);
    }
}

/// A permit that nobody waits for any more is given back by being dropped here, outside of the lock.
fn hand_over(permits: Vec<(oneshot::Sender<Permit>, Permit)>) {
    for (turn, permit) in permits {
        drop(turn.send(permit));
    }
}

fn less<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

impl Admission {
    /// `queued`: queries that may wait.
    pub(crate) fn new(concurrent: usize, queued: usize, limits: ByRole) -> Self {
        let state = Mutex::default();
        Self(Arc::new(Gate { concurrent: concurrent.max(1), queued, limits, state }))
    }

    /// Waits for the right to run.
    ///
    /// # Errors
    /// [`Error::Limit`] when too many wait already, or when the deadline passes while waiting.
    pub(crate) async fn admit(&self, allowed: &Allowed, deadline: Instant) -> Result<Permit, Error> {
        let gate = &self.0;
        let (place, turn) = {
            let mut state = gate.lock();
            // Whoever waits while there is room may not run: nobody is overtaken.
            if gate.has_room(&state, allowed.principal, allowed.role) {
                return Ok(gate.permit(&mut state, allowed.principal, allowed.role));
            }
            gate.wait(&mut state, allowed)?
        };
        let turn = timeout_at(deadline, turn).await;
        drop(place);
        match turn {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::Cancelled),
            Err(_) => Err(allowed.out_of_turn()),
        }
    }
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self, state: &State, principal: TokenId, role: Role) -> bool {
        let limits = self.limits.role(role);
        let below = |count: Option<&usize>, most: Option<usize>| {
            most.is_none_or(|most| count.copied().unwrap_or_default() < most.max(1))
        };
        state.running < self.concurrent
            && below(state.of_role.get(&role), limits.concurrent)
            && below(state.of_principal.get(&principal), limits.concurrent_each)
    }

    fn permit(self: &Arc<Self>, state: &mut State, principal: TokenId, role: Role) -> Permit {
        state.running += 1;
        *state.of_role.entry(role).or_default() += 1;
        *state.of_principal.entry(principal).or_default() += 1;
        self.tell(state, role);
        Permit { gate: Arc::clone(self), principal, role }
    }

    fn wait(
        self: &Arc<Self>,
        state: &mut State,
        allowed: &Allowed,
    ) -> Result<(Place, oneshot::Receiver<Permit>), Error> {
        let principal = allowed.principal;
        let own = state.lines.get(&principal).map_or(0, VecDeque::len);
        let free = self.queued.saturating_sub(state.waiting);
        // One principal takes half of the places and leaves the other half to all others, of whom each takes half again.
        if free == 0 || own > free {
            return Err(allowed.too_many_waiting(self.queued, own));
        }
        let number = state.given;
        state.given += 1;
        state.waiting += 1;
        let (turn, mine) = oneshot::channel();
        if own == 0 {
            state.turns.push_back(principal);
        }
        state.lines.entry(principal).or_default().push_back(Waiting { number, role: allowed.role, turn });
        self.tell(state, allowed.role);
        Ok((Place { gate: Arc::clone(self), principal, number }, mine))
    }

    /// Permits for those whose turn it is.
    fn next(self: &Arc<Self>, state: &mut State) -> Vec<(oneshot::Sender<Permit>, Permit)> {
        let mut next = Vec::new();
        while state.running < self.concurrent {
            let may = |principal: &&TokenId| {
                let role = state.lines.get(*principal).and_then(VecDeque::front).map(|waiting| waiting.role);
                role.is_some_and(|role| self.has_room(state, **principal, role))
            };
            let Some(principal) = state.turns.iter().find(may).copied() else { break };
            state.turns.retain(|one| *one != principal);
            let Some(line) = state.lines.get_mut(&principal) else { continue };
            let Some(first) = line.pop_front() else { continue };
            if line.is_empty() {
                state.lines.remove(&principal);
            } else {
                state.turns.push_back(principal);
            }
            state.waiting = state.waiting.saturating_sub(1);
            let permit = self.permit(state, principal, first.role);
            next.push((first.turn, permit));
        }
        next
    }

    fn tell(&self, state: &State, role: Role) {
        let running = state.of_role.get(&role).copied().unwrap_or_default();
        metrics::gauge!("mavis_sql_queries_running", "role" => role.as_str()).set(running as f64);
        metrics::gauge!("mavis_sql_queries_waiting").set(state.waiting as f64);
    }
}

/// A place in the queue, given up when its holder gets in, gives up, or is dropped.
struct Place {
    gate: Arc<Gate>,
    principal: TokenId,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        let Some(line) = state.lines.get_mut(&self.principal) else { return };
        let before = line.len();
        line.retain(|waiting| waiting.number != self.number);
        let gone = before - line.len();
        if line.is_empty() {
            state.lines.remove(&self.principal);
            state.turns.retain(|one| *one != self.principal);
        }
        state.waiting = state.waiting.saturating_sub(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, limits::RoleLimits};
    use std::time::Duration;

    fn gate(concurrent: usize, queued: usize, analyst: RoleLimits) -> (Admission, Allowed) {
        let limits = ByRole::new(Limits::default(), [(Role::Analyst, analyst)].into());
        let allowed = limits.of(TokenId::new(), Role::Analyst, None);
        (Admission::new(concurrent, queued, limits), allowed)
    }

    /// Lets somebody ask; what it is called is noted when it gets in.
    fn ask(
        admission: &Admission,
        allowed: Allowed,
        name: &'static str,
        order: &Arc<Mutex<Vec<&'static str>>>,
    ) -> tokio::task::JoinHandle<()> {
        let (admission, order) = (admission.clone(), Arc::clone(order));
        tokio::spawn(async move {
            let later = Instant::now() + Duration::from_secs(5);
            let permit = admission.admit(&allowed, later).await.unwrap();
            order.lock().unwrap().push(name);
            tokio::task::yield_now().await;
            drop(permit);
        })
    }

    #[tokio::test]
    async fn one_more_than_the_queue_holds_is_refused_and_the_first_in_line_goes_first() {
        let (admission, allowed) = gate(1, 2, RoleLimits::default());
        let later = Instant::now() + Duration::from_secs(5);
        let running = admission.admit(&allowed, later).await.unwrap();
        let order = Arc::default();
        let mut waiting = Vec::new();
        for name in ["first", "second"] {
            waiting.push(ask(&admission, allowed, name, &order));
            tokio::task::yield_now().await;
        }
        let refused = admission.admit(&allowed, later).await.unwrap_err();
        assert!(matches!(refused, Error::Limit { limit: "queue limit", .. }), "{refused}");
        assert!(refused.to_string().contains("`analyst`"), "{refused}");
        drop(running);
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), ["first", "second"]);
        assert!(admission.admit(&allowed, later).await.is_ok());
    }

    #[tokio::test]
    async fn principals_take_turns_and_nobody_fills_the_queue() {
        let (admission, allowed) = gate(1, 10, RoleLimits::default());
        let (greedy, modest) = (allowed, Allowed { principal: TokenId::new(), ..allowed });
        let later = Instant::now() + Duration::from_secs(5);
        let running = admission.admit(&greedy, later).await.unwrap();
        let order = Arc::default();
        let mut waiting = Vec::new();
        for _ in 0..6 {
            waiting.push(ask(&admission, greedy, "greedy", &order));
            tokio::task::yield_now().await;
        }
        assert!(admission.admit(&greedy, later).await.is_err(), "half of the queue is for others");
        for _ in 0..2 {
            waiting.push(ask(&admission, modest, "modest", &order));
            tokio::task::yield_now().await;
        }
        drop(running);
        for task in waiting {
            task.await.unwrap();
        }
        let order = order.lock().unwrap();
        assert_eq!(order[..4], ["greedy", "modest", "greedy", "modest"], "{order:?}");
    }

    #[tokio::test]
    async fn a_principal_and_a_role_run_no_more_than_they_may_and_hold_up_nobody() {
        let each = RoleLimits { concurrent: Some(2), concurrent_each: Some(1), ..RoleLimits::default() };
        let (admission, allowed) = gate(4, 10, each);
        let soon = || Instant::now() + Duration::from_millis(30);
        let [one, two, three] =
            [allowed.principal, TokenId::new(), TokenId::new()].map(|principal| Allowed { principal, ..allowed });
        let reader = Allowed { role: Role::Reader, ..three };
        let first = admission.admit(&one, soon()).await.unwrap();
        assert!(admission.admit(&one, soon()).await.is_err(), "one at once of one principal");
        let second = admission.admit(&two, soon()).await.unwrap();
        assert!(admission.admit(&three, soon()).await.is_err(), "two at once of the role");
        let other = admission.admit(&reader, soon()).await;
        assert!(other.is_ok(), "another role has its own");
        drop((first, other));
        assert!(admission.admit(&three, soon()).await.is_ok());
        drop(second);
    }

    #[tokio::test]
    async fn waiting_ends_at_the_deadline_and_leaves_no_trace() {
        let (admission, allowed) = gate(1, 1, RoleLimits::default());
        let soon = Instant::now() + Duration::from_millis(20);
        let running = admission.admit(&allowed, soon).await.unwrap();
        let late = admission.admit(&allowed, soon).await;
        assert!(matches!(late, Err(Error::Limit { limit: "time limit", .. })));
        let state = admission.0.lock();
        assert!(state.waiting == 0 && state.turns.is_empty() && state.lines.is_empty());
        drop(state);
        drop(running);
        let state = admission.0.lock();
        assert!(state.running == 0 && state.of_principal.is_empty() && state.of_role.is_empty());
    }
}
