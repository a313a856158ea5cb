use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use edge_seg::live::{Countable, ThingOptions};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cli::flags::{needs, words};

/// Things that are counted and followed.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Things")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ThingsArgs {
    /// Words whose things are counted and followed, separated by commas, or `all`: person and car, not sky or road.
    #[arg(long, value_name = "WORDS", value_parser = parse, allow_hyphen_values = true)]
    #[serde(rename = "words", serialize_with = "write", deserialize_with = "read")]
    things: Option<Countable>,
    /// Least share of the picture that a thing covers [default: 0.0005].
    #[arg(long, value_name = "SHARE")]
    #[serde(rename = "least")]
    things_least: Option<f64>,
    /// Seconds out of sight after which a thing that comes back is another one [default: 2].
    #[arg(long, value_name = "S")]
    #[serde(rename = "patience")]
    things_patience: Option<f64>,
}

pub fn parse(text: &str) -> Result<Countable, String> {
    words(text)?.parse().map_err(|found| format!("expected all, or words separated by commas, found {found}"))
}

fn write<S: Serializer>(words: &Option<Countable>, serializer: S) -> Result<S::Ok, S::Error> {
    words.as_ref().map(ToString::to_string).serialize(serializer)
}

fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Countable>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| parse(&text)).transpose().map_err(serde::de::Error::custom)
}

impl ThingsArgs {
    pub fn check(&self) -> Result<()> {
        needs("--things-least", self.things_least.is_some(), "--things", self.things.is_some())?;
        needs("--things-patience", self.things_patience.is_some(), "--things", self.things.is_some())?;
        let least = self.things_least.unwrap_or(0.0);
        ensure!((0.0..=1.0).contains(&least), "--things-least: expected 0 to 1, found {least}");
        let patience = self.things_patience.unwrap_or(0.0);
        ensure!((0.0..=3600.0).contains(&patience), "--things-patience: expected seconds, 0 to 3600, found {patience}");
        Ok(())
    }

    /// Words whose things are counted and that are not listed: misspelt, or for somebody to add.
    pub fn unlisted(&self, is_listed: impl Fn(&str) -> bool) -> Vec<String> {
        match &self.things {
            Some(Countable::Words(words)) => words.iter().filter(|word| !is_listed(word)).cloned().collect(),
            _ => Vec::new(),
        }
    }

    pub fn options(&self) -> Option<ThingOptions> {
        let options = ThingOptions::new(self.things.clone()?);
        let least = self.things_least.unwrap_or(options.least_share);
        let patience = self.things_patience.map_or(options.patience, Duration::from_secs_f64);
        Some(options.with_least_share(least).with_patience(patience))
    }
}
