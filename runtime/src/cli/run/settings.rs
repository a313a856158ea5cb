use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::display::DisplayArgs;
use super::input::InputArgs;
#[cfg(feature = "service")]
use super::notify::{MqttArgs, WebhookArgs};
use super::output::OutputArgs;
use super::pipeline::PipelineArgs;
use super::rules::RulesArgs;
use super::words::WordsArgs;
use crate::cli::{BackgroundArgs, ModelArgs};

/// Everything that `run` can be told: as flags, or as a TOML file with a section for each group. Whatever is not given is none,
/// so that a flag can be told from a default and wins over the file.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    #[command(flatten)]
    pub input: InputArgs,
    #[command(flatten)]
    pub words: WordsArgs,
    #[command(flatten)]
    pub background: BackgroundArgs,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub rules: RulesArgs,
    #[cfg(feature = "service")]
    #[command(flatten)]
    pub mqtt: MqttArgs,
    #[cfg(feature = "service")]
    #[command(flatten)]
    pub webhook: WebhookArgs,
    #[command(flatten)]
    pub display: DisplayArgs,
}

impl Settings {
    /// A file's settings.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{}", path.display()))
    }

    /// These settings where they say something, else those of `file`.
    pub fn over(&self, mut file: Self) -> Result<Self> {
        if self.words.tags.is_some() || self.words.tags_file.is_some() {
            (file.words.tags, file.words.tags_file) = (None, None);
        }
        let mut merged = Table::try_from(file)?;
        overlay(&mut merged, Table::try_from(self)?);
        Ok(merged.try_into()?)
    }

    /// What no single value can show: ranges, and options that need or exclude each other.
    pub fn check(&self) -> Result<()> {
        self.input.check()?;
        self.words.check()?;
        self.background.words()?;
        self.model.check()?;
        self.pipeline.check()?;
        self.rules.check()?;
        #[cfg(feature = "service")]
        {
            self.mqtt.check()?;
            self.webhook.check()?;
        }
        self.display.check()
    }
}

fn overlay(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => overlay(below, above),
            (_, value) => drop(below.insert(key, value)),
        }
    }
}
