//! The commands: options in, library calls, tables or JSON out.

mod device;
mod eval;
mod import;
mod label;
mod pack;
mod train;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Takes trained models to bundles and measures them.
///
/// stdout is data, stderr is talk. Exit codes: 0 done, 1 a negative answer, 2 an error.
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
}

/// An error with its causes, each once: many say their cause themselves.
pub fn said(error: &anyhow::Error) -> String {
    let mut said = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !said.ends_with(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
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
        }
    }
}
