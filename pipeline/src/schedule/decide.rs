//! What is to be done about a schedule: pure functions of the declaration, of where it stands, and of a moment. Whoever asks
//! twice gets one answer, and the run of a time of the plan has one id, whichever server begins it.

use chrono::{DateTime, Duration, Utc};
use mavis_catalog::ScheduleState;
use mavis_types::{RunId, SourceId};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    plan::{next, seconds_of},
    spec::{Missed, ScheduleSpec, When},
};

/// How late a time of the plan may be found and still count as kept: a look at the schedules takes a moment.
const GRACE: Duration = Duration::seconds(60);
/// Missed times that are made up for, at most.
const MADE_UP: usize = 100;

/// What is to be done about a schedule that is due.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Due {
    /// Nothing now; the new state says when, the text why.
    Wait(ScheduleState, Option<String>),
    /// The source is asked whether something changed.
    Ask(ScheduleState),
    /// A run begins.
    Fire(ScheduleState),
}

/// Where a schedule stands that was declared or enabled at `now`.
pub(super) fn begin(spec: &ScheduleSpec, source: SourceId, now: DateTime<Utc>) -> Result<ScheduleState, String> {
    // What counts from a beginning begins now; a time on the wall is waited for.
    let planned = match spec.when {
        When::Manual => None,
        When::Cron { .. } => next(spec, now, now)?,
        When::Interval { .. } | When::OnChange { .. } | When::Continuous { .. } => Some(now),
    };
    Ok(ScheduleState {
        next_at: planned.map(|at| at + jitter(spec, source, at)),
        planned_at: planned,
        decided_at: now,
        last_run: None,
        fired_at: None,
        settled: true,
        failures: 0,
        recent: Vec::new(),
        disabled_at: None,
        disabled_reason: None,
    })
}

/// What to do about a schedule whose time has come.
pub(super) fn due(
    spec: &ScheduleSpec,
    source: SourceId,
    before: &ScheduleState,
    now: DateTime<Utc>,
) -> Result<Due, String> {
    let planned = before.planned_at.unwrap_or(now);
    let mut recent = before.recent.clone();
    recent.retain(|at| *at > now - Duration::hours(1) && *at <= now);
    let state = ScheduleState { recent, decided_at: now, ..before.clone() };
    let full = spec.max_runs_per_hour.and_then(|most| {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        state.recent.len().checked_sub(most).and_then(|over| state.recent.get(over).copied())
    });
    if let Some(oldest) = full {
        let wait = ScheduleState { next_at: Some(oldest + Duration::hours(1)), ..state };
        return Ok(Due::Wait(wait, Some(format!("{} runs within the hour", spec.max_runs_per_hour.unwrap_or(0)))));
    }
    let asks = match spec.when {
        When::OnChange { .. } => true,
        // After a run that brought rows there may be more: the next one begins without asking.
        When::Continuous { .. } => before.planned_at != Some(before.decided_at),
        _ => false,
    };
    if asks {
        let planned = next(spec, now, planned)?;
        return Ok(Due::Ask(at(spec, source, state, planned)));
    }
    if spec.missed == Missed::Skip && now - planned > GRACE + seconds_of(spec.jitter_seconds) {
        let planned_next = next(spec, now, planned)?;
        let told = format!("the run planned for {} is skipped: it is past", planned.format("%Y-%m-%d %H:%M:%S UTC"));
        return Ok(Due::Wait(at(spec, source, state, planned_next), Some(told)));
    }
    if spec.missed == Missed::All {
        let passed = passed(spec, planned, now)?;
        let planned = passed.first().copied().unwrap_or(planned);
        let after = next(spec, planned, planned)?;
        return Ok(Due::Fire(fired(spec, source, state, planned, after, now)));
    }
    let after = next(spec, now, planned)?;
    Ok(Due::Fire(fired(spec, source, state, planned, after, now)))
}

/// The state of a schedule whose source was found changed.
pub(super) fn changed(source: SourceId, state: &ScheduleState, now: DateTime<Utc>) -> ScheduleState {
    let mut recent = state.recent.clone();
    recent.push(now);
    ScheduleState {
        last_run: Some(run_id(source, now)),
        fired_at: Some(now),
        settled: false,
        recent,
        decided_at: now,
        ..state.clone()
    }
}

/// How a run ended, as far as its schedule cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Done {
        rows: u64,
    },
    Failed,
    /// Somebody ended it.
    Cancelled,
    /// A retry took its place.
    Retried(RunId),
}

