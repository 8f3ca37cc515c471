use clap::Args;

use super::serve::{ServerArgs, end, runtime};
use crate::{demo, telemetry};

/// Where the demo keeps its data unless told otherwise, below the working folder.
const FOLDER: &str = "mavis-demo";

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Stop after the table instead of serving
    #[arg(long)]
    once: bool,
}

impl DemoArgs {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let mut config = self.server.config()?;
        config.data.get_or_insert_with(|| FOLDER.to_owned());
        if config.log.filter == crate::config::LogConfig::default().filter {
            // The bars are what one watches here.
            config.log.filter = "error".to_owned();
        }
        telemetry::start_tracing(&config.log)?;
        let runtime = runtime()?;
        let outcome = runtime.block_on(Box::pin(demo::run(config, self.once)));
        end(runtime);
        outcome
    }
}
