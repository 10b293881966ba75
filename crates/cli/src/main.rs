//! The binary: everything is in the library, so that tests can reach it.

mod allocator;

use std::process::ExitCode;

use clap::Parser;
use frazil_cli::command::{self, Arguments};
use frazil_cli::failpoints;
use frazil_cli::signals;
use frazil_cli::sql::visible_lines;

fn main() -> ExitCode {
    allocator::keep_freed_memory_warm();
    signals::follow_parent();
    failpoints::look_out();
    match command::run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is_reported() {
                eprintln!("error: {}", visible_lines(&error.to_string()));
            }
            error.exit_code()
        }
    }
}
