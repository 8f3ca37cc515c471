//! A run as it goes: bars on a terminal, lines elsewhere.

use std::{
    collections::HashMap,
    io::{self, IsTerminal},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use mavis_proto::v1::{self as pb, ingest_service_client::IngestServiceClient, run_event::Event};
use serde_json::{Value, json};

use super::{
    Failure,
    client::Door,
    output::{Format, Table, optional, state_word},
};

/// Shows events as they come.
#[derive(Debug)]
pub(crate) struct Screen {
    bars: Option<MultiProgress>,
    units: HashMap<(String, String), Unit>,
    state: pb::RunState,
    error: String,
}

#[derive(Debug)]
struct Unit {
    bar: Option<ProgressBar>,
    state: String,
}

impl Screen {
    /// Bars where standard error is a terminal.
    pub(crate) fn new() -> Self {
        Self {
            bars: io::stderr().is_terminal().then(MultiProgress::new),
            units: HashMap::new(),
            state: pb::RunState::Unspecified,
            error: String::new(),
        }
    }

    pub(crate) fn show(&mut self, event: pb::RunEvent) {
        match event.event {
            Some(Event::State(change)) => {
                self.state = change.state();
                self.error = change.error;
                if self.bars.is_none() {
                    eprintln!("run {}", state_word(self.state).replace('_', " "));
                }
            }
            Some(Event::Unit(unit)) => self.unit(unit),
            Some(Event::Log(line)) => {
                let level = match line.level() {
                    pb::LogLevel::Warn => "warning: ",
                    pb::LogLevel::Error => "error: ",
                    pb::LogLevel::Info | pb::LogLevel::Unspecified => "",
                };
                self.line(&format!("{level}{}", line.message));
            }
            None => {}
        }
    }

    fn line(&self, text: &str) {
        match &self.bars {
            // A terminal that is gone is nobody's to tell.
            Some(bars) => drop(bars.println(text)),
            None => eprintln!("{text}"),
        }
    }

    fn unit(&mut self, unit: pb::RunUnit) {
        let counts = unit.counts.unwrap_or_default();
        let name = format!("{} {}", unit.step, unit.table);
        let over = !matches!(unit.state.as_str(), "pending" | "running");
        let bars = self.bars.as_ref();
        let shown = self.units.entry((unit.step.clone(), unit.table.clone())).or_insert_with(|| Unit {
            bar: bars.map(|bars| bars.add(bar(&name, unit.expected_rows))),
            state: String::new(),
        });
        let words = summary(&counts);
        if let Some(bar) = &shown.bar {
            bar.set_position(counts.read);
            bar.set_message(words);
            if over {
                bar.finish_with_message(format!("{} {}", summary(&counts), mark(&unit.state)));
            }
        } else if shown.state != unit.state {
            if over {
                eprintln!("{name}: {}, {words}, {:.1} s", unit.state, unit.seconds);
            } else {
                eprintln!("{name}: {}", unit.state);
            }
        }
        shown.state = unit.state;
    }

    /// How the run ended: done, or the failure that the exit code tells.
    pub(super) fn outcome(self, run: &str) -> Result<(), Failure> {
        self.ended().map_err(|message| Failure::failed(format!("run {run} {message}")))
    }

    /// How the run ended, in words where it did not go well.
    pub(crate) fn ended(self) -> Result<(), String> {
        let reason = if self.error.is_empty() { String::new() } else { format!(": {}", self.error) };
        match self.state {
            pb::RunState::Completed | pb::RunState::CompletedWithWarnings => Ok(()),
            pb::RunState::Unspecified | pb::RunState::Pending | pb::RunState::Running => {
                Err("is still under way, but the server stopped telling: watch it again".to_owned())
            }
            state => Err(format!("is {}{reason}", state_word(state).replace('_', " "))),
        }
    }
}

fn mark(state: &str) -> &str {
    if state == "completed" { "done" } else { state }
}

fn summary(counts: &pb::Counts) -> String {
    let parts = [
        (counts.inserted, "new"),
        (counts.updated, "changed"),
        (counts.unchanged, "unchanged"),
        (counts.deduplicated, "duplicates"),
        (counts.quarantined, "quarantined"),
        (counts.deleted, "deleted"),
    ];
    let mut text = format!("{} rows", counts.read);
    for (count, word) in parts.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!(", {count} {word}"));
    }
    text
}

fn bar(name: &str, expected: Option<u64>) -> ProgressBar {
    let (bar, template) = match expected {
        Some(rows) if rows > 0 => (ProgressBar::new(rows), "{prefix:44} {bar:24} {percent:>3}% {msg} {elapsed}"),
        _ => (ProgressBar::new_spinner(), "{prefix:44} {spinner} {msg} {elapsed}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Watches a run to its end, then writes what became of each table.
pub(super) async fn to_end(
    client: &mut IngestServiceClient<Door>,
    run_id: &str,
    format: Format,
) -> Result<(), Failure> {
    eprintln!("run {run_id}");
    let mut events = client.watch_run(pb::WatchRunRequest { run_id: run_id.to_owned() }).await?.into_inner();
    let mut screen = Screen::new();
    while let Some(answer) = events.message().await? {
        if let Some(event) = answer.event {
            screen.show(event);
        }
    }
    let run = client.get_run(pb::GetRunRequest { run_id: run_id.to_owned() }).await?.into_inner();
    units(&run.units).print(format)?;
    screen.outcome(run_id)
}

/// The units of a run as rows.
pub(super) fn units(units: &[pb::RunUnit]) -> Table {
    let mut table = Table::new([
        "table",
        "step",
        "state",
        "read",
        "inserted",
        "updated",
        "unchanged",
        "deduplicated",
        "quarantined",
        "deleted",
        "seconds",
        "error",
    ]);
    for unit in units {
        let counts = unit.counts.unwrap_or_default();
        table.push([
            json!(unit.table),
            json!(unit.step),
            json!(unit.state),
            json!(counts.read),
            json!(counts.inserted),
            json!(counts.updated),
            json!(counts.unchanged),
            json!(counts.deduplicated),
            json!(counts.quarantined),
            json!(counts.deleted),
            seconds(unit.seconds),
            optional(&unit.error),
        ]);
    }
    table
}

/// Seconds to a hundredth.
pub(crate) fn seconds(seconds: f64) -> Value {
    json!((seconds * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn ended(state: pb::RunState) -> Result<(), String> {
        let mut screen = Screen { bars: None, ..Screen::new() };
        let change = pb::RunStateChange { state: state.into(), counts: None, error: "disk full".to_owned() };
        screen.show(pb::RunEvent { event: Some(Event::State(change)) });
        screen.ended()
    }

    #[rstest]
    #[case(pb::RunState::Completed, true)]
    #[case(pb::RunState::CompletedWithWarnings, true)]
    #[case(pb::RunState::Failed, false)]
    #[case(pb::RunState::FailedPermanently, false)]
    #[case(pb::RunState::Cancelled, false)]
    #[case(pb::RunState::Running, false)]
    fn only_a_completed_run_is_a_success(#[case] state: pb::RunState, #[case] good: bool) {
        assert_eq!(ended(state).is_ok(), good);
    }

    #[test]
    fn the_reason_of_a_failure_is_told() {
        assert_eq!(ended(pb::RunState::Failed).unwrap_err(), "is failed: disk full");
    }
}
