use clap::Subcommand;
use mavis_proto::v1 as pb;
use serde_json::json;

use super::{
    Failure,
    client::ClientArgs,
    output::{Format, Table, optional, state_word, time},
    watch,
};

#[derive(Debug, Subcommand)]
pub(super) enum RunCommand {
    /// The newest runs
    List {
        /// Only runs of this source
        #[arg(long)]
        source: Option<String>,
        /// Runs at most
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// What became of each table of a run, and its log
    Show {
        /// Id of the run
        run: String,
    },
    /// Follow a run to its end
    Watch {
        /// Id of the run
        run: String,
    },
    /// Stop a run at the next place where nothing is half done
    Cancel {
        /// Id of the run
        run: String,
    },
    /// Do again what a run was asked, and follow it
    Retry {
        /// Id of the run
        run: String,
    },
}

impl RunCommand {
    pub(super) async fn run(self, client: &ClientArgs, format: Format) -> Result<(), Failure> {
        let mut ingest = client.ingest().await?;
        match self {
            Self::List { source, limit } => {
                let request = pb::ListRunsRequest { source: source.unwrap_or_default(), limit };
                runs(&ingest.list_runs(request).await?.into_inner().runs).print(format)
            }
            Self::Show { run } => {
                let shown = ingest.get_run(pb::GetRunRequest { run_id: run }).await?.into_inner();
                if format != Format::Table {
                    return watch::units(&shown.units).print(format);
                }
                runs(shown.run.as_slice()).print(format)?;
                watch::units(&shown.units).print(format)?;
                for line in &shown.log {
                    println!("{}  {}", time(line.at).as_str().unwrap_or_default(), line.message);
                }
                if let Some(run) = shown.run.filter(|run| !run.error.is_empty()) {
                    println!("{}", run.error);
                }
                Ok(())
            }
            Self::Watch { run } => watch::to_end(&mut ingest, &run, format).await,
            Self::Cancel { run } => {
                let run = ingest.cancel_run(pb::CancelRunRequest { run_id: run }).await?.into_inner().run;
                runs(run.as_slice()).print(format)?;
                eprintln!("asked to stop: the run ends at the next place where nothing is half done");
                Ok(())
            }
            Self::Retry { run } => {
                let run = ingest.retry_run(pb::RetryRunRequest { run_id: run }).await?.into_inner().run;
                let id = run.map(|run| run.id).unwrap_or_default();
                watch::to_end(&mut ingest, &id, format).await
            }
        }
    }
}

fn runs(runs: &[pb::Run]) -> Table {
    let mut table = Table::new([
        "run",
        "kind",
        "source",
        "state",
        "attempt",
        "read",
        "written",
        "quarantined",
        "created",
        "finished",
        "error",
    ]);
    for run in runs {
        let counts = run.counts.unwrap_or_default();
        table.push([
            json!(run.id),
            json!(run.kind),
            optional(&run.source),
            json!(state_word(run.state())),
            json!(run.attempt),
            json!(counts.read),
            json!(counts.inserted + counts.updated + counts.deleted),
            json!(counts.quarantined),
            time(run.created_at),
            time(run.finished_at),
            optional(&run.error),
        ]);
    }
    table
}
