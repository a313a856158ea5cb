//! pull.

use std::path::Path;

use anyhow::{Context, Result};
use edge_seg_fw::board::Board;
use edge_seg_fw::pull::{self, From, Pulled};

use super::output::print;
use super::root::RootArg;
use super::slots::installed;

#[derive(clap::Args)]
pub struct Pull {
    /// A web server's folder (http, https), or a folder such as a USB stick's [default: what /etc/edge-seg/pull-from names]
    #[arg(value_name = "FROM")]
    from: Option<String>,
    /// This board's name in the index [default: the host's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Try a release once more that failed here before
    #[arg(long)]
    again: bool,
    /// Restart the service afterwards
    #[arg(long)]
    restart: bool,
    #[command(flatten)]
    root: RootArg,
}

impl Pull {
    pub fn run(self) -> Result<bool> {
        let paths = self.root.paths_to_change()?;
        let from = match self.from {
            Some(from) => from,
            None => {
                let path = &paths.pull_from;
                let text = std::fs::read_to_string(path).with_context(|| {
                    let place = path.display();
                    format!(
                        "{place}: expected the address to pull from; try: edge-seg-fw pull http://SERVER/FOLDER, or that address in {place}"
                    )
                })?;
                text.lines().next().unwrap_or_default().trim().to_owned()
            }
        };
        let name = match self.name {
            Some(name) => name,
            None => host_name(&paths.root)?,
        };
        let board = Board::read(&self.root.host()?);
        match pull::pull(&paths, &board, &From::new(&from)?, &name, self.again)? {
            Pulled::Nothing(why) => {
                print(&format!("{why}\n"))?;
                Ok(true)
            }
            Pulled::Installed(outcome) => installed(&outcome, self.restart),
        }
    }
}

fn host_name(root: &Path) -> Result<String> {
    let path = root.join("proc/sys/kernel/hostname");
    Ok(std::fs::read_to_string(&path)
        .with_context(|| format!("{}: expected the host's name; try: --name NAME", path.display()))?
        .trim()
        .to_owned())
}
