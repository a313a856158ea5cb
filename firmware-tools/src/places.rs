//! Where things are on a board.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// Where things are. Under another root for tests and for images that are built on another machine.
#[derive(Debug, Clone)]
pub struct Places {
    /// Slots and pointer.
    pub state: PathBuf,
    /// The runtime's configuration that a first installation takes: what `edge-seg run --config` reads.
    pub config: PathBuf,
    /// Folder of trusted public keys.
    pub keys: PathBuf,
    /// The packaged runtime.
    pub packaged: PathBuf,
}

impl Places {
    /// The package's places under `root`, `/` on a board.
    pub fn under(root: &Path) -> Places {
        Places {
            state: root.join("var/lib/edge-seg"),
            config: root.join("etc/edge-seg/edge-seg.toml"),
            keys: root.join("etc/edge-seg/keys"),
            packaged: root.join("usr/bin/edge-seg"),
        }
    }

    /// Whether bundles must be signed here: a folder of keys that holds one.
    pub fn demands_signatures(&self) -> bool {
        std::fs::read_dir(&self.keys)
            .is_ok_and(|entries| entries.filter_map(Result::ok).any(|entry| entry.path().extension().is_some_and(|ext| ext == "pub")))
    }

    /// Makes a command run as the owner of the slots: what the service's user could have put there must not run with root's rights.
    ///
    /// # Errors
    /// When this process cannot tell who it is.
    pub fn as_owner<'a>(&self, command: &'a mut Command) -> Result<&'a mut Command> {
        if let Ok(owner) = std::fs::metadata(&self.state)
            && std::fs::metadata("/proc/self")?.uid() == 0
            && owner.uid() != 0
        {
            command.uid(owner.uid()).gid(owner.gid());
        }
        Ok(command)
    }

    /// Lets a runtime say what is wrong with a configuration, as the user who will run it; none where it is right.
    ///
    /// # Errors
    /// When the runtime cannot be started.
    pub fn complaint(&self, runtime: &Path, config: &Path) -> Result<Option<String>> {
        let mut command = Command::new(runtime);
        command.args(["config", "check"]).arg(config).stdin(Stdio::null());
        let output = self.as_owner(&mut command)?.output().with_context(|| format!("{}", runtime.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim().trim_start_matches("edge-seg: ");
        Ok((!output.status.success()).then(|| if said.is_empty() { output.status.to_string() } else { said.to_owned() }))
    }
}
