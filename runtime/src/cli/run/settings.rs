use std::path::Path;

use anyhow::{Result, anyhow};
use clap::Args;
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
use crate::cli::hide::HideArgs;
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

/// Longest file of settings that is read; it may hold words.
const MAX_FILE_BYTES: u64 = 16 << 20;

impl Settings {
    /// A file's settings.
    pub fn read(path: &Path) -> Result<Self> {
        let text = edge_seg_model::text::read_text_within(path, MAX_FILE_BYTES)?;
        toml::from_str(&text).map_err(|e| {
            let hint = nearest(e.message()).map(|hint| format!("\n{hint}")).unwrap_or_default();
            anyhow!("{}: {}{hint}", path.display(), e.to_string().trim_end())
        })
    }

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
        anyhow::ensure!(!(self.hide.is_given() && self.index.is_given()), "--index, --hide: expected one of them, found both");
        self.rules.check(self.index.is_given())?;
        #[cfg(feature = "service")]
        {
            self.http.check()?;
            anyhow::ensure!(!(self.http.hides() && self.index.is_given()), "--index, --hide-switches: expected one of them, found both");
            self.mqtt.check()?;
            self.webhook.check()?;
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
        self.words.specs()?;
        #[cfg(feature = "service")]
        self.http.token()?;
        Ok(())
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

/// What an unknown name was probably meant to be, from serde's message: "unknown field `a`, expected one of `b`, `c`".
fn nearest(message: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown field `").or_else(|| message.strip_prefix("unknown variant `"))?;
    let (found, known) = rest.split_once('`')?;
    if let Some((name, _)) =
        super::describe::options().into_iter().find(|(name, _)| name.split_once('.').is_some_and(|(_, key)| key == found))
    {
        let section = name.split_once('.').map_or("", |(section, _)| section);
        if !known.contains(&format!("`{found}`")) {
            return Some(format!("`{found}` belongs into [{section}]"));
        }
    }
    let close = |name: &&str| strsim::damerau_levenshtein(found, name);
    let best = known.split('`').skip(1).step_by(2).min_by_key(close)?;
    (close(&best) <= best.len().max(found.len()) / 2).then(|| format!("did you mean `{best}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.toml");
        std::fs::write(&file, text).unwrap();
        Settings::read(&file)
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest() {
        for (text, hint) in [
            ("[input]\nsorce = \"test:\"\n", "did you mean `source`?"),
            ("[imput]\nsource = \"test:\"\n", "did you mean `input`?"),
            ("[input]\npace = \"life\"\n", "did you mean `live`?"),
            ("[input]\ntags = \"dog\"\n", "`tags` belongs into [words]"),
            ("tags = \"dog\"\n", "`tags` belongs into [words]"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(hint) && error.contains(" line "), "{text}: {error}");
        }
        assert!(read("[background]\nthreshold = 2.0\n").unwrap_err().to_string().contains("0 to 1"));
        assert!(read("[input\n").is_err());
    }

    #[test]
    fn flags_win_over_the_file() {
        let file =
            read("[input]\nsource = \"a.y4m\"\nloop = true\n[words]\ntags-file = \"w.txt\"\n[background]\nthreshold = \"none\"\n").unwrap();
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
