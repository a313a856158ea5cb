//! The `edge-seg` commands. stdout is data, stderr is talk; exit 0 done, 1 a negative answer, 2 an error.
#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
