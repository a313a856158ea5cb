//! The `edge-seg-export` command: from model folders to bundles, and how good they are.
#![forbid(unsafe_code)]

mod commands;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match edge_seg_terminal::parse::<commands::Cli>() {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    edge_seg_terminal::speak("edge-seg-export");
    match cli.run() {
        Ok(code) => code,
        Err(error) if edge_seg_terminal::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edge-seg-export: {}", edge_seg_terminal::told(&error));
            ExitCode::from(2)
        }
    }
}
