use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context;
use clap::Args;

use crate::{
    boot::{Server, stop_signal},
    config::{self, Config},
    telemetry,
};

/// What a server is told on the command line; it wins over the environment and the file.
#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// Folder of everything the server keeps, or the URL of a lake on an object store [default: `mavis` in the user's
    /// data folder]
    #[arg(long, value_name = "DIR|URL", env = "MAVIS_DATA")]
    data: Option<String>,
    /// Configuration file (TOML); see config.example.toml
    #[arg(long, value_name = "FILE", env = "MAVIS_CONFIG")]
    config: Option<PathBuf>,
    /// Address of the HTTP door [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Address of the gRPC and Flight SQL door [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDR")]
    grpc: Option<SocketAddr>,
    /// Address of the PostgreSQL door [default: 127.0.0.1:5433]
    #[arg(long, value_name = "ADDR")]
    postgres: Option<SocketAddr>,
    /// Catalog database: sqlite:///PATH or postgres://USER:PASSWORD@HOST/DATABASE [default: in the data folder]
    #[arg(long, value_name = "URL", env = "MAVIS_CATALOG", hide_env_values = true)]
    catalog: Option<String>,
    /// Let other machines in without TLS
    #[arg(long)]
    insecure: bool,
}

impl ServerArgs {
    /// The whole configuration: file, environment, command line.
    pub(super) fn config(self) -> anyhow::Result<Config> {
        // Variables that are no text are none of ours.
        let variables: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        for name in config::unknown(variables.iter().map(|(name, _)| name.as_str())) {
            eprintln!("warning: {name} is no setting of Mavis and is not used: see config.example.toml");
        }
        let mut config = config::load(self.config.as_deref(), variables)?;
        if let Some(data) = self.data {
            config.data = Some(data);
        }
        if let Some(address) = self.http {
            config.http.listen = address;
        }
        if let Some(address) = self.grpc {
            config.grpc.listen = address;
        }
        if let Some(address) = self.postgres {
            config.postgres.listen = Some(address);
        }
        if let Some(url) = self.catalog {
            config.catalog.url = Some(config::Secret::new(url));
        }
        config.insecure |= self.insecure;
        Ok(config)
    }
}

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    server: ServerArgs,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.server.config()?;
        telemetry::start_tracing(&config.log)?;
        let runtime = runtime()?;
        let outcome = runtime.block_on(async {
            // Listened for from the beginning, so that a signal during the start is not lost.
            let signal = tokio::spawn(stop_signal());
            let server = Box::pin(Server::start(config)).await?;
            signal.await.context("the signal handler stopped")??;
            server.stop().await;
            Ok(())
        });
        end(runtime);
        outcome
    }
}

/// Ends a runtime without waiting for its idle threads: everything that lasts is committed when a server has stopped.
pub(super) fn end(runtime: tokio::runtime::Runtime) {
    runtime.shutdown_background();
}

/// The runtime of the doors and of everything that waits; queries compute on the engine's own.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("mavis-io")
        // Statements are read and planned here, as deep as they nest.
        .thread_stack_size(mavis_sql::STACK)
        .build()
        .context("cannot start the runtime")
}
