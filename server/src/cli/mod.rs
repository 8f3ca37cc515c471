//! The command line: `serve` and `demo` are servers, every other command is a client of the gRPC door.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the server cannot be reached, 4 not authorised. What a command answers
//! goes to standard output, everything else (progress, errors) to standard error.

mod client;
mod demo;
mod erase;
mod failure;
mod fhir;
mod generate;
mod grant;
mod ingest;
mod lake;
mod map;
pub(crate) mod output;
mod quarantine;
mod run;
mod schedule;
mod serve;
mod source;
mod sql;
mod token;
pub(crate) mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use client::ClientArgs;
use failure::Failure;
use output::Format;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 server not reachable, 4 not authorised.";

/// A data-lakehouse server for health data: sources in, Delta tables and FHIR R4 out.
#[derive(Debug, Parser)]
#[command(name = "mavis", version, about, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    client: ClientArgs,
    /// How answers are written
    #[arg(long, global = true, help_heading = "Options of every command", value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server until it is told to stop (SIGTERM or Ctrl-C)
    Serve(serve::Serve),
    /// Make sample sources, ingest them into all zones, and serve them
    Demo(demo::DemoArgs),
    /// Add, list, test, discover, update and remove sources
    #[command(subcommand)]
    Source(source::SourceCommand),
    /// Read a source into all zones, and watch it
    Ingest(ingest::Ingest),
    /// List, show, watch, cancel and retry runs
    #[command(subcommand)]
    Run(run::RunCommand),
    /// Say when sources are read by themselves; list, enable and disable schedules
    #[command(subcommand)]
    Schedule(schedule::ScheduleCommand),
    /// Ask a question in SQL
    Sql(sql::Sql),
    /// Load FHIR resources
    #[command(subcommand)]
    Fhir(fhir::FhirCommand),
    /// Suggest, check, apply and list mappings; load code maps
    #[command(subcommand)]
    Map(map::MapCommand),
    /// List, show and replay rows that were set aside
    #[command(subcommand)]
    Quarantine(quarantine::QuarantineCommand),
    /// Create, list and revoke tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Grant leave to read, to write in `work`, to break the glass, or a group
    Grant(grant::Words),
    /// Take back what was granted
    Revoke(grant::Words),
    /// Show what was granted, and what is hidden from whom
    Grants(grant::Grants),
    /// Look after the lake's tables
    #[command(subcommand)]
    Lake(lake::LakeCommand),
    /// Erase a person from everywhere
    Erase(erase::Erase),
}

/// Runs the command that the arguments ask for.
#[must_use]
pub fn main() -> ExitCode {
    crate::telemetry::quiet_panics();
    crate::boot::install_crypto();
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("error: {}", failure.message);
            }
            ExitCode::from(failure.exit)
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { client, format, command } = cli;
    match command {
        Command::Serve(serve) => return serve.run().map_err(Failure::from),
        Command::Demo(args) => return args.run().map_err(Failure::from),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    runtime.block_on(Box::pin(async {
        match command {
            Command::Serve(_) | Command::Demo(_) => Ok(()),
            Command::Source(command) => command.run(&client, format).await,
            Command::Ingest(command) => command.run(&client, format).await,
            Command::Run(command) => command.run(&client, format).await,
            Command::Schedule(command) => command.run(&client, format).await,
            Command::Sql(command) => command.run(&client, format).await,
            Command::Fhir(command) => command.run(&client, format).await,
            Command::Map(command) => command.run(&client, format).await,
            Command::Quarantine(command) => command.run(&client, format).await,
            Command::Token(command) => command.run(&client, format).await,
            Command::Grant(words) => words.run("GRANT", &client, format).await,
            Command::Revoke(words) => words.run("REVOKE", &client, format).await,
            Command::Grants(grants) => grants.run(&client, format).await,
            Command::Lake(command) => command.run(&client, format).await,
            Command::Erase(command) => command.run(&client, format).await,
        }
    }))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
