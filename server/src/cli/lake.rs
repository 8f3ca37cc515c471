use clap::Subcommand;
use mavis_proto::v1 as pb;
use serde_json::json;

use super::{
    Failure,
    client::ClientArgs,
    output::{Format, Table},
};

#[derive(Debug, Subcommand)]
pub(super) enum LakeCommand {
    /// Put small files together
    Optimize {
        /// zone.schema.table [default: every table]
        table: Option<String>,
    },
    /// Delete files that no version within the retention uses
    Vacuum {
        /// zone.schema.table [default: every table]
        table: Option<String>,
        /// At least 24
        #[arg(long, value_name = "HOURS", default_value_t = 168)]
        retention_hours: u32,
    },
}

impl LakeCommand {
    pub(super) async fn run(self, client: &ClientArgs, format: Format) -> Result<(), Failure> {
        let mut maintenance = client.maintenance().await?;
        match self {
            Self::Optimize { table } => {
                let request = pb::OptimizeRequest { table: table.unwrap_or_default() };
                let done = maintenance.optimize(request).await?.into_inner().tables;
                let mut table = Table::new(["table", "files_before", "files_after", "bytes_before", "bytes_after"]);
                for one in done {
                    table.push([
                        json!(one.table),
                        json!(one.files_before),
                        json!(one.files_after),
                        json!(one.bytes_before),
                        json!(one.bytes_after),
                    ]);
                }
                table.print(format)
            }
            Self::Vacuum { table, retention_hours } => {
                if retention_hours < 24 {
                    return Err(Failure::usage(
                        "a retention under 24 hours is refused: pinned snapshots live that long",
                    ));
                }
                let request = pb::VacuumRequest { table: table.unwrap_or_default(), retention_hours };
                let done = maintenance.vacuum(request).await?.into_inner().tables;
                let mut table = Table::new(["table", "files_deleted"]);
                for one in done {
                    table.push([json!(one.table), json!(one.files_deleted)]);
                }
                table.print(format)
            }
        }
    }
}
