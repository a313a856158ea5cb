//! The `edge-seg-fw` command line.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use edge_seg_fw::board::{Board, Host, render};

/// Takes edge-seg bundles to boards: tells what a board is, signs, installs, rolls back, deploys, diagnoses.
///
/// Data goes to stdout, talk to stderr. Exit status: 0 done, 1 a negative answer, 2 an error.
#[derive(Parser)]
#[command(name = "edge-seg-fw", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Tell what board this is, how it is doing, and which bundle and thread count suit it
    Board {
        /// Read this tree in place of the running system
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Board { root, json } => {
            let board = Board::read(&host(root)?);
            match json {
                true => println!("{}", serde_json::to_string_pretty(&board)?),
                false => print!("{}", render(&board)),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn host(root: Option<PathBuf>) -> Result<Host> {
    match root {
        None => Ok(Host::live()),
        Some(root) => Host::at(&root).with_context(|| format!("--root {}: expected a folder", root.display())),
    }
}