/// Takes account of how the last run ended. The text: why the schedule is disabled from now on.
pub(super) fn ended(spec: &ScheduleSpec, state: &ScheduleState, how: Ended, now: DateTime<Utc>) -> ScheduleState {
    let mut state = ScheduleState { settled: true, decided_at: now, ..state.clone() };
    match how {
        Ended::Retried(child) => {
            state.last_run = Some(child);
            state.settled = false;
        }
        Ended::Done { rows } => {
            state.failures = 0;
            if let When::Continuous { .. } = spec.when {
                let pause = if rows > 0 { Duration::zero() } else { pause_of(spec) };
                put(&mut state, now + pause);
            }
        }
        Ended::Cancelled => {
            if let When::Continuous { .. } = spec.when {
                put(&mut state, now + pause_of(spec));
            }
        }
        Ended::Failed => {
            state.failures = state.failures.saturating_add(1);
            let not_before = now + cool_down(spec, state.failures);
            state.next_at = state.next_at.map(|at| at.max(not_before));
            if spec.disable_after > 0 && state.failures >= spec.disable_after {
                state.disabled_at = Some(now);
                state.disabled_reason = Some(format!("{} runs failed one after the other", state.failures));
            }
        }
    }
    state
}

/// The state after the clock was put back: what was decided by times that have not come yet is decided again.
pub(super) fn put_back(
    spec: &ScheduleSpec,
    source: SourceId,
    state: &ScheduleState,
    now: DateTime<Utc>,
) -> Result<ScheduleState, String> {
    let planned = match spec.when {
        When::Manual => None,
        When::Cron { .. } => next(spec, now, now)?,
        When::Interval { .. } | When::OnChange { .. } | When::Continuous { .. } => Some(now),
    };
    let recent = state.recent.iter().map(|at| (*at).min(now)).collect();
    Ok(ScheduleState { recent, decided_at: now, ..at(spec, source, state.clone(), planned) })
}

fn at(spec: &ScheduleSpec, source: SourceId, state: ScheduleState, planned: Option<DateTime<Utc>>) -> ScheduleState {
    ScheduleState {
        next_at: planned.map(|planned| planned + jitter(spec, source, planned)),
        planned_at: planned,
        ..state
    }
}

fn put(state: &mut ScheduleState, moment: DateTime<Utc>) {
    state.next_at = Some(moment);
    state.planned_at = Some(moment);
}

fn pause_of(spec: &ScheduleSpec) -> Duration {
    match spec.when {
        When::Continuous { pause_seconds } => seconds_of(pause_seconds),
        _ => Duration::zero(),
    }
}

fn fired(
    spec: &ScheduleSpec,
    source: SourceId,
    state: ScheduleState,
    planned: DateTime<Utc>,
    after: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> ScheduleState {
    let mut recent = state.recent.clone();
    recent.push(now);
    let state = ScheduleState {
        last_run: Some(run_id(source, planned)),
        fired_at: Some(now),
        settled: false,
        recent,
        decided_at: now,
        ..state
    };
    at(spec, source, state, after)
}

/// Times of the plan from `planned` until `now`, the newest of them where there are too many.
fn passed(spec: &ScheduleSpec, planned: DateTime<Utc>, now: DateTime<Utc>) -> Result<Vec<DateTime<Utc>>, String> {
    if let When::Interval { seconds } = spec.when {
        let every = seconds_of(seconds).num_milliseconds().max(1);
        let many = (now - planned).num_milliseconds().max(0) / every;
        let first = (many + 1 - i64::try_from(MADE_UP).unwrap_or(i64::MAX)).max(0);
        return Ok((first..=many).map(|n| planned + Duration::milliseconds(n * every)).collect());
    }
    let mut times = std::collections::VecDeque::from([planned]);
    let mut last = planned;
    while let Some(at) = next(spec, last, planned)?.filter(|at| *at <= now) {
        times.push_back(at);
        if times.len() > MADE_UP {
            times.pop_front();
        }
        last = at;
    }
    Ok(times.into())
}

/// The pause after so many failures.
fn cool_down(spec: &ScheduleSpec, failures: u32) -> Duration {
    let most = spec.cool_down_max_seconds.max(spec.cool_down_seconds);
    let doubled = 1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX);
    seconds_of(spec.cool_down_seconds.saturating_mul(doubled).min(most))
}

/// By how much a time of the plan is put off: the same for every server that asks.
fn jitter(spec: &ScheduleSpec, source: SourceId, planned: DateTime<Utc>) -> Duration {
    let most = spec.jitter_seconds.saturating_mul(1_000);
    if most == 0 {
        return Duration::zero();
    }
    let seed = format!("{source}/{}", planned.timestamp_micros());
    Duration::milliseconds(i64::try_from(xxh3_64(seed.as_bytes()) % (most + 1)).unwrap_or(0))
}

