//! The `mavis` binary: `mavis serve` is the server, every other command is a client of one.

use std::process::ExitCode;

fn main() -> ExitCode {
    mavis_server::cli::main()
}
