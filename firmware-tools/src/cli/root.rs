use std::path::PathBuf;

use anyhow::{Context, Result};
use edge_seg_fw::board::Host;
use edge_seg_fw::paths::Paths;

/// Where a board's files are.
#[derive(clap::Args)]
pub struct RootArg {
    /// Root of the board's file system
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
}

impl RootArg {
    pub fn paths(&self) -> Paths {
        Paths::under(&self.root)
    }

    pub fn host(&self) -> Result<Host> {
        host(Some(self.root.clone()).filter(|root| root.as_os_str() != "/"))
    }
}

pub fn host(root: Option<PathBuf>) -> Result<Host> {
    match root {
        None => Ok(Host::live()),
        Some(root) => Host::at(&root).with_context(|| format!("--root {}: expected a folder", root.display())),
    }
}
