//! The binary: everything is in the library, so that tests can reach it.

use std::process::ExitCode;

use clap::Parser;
use frazil_cli::command::{self, Arguments};
use frazil_cli::failure::CommandError;
use frazil_cli::signals;

/// DataFusion allocates much and frees on other threads; the system's allocator is measurably slower at that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    signals::follow_parent();
    match command::run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !matches!(error, CommandError::Reported) {
                eprintln!("error: {error}");
            }
            error.exit_code()
        }
    }
}
