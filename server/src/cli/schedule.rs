use std::{collections::BTreeMap, path::PathBuf};

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use mavis_pipeline::{Freshness, Missed, ScheduleSpec, When};
use mavis_proto::v1 as pb;
use serde_json::json;

use super::{
    Failure,
    client::ClientArgs,
    output::{Format, Table, optional, time},
};

#[derive(Debug, Subcommand)]
pub(super) enum ScheduleCommand {
    /// Give a source a schedule, in the place of the one that it has
    Set(Box<Declaration>),
    /// The schedules there are
    List,
    /// Enable a schedule that was disabled
    Enable {
        /// Name of the source
        source: String,
    },
    /// Disable a schedule until it is enabled again
    Disable {
        /// Name of the source
        source: String,
    },
    /// Take a source's schedule away
    Remove {
        /// Name of the source
        source: String,
    },
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("when").required(true).args(["cron", "every", "on_change", "continuous", "manual", "file"])))]
pub(super) struct Declaration {
    /// Name of the source
    source: String,
    /// Five fields: minute, hour, day of month, month, day of week
    #[arg(long)]
    cron: Option<String>,
    /// Time zone of --cron, such as Europe/Berlin [default: UTC]
    #[arg(long, requires = "cron")]
    zone: Option<String>,
    /// So often, such as 15m (s, m, h, d)
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    every: Option<u64>,
    /// Ask so often whether something changed, and read the source if it did
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    on_change: Option<u64>,
    /// Again and again; this pause where a run brings nothing
    #[arg(long, value_name = "PAUSE", value_parser = seconds, num_args = 0..=1, default_missing_value = "5s")]
    continuous: Option<u64>,
    /// Never by itself; for what is expected of the tables' age
    #[arg(long)]
    manual: bool,
    /// The whole declaration, as JSON
    #[arg(long)]
    file: Option<PathBuf>,
    /// What becomes of times that passed while no server ran
    #[arg(long, value_enum)]
    missed: Option<MissedArg>,
    /// Put each run off by up to this time
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    jitter: Option<u64>,
    /// Runs that may begin within an hour
    #[arg(long, value_name = "RUNS")]
    max_per_hour: Option<u32>,
    /// Pause after a failed run; it doubles with each that follows
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    cool_down: Option<u64>,
    /// Failures one after the other that disable the schedule; 0: never
    #[arg(long, value_name = "RUNS")]
    disable_after: Option<u32>,
    /// How old the rows of every table may be
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    fresh: Option<u64>,
    /// How old the rows of a table may be, by name or pattern; may be given more than once
    #[arg(long, value_name = "TABLE=TIME", value_parser = fresh_table)]
    fresh_table: Vec<(String, u64)>,
    /// Only this table, as the source calls it; may be given more than once
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,
    /// Read again from the beginning and compare
    #[arg(long)]
    full: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum MissedArg {
    /// One run for all of them
    Once,
    /// A run for each
    All,
    /// None
    Skip,
}

/// `90s`, `15m`, `6h`, `1d`, or seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (number, unit) = match text.char_indices().find(|(_, c)| !c.is_ascii_digit()) {
        Some((at, _)) => text.split_at(at),
        None => (text, "s"),
    };
    let each = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("write a time such as 90s, 15m, 6h or 1d".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "write a time such as 90s, 15m, 6h or 1d".to_owned())?;
    number.checked_mul(each).ok_or_else(|| "that is longer than any time".to_owned())
}

fn fresh_table(text: &str) -> Result<(String, u64), String> {
    let (table, time) = text.rsplit_once('=').ok_or("write TABLE=TIME, such as lab_*=1h")?;
    Ok((table.to_owned(), seconds(time)?))
}

