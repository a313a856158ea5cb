use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use edge_seg::{Class, parse_tags, read_tags_file};
use serde::{Deserialize, Serialize};

/// What is looked for.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct WordsArgs {
    /// Words to look for, separated by commas: "dog, grass, sky".
    #[arg(long, value_name = "WORDS")]
    pub tags: Option<String>,
    /// File with one class a line: `name`, or `name: synonym, synonym`. It is read again whenever it changes.
    #[arg(long, value_name = "FILE")]
    pub tags_file: Option<PathBuf>,
    /// Obey lines on stdin: `tags WORDS`, `add WORDS`, `remove WORDS`, `quit`.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub commands: Option<bool>,
}

impl WordsArgs {
    pub fn check(&self) -> Result<()> {
        let found = match (&self.tags, &self.tags_file) {
            (None, None) => "neither",
            (Some(_), Some(_)) => "both",
            _ => return Ok(()),
        };
        ensure!(false, "--tags, --tags-file: expected one of them, found {found}");
        Ok(())
    }

    pub fn classes(&self) -> edge_seg::Result<Vec<Class>> {
        match &self.tags_file {
            Some(file) => read_tags_file(file),
            None => parse_tags("--tags", self.tags.as_deref().unwrap_or_default()),
        }
    }
}
