use std::path::PathBuf;

use clap::Subcommand;
use mavis_proto::v1 as pb;
use serde_json::json;

use super::{
    Failure,
    client::ClientArgs,
    output::{Format, Table, time},
    watch,
};

#[derive(Debug, Subcommand)]
pub(super) enum QuarantineCommand {
    /// Rows that were set aside, without their content
    List {
        /// Only rows on their way to this table (zone.schema.table)
        #[arg(long)]
        table: Option<String>,
        /// Only rows of this run
        #[arg(long)]
        run: Option<String>,
        /// waiting, replayed or dropped
        #[arg(long)]
        state: Option<String>,
        /// Only ids above this one
        #[arg(long, default_value_t = 0)]
        after: i64,
        /// Rows at most
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// One row with its content
    Show {
        /// Id of the row, as `quarantine list` tells it
        id: i64,
    },
    /// Send rows again through the step that refused them, and follow it
    Replay {
        /// Ids of the rows, as `quarantine list` tells them
        #[arg(required = true)]
        ids: Vec<i64>,
        /// File with the corrected content of the one row named
        #[arg(long, value_name = "FILE")]
        with: Option<PathBuf>,
    },
}

impl QuarantineCommand {
    pub(super) async fn run(self, client: &ClientArgs, format: Format) -> Result<(), Failure> {
        let mut quarantine = client.quarantine().await?;
        match self {
            Self::List { table, run, state, after, limit } => {
                let request = pb::ListQuarantinedRequest {
                    table: table.unwrap_or_default(),
                    run_id: run.unwrap_or_default(),
                    state: state.unwrap_or_default(),
                    after,
                    limit,
                };
                let answer = quarantine.list_quarantined(request).await?.into_inner();
                let mut table = Table::new(["id", "table", "step", "reason", "origin", "state", "at"]);
                for row in answer.rows {
                    table.push([
                        json!(row.id),
                        json!(row.table),
                        json!(row.step),
                        json!(row.reason),
                        json!(row.origin),
                        json!(row.state),
                        time(row.at),
                    ]);
                }
                table.print(format)?;
                if answer.next_after > 0 {
                    eprintln!("there may be more: go on with --after {}", answer.next_after);
                }
                Ok(())
            }
            Self::Show { id } => {
                let answer = quarantine.get_quarantined(pb::GetQuarantinedRequest { id }).await?.into_inner();
                let row = answer.row.unwrap_or_default();
                let mut table = Table::new(["id", "table", "step", "reason", "origin", "state", "run", "payload"]);
                table.push([
                    json!(row.id),
                    json!(row.table),
                    json!(row.step),
                    json!(row.reason),
                    json!(row.origin),
                    json!(row.state),
                    json!(row.run_id),
                    json!(row.payload),
                ]);
                table.print(format)
            }
            Self::Replay { ids, with } => {
                let corrected = match with {
                    None => None,
                    Some(path) => Some(
                        std::fs::read_to_string(&path)
                            .map_err(|error| Failure::failed(format!("cannot read {}: {error}", path.display())))?,
                    ),
                };
                let request = pb::ReplayQuarantinedRequest { ids, corrected };
                let run = quarantine.replay_quarantined(request).await?.into_inner().run.unwrap_or_default();
                watch::to_end(&mut client.ingest().await?, &run.id, format).await
            }
        }
    }
}
