use anyhow::{Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

/// How frames are worked on.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Pipeline")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PipelineArgs {
    /// Run the encoder on every Nth frame only; masks stand still between [default: 1].
    #[arg(long, value_name = "N")]
    key_interval: Option<u64>,
    /// Stop after N segmented frames.
    #[arg(long, value_name = "N")]
    pub frames: Option<u64>,
}

impl PipelineArgs {
    pub fn check(&self) -> Result<()> {
        ensure!(self.key_interval() >= 1, "--key-interval: expected 1 or more, found 0");
        Ok(())
    }

    pub fn key_interval(&self) -> u64 {
        self.key_interval.unwrap_or(1)
    }
}
