use std::{collections::BTreeMap, str::FromStr};

use chrono_tz::Tz;
use croner::{
    Cron,
    parser::{CronParser, Seconds},
};
use mavis_connectors::{Selection, TableRef};
use serde::{Deserialize, Serialize};

use crate::Error;

/// When a source is read by itself. Serialised as JSON in the catalog and on the wire; unknown fields are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    pub when: When,
    /// What becomes of times that passed while no server ran, or while the run before was still going.
    #[serde(default)]
    pub missed: Missed,
    /// Each run is put off by up to so many seconds, which depend on the source and the time, so that a thousand sources with
    /// one plan do not begin at once. Default: 0.
    #[serde(default)]
    pub jitter_seconds: u64,
    /// Runs that may begin within any hour. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_runs_per_hour: Option<u32>,
    /// Pause after a failed run; it doubles with each failure that follows, up to `cool_down_max_seconds`. Default: 60.
    #[serde(default = "default_cool_down")]
    pub cool_down_seconds: u64,
    /// Default: 21600 (6 hours).
    #[serde(default = "default_cool_down_max")]
    pub cool_down_max_seconds: u64,
    /// Failures one after the other after which the schedule is disabled until somebody enables it; 0: never. Default: 10.
    #[serde(default = "default_disable_after")]
    pub disable_after: u32,
    /// Only these tables, as the source calls them; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
    /// Read again from the beginning and compare.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub full: bool,
    #[serde(default)]
    pub freshness: Freshness,
}

fn default_cool_down() -> u64 {
    60
}

fn default_cool_down_max() -> u64 {
    6 * 3600
}

fn default_disable_after() -> u32 {
    10
}

/// What begins a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum When {
    /// Nothing but a person.
    Manual,
    /// The five fields of cron (minute, hour, day of month, month, day of week), read on the clock of `zone`. A time that the
    /// clocks skip comes once, when they have skipped it; one that they show twice comes once, the first time. Where the
    /// hour is `*`, every hour that passes counts.
    Cron {
        cron: String,
        /// A name of the time zone database, such as `Africa/Lubumbashi`. Default: UTC.
        #[serde(default = "utc")]
        zone: String,
    },
    /// So long after the run before was planned to begin.
    Interval { seconds: u64 },
    /// The source is asked whether something changed, so often.
    OnChange { poll_seconds: u64 },
    /// Again at once while a run brings rows; after one that brings none, with this pause.
    Continuous {
        #[serde(default = "default_pause")]
        pause_seconds: u64,
    },
}

fn utc() -> String {
    "UTC".to_owned()
}

fn default_pause() -> u64 {
    5
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// One run for all of them.
    #[default]
    Once,
    /// A run for each, one after the other; of more than a hundred only the newest.
    All,
    /// None: the next time of the plan is waited for.
    Skip,
}

/// How old the rows of a table may be before they count as late.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Freshness {
    /// Of every table, in seconds; absent: nothing is expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Of tables by name or pattern (`*`, `?`), before `seconds`; the shortest where several fit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, u64>,
}

impl Freshness {
    /// Seconds that the rows of a table may be old.
    #[must_use]
    pub fn of(&self, table: &TableRef) -> Option<u64> {
        let fits = |pattern: &String| Selection { include: vec![pattern.clone()], exclude: Vec::new() }.takes(table);
        let named = self.tables.iter().filter(|(pattern, _)| fits(pattern)).map(|(_, seconds)| *seconds).min();
        named.or(self.seconds)
    }
}

impl ScheduleSpec {
    /// A schedule with everything else as it is by default.
    #[must_use]
    pub fn new(when: When) -> Self {
        Self {
            when,
            missed: Missed::default(),
            jitter_seconds: 0,
            max_runs_per_hour: None,
            cool_down_seconds: default_cool_down(),
            cool_down_max_seconds: default_cool_down_max(),
            disable_after: default_disable_after(),
            tables: Vec::new(),
            full: false,
            freshness: Freshness::default(),
        }
    }

    /// # Errors
    /// [`Error::Invalid`] with what is wrong: an expression that is none, a zone that there is not, a pause of nothing.
    pub fn check(&self) -> Result<(), Error> {
        let invalid = |reason: String| Error::Invalid { reason };
        match &self.when {
            When::Manual | When::Continuous { .. } => {}
            When::Cron { cron: text, zone: name } => {
                cron(text).and_then(|_| zone(name)).map(drop).map_err(invalid)?;
            }
            When::Interval { seconds } | When::OnChange { poll_seconds: seconds } if *seconds == 0 => {
                return Err(invalid("a schedule needs a pause of at least one second".to_owned()));
            }
            When::Interval { .. } | When::OnChange { .. } => {}
        }
        if self.max_runs_per_hour == Some(0) {
            return Err(invalid("`max_runs_per_hour` is 0: nothing would ever run; use `manual`".to_owned()));
        }
        // A year, so that times stay times.
        let longest = 366 * 86_400;
        let times = [self.jitter_seconds, self.cool_down_seconds, self.cool_down_max_seconds];
        let pauses = match self.when {
            When::Interval { seconds }
            | When::OnChange { poll_seconds: seconds }
            | When::Continuous { pause_seconds: seconds } => seconds,
            When::Manual | When::Cron { .. } => 0,
        };
        if times.into_iter().chain([pauses]).any(|seconds| seconds > longest) {
            return Err(invalid("no pause of a schedule may be longer than a year".to_owned()));
        }
        Ok(())
    }
}

pub(super) fn cron(text: &str) -> Result<Cron, String> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).build();
    parser.parse(text).map_err(|error| {
        format!("`{text}` is no cron expression ({error}): write minute, hour, day of month, month, day of week")
    })
}

pub(super) fn zone(name: &str) -> Result<Tz, String> {
    Tz::from_str(name)
        .map_err(|_| format!("there is no time zone `{name}`: write a name such as `Europe/Berlin` or `UTC`"))
}
