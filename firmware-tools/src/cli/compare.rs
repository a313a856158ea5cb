//! compare.

use std::path::PathBuf;

use anyhow::Result;
use edge_seg_fw::board::Board;
use edge_seg_fw::compare::{self, Question};

use super::output::print;
use super::root::RootArg;

#[derive(clap::Args)]
pub struct Compare {
    /// The other bundle [default: the one that runs, with --other-tags]
    #[arg(value_name = "BUNDLE")]
    bundle: Option<PathBuf>,
    /// Words of what runs, separated by commas [default: those of its configuration]
    #[arg(long, value_name = "WORDS")]
    tags: Option<String>,
    /// Words of the other side [default: the same]
    #[arg(long, value_name = "WORDS")]
    other_tags: Option<String>,
    /// Pictures of this folder, in place of the newest ones of the page of what runs
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    /// How many pictures
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    /// Folder for the pictures, and for each side's masks and JSON lines
    #[arg(long, value_name = "DIR", default_value = "compared")]
    out: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    root: RootArg,
}

impl Compare {
    pub fn run(self) -> Result<bool> {
        let question = Question {
            bundle: self.bundle,
            words: self.tags,
            other_words: self.other_tags,
            pictures: self.pictures,
            count: self.count as usize,
            out: self.out,
        };
        let found = compare::compare(&self.root.paths()?, &Board::read(&self.root.host()?), &question)?;
        match self.json {
            true => print(&format!("{}\n", serde_json::to_string_pretty(&found)?))?,
            false => print(&compare::render(&found))?,
        }
        Ok(true)
    }
}
