use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
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
    /// Paths under the root, which is there.
    pub fn paths(&self) -> Result<Paths> {
        check(&self.root)?;
        Ok(Paths::under(&self.root))
    }

    /// As [`Self::paths`], for a command that changes what is there: on a running board root alone may.
    pub fn paths_to_change(&self) -> Result<Paths> {
        let is_root = rustix::process::geteuid().is_root();
        let typed: Vec<String> = std::env::args().skip(1).map(|word| if word.contains(' ') { format!("{word:?}") } else { word }).collect();
        ensure!(is_root || self.root != Path::new("/"), "only root may change what runs here; try: sudo edge-seg-fw {}", typed.join(" "));
        self.paths()
    }

    pub fn host(&self) -> Result<Host> {
        host(Some(self.root.clone()).filter(|root| root.as_os_str() != "/"))
    }
}

pub fn host(root: Option<PathBuf>) -> Result<Host> {
    match root {
        None => Ok(Host::live()),
        Some(root) => check(&root).and_then(|()| Host::at(&root).with_context(|| format!("--root {}: expected a folder", root.display()))),
    }
}

fn check(root: &Path) -> Result<()> {
    ensure!(root.is_dir(), "--root {}: expected a board's file system, found no folder", root.display());
    Ok(())
}