/// The run of a time of the plan.
pub(super) fn run_id(source: SourceId, planned: DateTime<Utc>) -> RunId {
    let name = format!("schedule/{source}/{}", planned.timestamp_micros());
    RunId::from_uuid(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn every(seconds: u64) -> ScheduleSpec {
        ScheduleSpec::new(When::Interval { seconds })
    }

    fn daily() -> ScheduleSpec {
        ScheduleSpec::new(When::Cron { cron: "0 2 * * *".to_owned(), zone: "UTC".to_owned() })
    }

    fn source() -> SourceId {
        SourceId::from_uuid(Uuid::from_u128(7))
    }

    fn fire(spec: &ScheduleSpec, state: &ScheduleState, now: DateTime<Utc>) -> ScheduleState {
        match due(spec, source(), state, now).unwrap() {
            Due::Fire(state) => state,
            other => panic!("no run: {other:?}"),
        }
    }

    #[test]
    fn an_interval_begins_at_once_and_keeps_its_beat() {
        let began = at("2026-05-01T10:00:00Z");
        let state = begin(&every(600), source(), began).unwrap();
        assert_eq!(state.next_at, Some(began));
        // Found two seconds late: the next one is not late for that.
        let state = fire(&every(600), &state, at("2026-05-01T10:00:02Z"));
        assert_eq!(state.next_at, Some(at("2026-05-01T10:10:00Z")));
        assert_eq!(state.last_run, Some(run_id(source(), began)));
    }

    #[rstest]
    #[case(Missed::Once, &["2026-05-02T02:00:00Z"], "2026-05-05T02:00:00Z")]
    #[case(Missed::All, &["2026-05-02T02:00:00Z", "2026-05-03T02:00:00Z", "2026-05-04T02:00:00Z"], "2026-05-05T02:00:00Z")]
    #[case(Missed::Skip, &[], "2026-05-05T02:00:00Z")]
    fn times_that_passed_while_nobody_looked(#[case] missed: Missed, #[case] runs: &[&str], #[case] then: &str) {
        let spec = ScheduleSpec { missed, ..daily() };
        let mut state = begin(&spec, source(), at("2026-05-01T12:00:00Z")).unwrap();
        let now = at("2026-05-04T09:00:00Z");
        let mut begun = Vec::new();
        while state.next_at.is_some_and(|next| next <= now) {
            state = match due(&spec, source(), &state, now).unwrap() {
                Due::Fire(fired) => {
                    begun.push(fired.last_run.unwrap());
                    ended(&spec, &fired, Ended::Done { rows: 1 }, now)
                }
                Due::Wait(state, _) | Due::Ask(state) => state,
            };
        }
        assert_eq!(begun, runs.iter().map(|run| run_id(source(), at(run))).collect::<Vec<_>>());
        assert_eq!(state.next_at, Some(at(then)));
    }

    #[test]
    fn of_very_many_missed_times_only_the_newest_are_made_up_for() {
        let spec = ScheduleSpec { missed: Missed::All, ..every(60) };
        let state = begin(&spec, source(), at("2026-01-01T00:00:00Z")).unwrap();
        let state = fire(&spec, &state, at("2026-02-01T00:00:00Z"));
        assert_eq!(state.last_run, Some(run_id(source(), at("2026-01-31T22:21:00Z"))));
        let spec = ScheduleSpec {
            missed: Missed::All,
            ..ScheduleSpec::new(When::Cron { cron: "* * * * *".into(), zone: "UTC".into() })
        };
        let state = ScheduleState { planned_at: Some(at("2026-01-31T00:00:00Z")), ..state };
        let state = fire(&spec, &state, at("2026-02-01T00:00:00Z"));
        assert_eq!(state.last_run, Some(run_id(source(), at("2026-01-31T22:21:00Z"))));
    }

    #[test]
    fn no_more_runs_begin_within_an_hour_than_are_allowed() {
        let spec = ScheduleSpec { max_runs_per_hour: Some(2), ..every(60) };
        let mut state = begin(&spec, source(), at("2026-05-01T10:00:00Z")).unwrap();
        for now in ["2026-05-01T10:00:00Z", "2026-05-01T10:01:00Z"] {
            state = ended(&spec, &fire(&spec, &state, at(now)), Ended::Done { rows: 1 }, at(now));
        }
        let Due::Wait(state, why) = due(&spec, source(), &state, at("2026-05-01T10:02:00Z")).unwrap() else {
            panic!("a third run begins");
        };
        assert_eq!(state.next_at, Some(at("2026-05-01T11:00:00Z")));
        assert!(why.unwrap().contains("2 runs"));
        fire(&spec, &state, at("2026-05-01T11:00:01Z"));
    }

    #[test]
    fn failures_cool_down_ever_longer_and_disable_in_the_end() {
        let spec = ScheduleSpec { cool_down_seconds: 60, cool_down_max_seconds: 150, disable_after: 4, ..every(1) };
        let mut now = at("2026-05-01T10:00:00Z");
        let mut state = begin(&spec, source(), now).unwrap();
        let mut pauses = Vec::new();
        for _ in 0..4 {
            state = ended(&spec, &fire(&spec, &state, now), Ended::Failed, now);
            pauses.push((state.next_at.unwrap() - now).num_seconds());
            now = state.next_at.unwrap();
        }
        assert_eq!(pauses, [60, 120, 150, 150]);
        assert_eq!((state.failures, state.disabled_reason.as_deref()), (4, Some("4 runs failed one after the other")));
        let never = ScheduleSpec { disable_after: 0, ..spec.clone() };
        assert!(ended(&never, &state, Ended::Failed, now).disabled_reason.is_none() || state.disabled_at.is_some());
        let well = ended(&spec, &ScheduleState { failures: 3, ..state }, Ended::Done { rows: 0 }, now);
        assert_eq!(well.failures, 0);
    }

    #[test]
    fn a_continuous_schedule_goes_on_at_once_while_there_is_something() {
        let spec = ScheduleSpec::new(When::Continuous { pause_seconds: 30 });
        let now = at("2026-05-01T10:00:00Z");
        let state = fire(&spec, &begin(&spec, source(), now).unwrap(), now);
        let end = at("2026-05-01T10:00:07Z");
        assert_eq!(ended(&spec, &state, Ended::Done { rows: 3 }, end).next_at, Some(end));
        let idle = ended(&spec, &state, Ended::Done { rows: 0 }, end);
        assert_eq!(idle.next_at, Some(at("2026-05-01T10:00:37Z")));
        let then = at("2026-05-01T10:00:37Z");
        let Due::Ask(asked) = due(&spec, source(), &idle, then).unwrap() else { panic!("it is not asked first") };
        assert_eq!(asked.next_at, Some(at("2026-05-01T10:01:07Z")));
        assert_ne!(changed(source(), &asked, then).last_run, state.last_run);
    }

    #[test]
    fn a_clock_that_jumps_forward_brings_one_run_and_back_none_twice() {
        let state = begin(&daily(), source(), at("2026-05-01T01:00:00Z")).unwrap();
        let fired = fire(&daily(), &state, at("2026-05-01T02:00:00Z"));
        let settled = ended(&daily(), &fired, Ended::Done { rows: 1 }, at("2026-05-01T02:05:00Z"));
        // Ten days forward: one run, then back to the day it was.
        let jumped = fire(&daily(), &settled, at("2026-05-11T02:05:00Z"));
        let back = put_back(
            &daily(),
            source(),
            &ended(&daily(), &jumped, Ended::Done { rows: 0 }, at("2026-05-11T02:06:00Z")),
            at("2026-05-01T02:06:00Z"),
        )
        .unwrap();
        assert_eq!(back.next_at, Some(at("2026-05-02T02:00:00Z")));
        // An hour back over the time of the plan: it comes again, and its run is the one that there was.
        let again = put_back(&daily(), source(), &settled, at("2026-05-01T01:30:00Z")).unwrap();
        assert_eq!(fire(&daily(), &again, at("2026-05-01T02:00:00Z")).last_run, fired.last_run);
    }

    #[test]
    fn jitter_spreads_sources_and_is_the_same_for_every_server() {
        let spec = ScheduleSpec { jitter_seconds: 600, ..daily() };
        let planned = at("2026-05-02T02:00:00Z");
        let of = |n: u128| jitter(&spec, SourceId::from_uuid(Uuid::from_u128(n)), planned).num_seconds();
        let all: std::collections::BTreeSet<i64> = (0..100).map(of).collect();
        assert!(all.len() > 80 && all.iter().all(|seconds| (0..=600).contains(seconds)), "{all:?}");
        assert_eq!(of(3), of(3));
    }

    #[test]
    fn a_manual_schedule_is_never_due() {
        let state = begin(&ScheduleSpec::new(When::Manual), source(), at("2026-05-01T01:00:00Z")).unwrap();
        assert_eq!(state.next_at, None);
    }
}
