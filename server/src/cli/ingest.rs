use clap::Args;
use mavis_proto::v1 as pb;

use super::{Failure, client::ClientArgs, output::Format, watch};

#[derive(Debug, Args)]
pub(super) struct Ingest {
    /// The source to read
    source: String,
    /// Only this table, as the source calls it; may be given more than once
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,
    /// Read again from the beginning and compare
    #[arg(long)]
    full: bool,
    /// Only queue the run and write its id
    #[arg(long)]
    no_wait: bool,
}

impl Ingest {
    pub(super) async fn run(self, client: &ClientArgs, format: Format) -> Result<(), Failure> {
        let mut ingest = client.ingest().await?;
        // The id is chosen here, so that a request that is sent twice starts one run.
        let request = pb::StartRunRequest {
            run_id: mavis_types::RunId::new().to_string(),
            source: self.source,
            tables: self.tables,
            full: self.full,
        };
        let run_id = request.run_id.clone();
        ingest.start_run(request).await?;
        if self.no_wait {
            println!("{run_id}");
            return Ok(());
        }
        watch::to_end(&mut ingest, &run_id, format).await
    }
}
