//! The commands: options in, library calls, tables or JSON out.

mod device;
mod eval;
mod import;
mod label;
mod pack;
mod progress;
mod train;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use edge_seg_terminal::{Completions, Manual};

/// Takes trained models to bundles and measures them.
///
/// Results go to stdout, messages to stderr. Exit codes: 0 done, 1 the check failed, 2 an error.
#[derive(Parser)]
#[command(name = "edge-seg-export", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[expect(clippy::large_enum_variant, reason = "made once a run")]
#[derive(Subcommand)]
enum Command {
    Bundle(pack::Bundle),
    Quantize(pack::Quantize),
    Extract(pack::Extract),
    Eval(eval::Eval),
    Import(import::Import),
    Label(label::Label),
    Train(train::Train),
    Ablate(train::Ablate),
    Bias(train::Bias),
    TrainBench(train::TrainBench),
    TrainerSetup(train::TrainerSetup),
    /// Print what a shell needs to complete commands and options: bash, zsh, fish, elvish or powershell.
    Completions(Completions),
    /// Write a manual page for each command into a folder.
    #[command(hide = true)]
    Manual(Manual),
}

impl Cli {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Bundle(command) => command.run(),
            Command::Quantize(command) => command.run(),
            Command::Extract(command) => command.run(),
            Command::Eval(command) => command.run(),
            Command::Import(command) => command.run(),
            Command::Label(command) => command.run(),
            Command::Train(command) => command.run(),
            Command::Ablate(command) => command.run(),
            Command::Bias(command) => command.run(),
            Command::TrainBench(command) => command.run(),
            Command::TrainerSetup(command) => command.run(),
            Command::Completions(command) => command.run(Self::command()).map(|()| ExitCode::SUCCESS),
            Command::Manual(command) => command.run(Self::command(), "").map(|()| ExitCode::SUCCESS),
        }
    }
}
