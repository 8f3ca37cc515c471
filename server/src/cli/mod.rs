//! The command line: `serve` and `demo` are servers, every other command is a client of the gRPC door.

mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A data-lakehouse server for health data.
#[derive(Debug, Parser)]
#[command(name = "mavis", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server until it is told to stop (SIGTERM or Ctrl-C).
    Serve(serve::Serve),
}

/// Runs the command that the arguments ask for.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(serve) => serve.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
