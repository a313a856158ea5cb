//! A board's configuration, and where things are on a board.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::slots::machine::Trial;

/// Where things are. Under another root for tests and for images that are built on another machine.
#[derive(Debug, Clone)]
pub struct Places {
    /// Slots and pointer.
    pub state: PathBuf,
    /// The configuration that a first installation takes.
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
}

/// What runs, and how it is watched. Installed into the slot beside the bundle and the binary that it fits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Arguments of `edge-seg`; `{bundle}` stands for the slot's bundle.
    pub arguments: Vec<String>,
    /// Environment variables to set.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Seconds without a frame after which the runtime counts as hung.
    #[serde(default = "stall_s")]
    pub stall_s: u64,
    /// How a new release proves itself.
    #[serde(default)]
    pub trial: Trial,
}

fn stall_s() -> u64 {
    30
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// When it cannot be read, is no TOML of this form, or a value is out of its range.
    pub fn read(path: &Path) -> Result<Config> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        Config::parse(&text).with_context(|| format!("{}", path.display()))
    }

    /// Reads a configuration's text.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn parse(text: &str) -> Result<Config> {
        let config: Config = toml::from_str(text)?;
        ensure!(!config.arguments.is_empty(), "arguments: expected at least a command for edge-seg, found none");
        ensure!((1..=3600).contains(&config.stall_s), "stall_s: expected 1 to 3600, found {}", config.stall_s);
        ensure!((1..=100).contains(&config.trial.starts), "trial.starts: expected 1 to 100, found {}", config.trial.starts);
        ensure!((1..=1_000_000).contains(&config.trial.frames), "trial.frames: expected 1 to 1000000, found {}", config.trial.frames);
        Ok(config)
    }
}