impl Declaration {
    fn spec(self) -> Result<ScheduleSpec, Failure> {
        let when = match (self.cron, self.every, self.on_change, self.continuous) {
            (Some(cron), ..) => When::Cron { cron, zone: self.zone.unwrap_or_else(|| "UTC".to_owned()) },
            (_, Some(seconds), ..) => When::Interval { seconds },
            (_, _, Some(poll_seconds), _) => When::OnChange { poll_seconds },
            (_, _, _, Some(pause_seconds)) => When::Continuous { pause_seconds },
            _ => When::Manual,
        };
        let mut spec = match &self.file {
            None => ScheduleSpec::new(when),
            Some(file) => {
                let read = std::fs::read_to_string(file);
                let text = read.map_err(|error| Failure::failed(format!("cannot read {}: {error}", file.display())))?;
                serde_json::from_str(&text).map_err(|error| Failure::failed(format!("{}: {error}", file.display())))?
            }
        };
        if let Some(missed) = self.missed {
            spec.missed = match missed {
                MissedArg::Once => Missed::Once,
                MissedArg::All => Missed::All,
                MissedArg::Skip => Missed::Skip,
            };
        }
        spec.jitter_seconds = self.jitter.unwrap_or(spec.jitter_seconds);
        spec.max_runs_per_hour = self.max_per_hour.or(spec.max_runs_per_hour);
        spec.cool_down_seconds = self.cool_down.unwrap_or(spec.cool_down_seconds);
        spec.disable_after = self.disable_after.unwrap_or(spec.disable_after);
        if !self.tables.is_empty() {
            spec.tables = self.tables;
        }
        spec.full |= self.full;
        let tables: BTreeMap<String, u64> = self.fresh_table.into_iter().collect();
        if self.fresh.is_some() || !tables.is_empty() {
            spec.freshness = Freshness { seconds: self.fresh, tables };
        }
        Ok(spec)
    }
}

impl ScheduleCommand {
    pub(super) async fn run(self, client: &ClientArgs, format: Format) -> Result<(), Failure> {
        match self {
            Self::Set(declaration) => {
                let source = declaration.source.clone();
                let spec = declaration.spec()?;
                let declaration_json =
                    serde_json::to_string(&spec).map_err(|error| Failure::failed(error.to_string()))?;
                let request = pb::SetScheduleRequest { source, declaration_json };
                let answer = client.schedules().await?.set_schedule(request).await?.into_inner();
                listing(answer.schedule.as_slice()).print(format)
            }
            Self::List => {
                let answer = client.schedules().await?.list_schedules(pb::ListSchedulesRequest {}).await?.into_inner();
                listing(&answer.schedules).print(format)
            }
            Self::Enable { source } => enable(source, true, client, format).await,
            Self::Disable { source } => enable(source, false, client, format).await,
            Self::Remove { source } => {
                let request = pb::RemoveScheduleRequest { source: source.clone() };
                client.schedules().await?.remove_schedule(request).await?;
                eprintln!("`{source}` is no longer read by itself");
                Ok(())
            }
        }
    }
}

async fn enable(source: String, enabled: bool, client: &ClientArgs, format: Format) -> Result<(), Failure> {
    let request = pb::EnableScheduleRequest { source, enabled };
    let answer = client.schedules().await?.enable_schedule(request).await?.into_inner();
    listing(answer.schedule.as_slice()).print(format)
}

fn listing(schedules: &[pb::Schedule]) -> Table {
    let mut table = Table::new([
        "source",
        "enabled",
        "next_at",
        "last_at",
        "last_run",
        "failures",
        "disabled_because",
        "declaration",
    ]);
    for schedule in schedules {
        table.push([
            json!(schedule.source),
            json!(schedule.enabled),
            time(schedule.next_at),
            time(schedule.last_at),
            optional(&schedule.last_run),
            json!(schedule.failures),
            optional(&schedule.disabled_reason),
            json!(schedule.declaration_json),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rstest::rstest;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: ScheduleCommand,
    }

    #[rstest]
    #[case("90s", Some(90))]
    #[case("15m", Some(900))]
    #[case("6h", Some(21_600))]
    #[case("2d", Some(172_800))]
    #[case("45", Some(45))]
    #[case("soon", None)]
    #[case("5 minutes", None)]
    fn times_are_written_with_their_unit(#[case] text: &str, #[case] expected: Option<u64>) {
        assert_eq!(seconds(text).ok(), expected);
    }

    #[test]
    fn a_line_becomes_a_declaration() {
        let line =
            "x set hms --cron @daily --zone Europe/Berlin --missed skip --jitter 5m --fresh 1d --fresh-table lab_*=1h";
        let line = line.replace("@daily", "@DAILY");
        let line = Line::try_parse_from(line.split(' ')).unwrap();
        let ScheduleCommand::Set(declaration) = line.command else { panic!("another command") };
        let spec = declaration.spec().unwrap();
        assert_eq!(spec.when, When::Cron { cron: "@DAILY".to_owned(), zone: "Europe/Berlin".to_owned() });
        assert_eq!((spec.missed, spec.jitter_seconds), (Missed::Skip, 300));
        assert_eq!((spec.freshness.seconds, spec.freshness.tables["lab_*"]), (Some(86_400), 3_600));
        assert!(Line::try_parse_from(["x", "set", "hms"]).is_err(), "nothing says when");
        assert!(Line::try_parse_from(["x", "set", "hms", "--every", "5m", "--manual"]).is_err());
    }
}
