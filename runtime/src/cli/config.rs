use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use super::output::Outcome;
use super::run::{absent, commented, read_settings};

#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say whether a configuration of `run` is right; exit 1 if not.
    Check {
        /// The TOML file.
        file: PathBuf,
    },
    /// Print a configuration with every option, each commented out.
    Default,
}

pub fn run(args: &ConfigArgs) -> Result<Outcome> {
    match &args.command {
        ConfigCommand::Default => {
            use std::io::Write;
            edge_seg_terminal::results().write_all(commented().as_bytes())?;
            Ok(Outcome::Done)
        }
        ConfigCommand::Check { file } => {
            // That there is no such file is no answer about it.
            std::fs::File::open(file).map_err(edge_seg::Error::io(file)).map_err(|e| absent(e, file))?;
            let named = || file.display().to_string();
            match read_settings(file).and_then(|settings| settings.check_files().with_context(named)) {
                Ok(()) => {
                    eprintln!("edge-seg: {}: the configuration is right", file.display());
                    Ok(Outcome::Done)
                }
                Err(e) => {
                    eprintln!("edge-seg: {}", super::flags::told(&e));
                    Ok(Outcome::No)
                }
            }
        }
    }
}
