//! The `edge-seg` commands. Results go to stdout, messages to stderr; exit 0: done, 1: the check failed, 2: an error.
#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
