use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use edge_seg::live::WordSpec;
use edge_seg::parse_tags;
use edge_seg_live::words::read_words_file;
use serde::{Deserialize, Serialize};

/// What is looked for.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Words")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct WordsArgs {
    /// Words to look for, separated by commas: "dog, grass, sky".
    #[arg(long, value_name = "WORDS")]
    pub tags: Option<String>,
    /// File with one class a line: `name`, or `name: synonym, synonym`, either with ` | threshold 0.4, colour #ff8800, off` behind it;
    /// or a .json list of words. It is read again whenever it changes.
    #[arg(long, value_name = "FILE")]
    pub tags_file: Option<PathBuf>,
    /// Folder for what outlasts a run: saved word sets.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Obey lines on stdin: `tags WORDS`, `add WORDS`, `remove WORDS`, `on WORDS`, `off WORDS`, `threshold T WORDS`,
    /// `colour #RRGGBB WORDS`, `background T`, `save NAME`, `load NAME`, `delete NAME`, `quit`.
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
        bail!("--tags, --tags-file: expected one of them, found {found}");
    }

    pub fn specs(&self) -> edge_seg::Result<Vec<WordSpec>> {
        match &self.tags_file {
            Some(file) => read_words_file(file),
            None => Ok(parse_tags("--tags", self.tags.as_deref().unwrap_or_default())?.into_iter().map(WordSpec::from).collect()),
        }
    }
}
