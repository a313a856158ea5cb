use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use edge_seg::Class;
use edge_seg::live::WordSpec;
use edge_seg_live::words::read_words_file;
use edge_seg_model::same_name;
use serde::{Deserialize, Serialize};

use crate::cli::examples::ExampleArg;
use crate::cli::flags::{no_list, words, words_of};

/// What is looked for.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Words")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct WordsArgs {
    /// Words to look for, separated by commas, other words for the same thing behind colons: "dog, grass, car: taxi: van".
    #[arg(long, value_name = "WORDS", value_parser = words, allow_hyphen_values = true)]
    pub tags: Option<String>,
    /// File with one class a line: `name`, or `name: synonym, synonym`, either with ` | threshold 0.4, colour #ff8800, off` behind it;
    /// or a .json list of words. It is read again whenever it changes.
    #[arg(long, value_name = "FILE")]
    pub tags_file: Option<PathBuf>,
    /// Look for what a box of a picture shows, in pixels, under a name; `=-NAME` shows what the name does not mean. As often as there are
    /// boxes. A name that --tags has too is looked for by its text as well.
    #[arg(long, value_name = "PICTURE:x,y,w,h=NAME")]
    pub example: Option<Vec<ExampleArg>>,
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
            (None, None) if self.example.as_ref().is_some_and(|examples| !examples.is_empty()) => return Ok(()),
            (None, None) => "neither; try: --tags \"person, dog\", or in a configuration tags = \"person, dog\" below [words]",
            (Some(_), Some(_)) => "both",
            _ => return Ok(()),
        };
        bail!("--tags, --tags-file: expected one of them, or --example, found {found}");
    }

    pub fn specs(&self) -> Result<Vec<WordSpec>> {
        match (&self.tags_file, &self.tags) {
            (Some(file), _) => read_words_file(file).map_err(|e| no_list(e, file)),
            (None, None) => Ok(Vec::new()),
            (None, Some(tags)) => Ok(words_of("--tags", tags)?.into_iter().map(WordSpec::from).collect()),
        }
    }

    /// What pictures show of words.
    pub fn examples(&self) -> &[ExampleArg] {
        self.example.as_deref().unwrap_or_default()
    }

    /// Words of examples alone, for a list that is read again.
    pub fn shown_alone(&self, listed: &[Class]) -> Vec<Class> {
        let mut alone: Vec<Class> = Vec::new();
        for name in self.examples().iter().map(|example| &example.name) {
            if !listed.iter().chain(&alone).any(|class| same_name(&class.name, name)) {
                alone.push(Class::new(name, Vec::new()));
            }
        }
        alone
    }
}
