use anyhow::{Result, ensure};
use clap::Args;
use edge_seg::rules::RuleBook;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::display::DisplayArgs;
#[cfg(feature = "service")]
use super::http::HttpArgs;
use super::index::IndexArgs;
use super::input::InputArgs;
use super::log::LogArgs;
#[cfg(feature = "service")]
use super::notify::{MqttArgs, WebhookArgs};
use super::output::OutputArgs;
use super::pipeline::PipelineArgs;
use super::rules::RulesArgs;
use super::things::ThingsArgs;
use super::words::WordsArgs;
use crate::cli::args::{BackgroundArgs, ModelArgs};
use crate::cli::hide::HideArgs;

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
    pub hide: HideArgs,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    #[command(flatten)]
    pub things: ThingsArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub index: IndexArgs,
    #[command(flatten)]
    pub rules: RulesArgs,
    #[cfg(feature = "service")]
    #[command(flatten)]
    pub http: HttpArgs,
    #[cfg(feature = "service")]
    #[command(flatten)]
    pub mqtt: MqttArgs,
    #[cfg(feature = "service")]
    #[command(flatten)]
    pub webhook: WebhookArgs,
    #[command(flatten)]
    pub display: DisplayArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

impl Settings {
    /// These settings where they say something, else those of `file`.
    pub fn over(&self, mut file: Self) -> Result<Self> {
        if self.words.tags.is_some() || self.words.tags_file.is_some() {
            (file.words.tags, file.words.tags_file) = (None, None);
        }
        let mut merged = file.table()?;
        overlay(&mut merged, self.table()?);
        Ok(merged.try_into()?)
    }

    /// What is given, as a file would hold it.
    pub fn table(&self) -> Result<Table> {
        Ok(Table::try_from(self)?)
    }

    /// What no single value can show: ranges, and options that need or exclude each other.
    pub fn check(&self) -> Result<()> {
        self.input.check()?;
        self.words.check()?;
        self.background.words()?;
        self.model.check()?;
        self.hide.check(self.may_hide())?;
        self.pipeline.check(self.may_hide())?;
        self.things.check()?;
        self.output.check(self.input.source.as_deref())?;
        self.index.check()?;
        // Its embeddings are of whole frames, what is hidden included.
        ensure!(!(self.hide.is_given() && self.index.is_given()), "--index, --hide: expected one of them, found both");
        self.rules.check(self.index.is_given())?;
        #[cfg(feature = "service")]
        {
            self.http.check()?;
            ensure!(!(self.http.hides() && self.index.is_given()), "--index, --hide-switches: expected one of them, found both");
            self.mqtt.check()?;
            self.webhook.check(self.rules.file().is_some())?;
        }
        self.display.check()
    }

    /// Whether something is hidden, or may be while it runs.
    pub fn may_hide(&self) -> bool {
        #[cfg(feature = "service")]
        let switched = self.http.hides();
        #[cfg(not(feature = "service"))]
        let switched = false;
        self.hide.is_given() || switched
    }

    /// As [`Self::check`], and whether the files that it names and that are read at the start can be used.
    pub fn check_files(&self) -> Result<()> {
        self.check()?;
        self.input.check_name()?;
        self.words.specs()?;
        self.model.check_bundle()?;
        self.book()?;
        self.output.check_folders()?;
        self.rules.check_folders()?;
        self.index.check_folder()?;
        #[cfg(feature = "service")]
        {
            self.http.check_service()?;
            self.mqtt.check_service()?;
            self.webhook.sinks()?.iter().try_for_each(|options| options.check())?;
        }
        self.display.check_name()
    }

    /// The rules, with what they need beside them.
    pub fn book(&self) -> Result<RuleBook> {
        let book = self.rules.book()?;
        let counts = self.things.options().is_some() || !book.counts();
        ensure!(counts, "--rules: expected --things WORDS, whose things the rules count, found none; try --things person");
        let keeps = self.words.state.is_some() || !book.learns();
        ensure!(keeps, "--rules: expected --state DIR to keep what is usual in, which rules ask for, found none");
        Ok(book)
    }

    /// Names of the keys whose values are not the same in both, as `section.key`.
    pub fn differences(&self, other: &Self) -> Result<Vec<String>> {
        let (a, b) = (keys(&self.table()?), keys(&other.table()?));
        let mut names: Vec<_> =
            a.iter().chain(&b).filter(|pair| !(a.contains(pair) && b.contains(pair))).map(|(name, _)| name.clone()).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }
}

/// All keys with their values, as `section.key`.
pub fn keys(table: &Table) -> Vec<(String, Value)> {
    let of = |(section, values): (&String, &Value)| match values {
        Value::Table(values) => values.iter().map(|(key, value)| (format!("{section}.{key}"), value.clone())).collect(),
        other => vec![(section.clone(), other.clone())],
    };
    table.iter().flat_map(of).collect()
}

fn overlay(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => overlay(below, above),
            (_, value) => drop(below.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file() {
        let file: Settings = toml::from_str(
            "[input]\nsource = \"a.y4m\"\nloop = true\n[words]\ntags-file = \"w.txt\"\n[background]\nthreshold = \"none\"\n",
        )
        .unwrap();
        let mut flags = Settings::default();
        flags.input.source = Some("b.y4m".into());
        flags.words.tags = Some("dog".into());
        let both = flags.over(file.clone()).unwrap();
        assert_eq!(both.input.source.as_deref(), Some("b.y4m"));
        assert_eq!(both.words, flags.words);
        assert_eq!(both.background, file.background);
        assert_eq!(both.differences(&file).unwrap(), ["input.source", "words.tags", "words.tags-file"]);
        assert!(both.differences(&both).unwrap().is_empty());
    }
}
