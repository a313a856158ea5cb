use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use edge_seg::hide::{Hide, HideBy, HideOptions};
use edge_seg::{Class, Session};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use serde::{Deserialize, Serialize};

use super::flags::{needs, one_kind_of, words};
use super::meanings::tell_meanings;

/// What nobody is to see.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Hide")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct HideArgs {
    /// Words, separated by commas, whose things no picture that leaves the program shows: "person, licence plate". A mask can miss one.
    #[arg(long, value_name = "WORDS", value_parser = words, allow_hyphen_values = true)]
    #[serde(rename = "words")]
    hide: Option<String>,
    /// What is put in their place [default: fill].
    #[arg(long, value_enum)]
    #[serde(rename = "by")]
    hide_by: Option<HideByArg>,
    /// How far around them is hidden too, as a share of the picture's short side [default: 0.05].
    #[arg(long, value_name = "SHARE")]
    #[serde(rename = "margin")]
    hide_margin: Option<f32>,
    /// Score from which they are hidden, whatever else fits there better: lower hides more [default: a third of the model's background].
    #[arg(long, value_name = "T")]
    #[serde(rename = "threshold")]
    hide_threshold: Option<f32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum HideByArg {
    /// One dark grey: nothing but the place is left.
    Fill,
    /// Few squares of their mean colours.
    Pixelate,
    /// The same with soft passages.
    Blur,
}

impl HideArgs {
    /// Words that are hidden in any case.
    pub fn classes(&self) -> Result<Vec<Class>> {
        Ok(self.hide.as_deref().map(|words| one_kind_of("--hide", words)).transpose()?.unwrap_or_default())
    }

    /// `may_hide` is whether something is hidden, or may be later.
    pub fn check(&self, may_hide: bool) -> Result<()> {
        self.classes()?;
        needs("--hide-by", self.hide_by.is_some(), "--hide", may_hide)?;
        for (option, share) in [("--hide-margin", self.hide_margin), ("--hide-threshold", self.hide_threshold)] {
            needs(option, share.is_some(), "--hide", may_hide)?;
            let share = share.unwrap_or_default();
            ensure!((0.0..=1.0).contains(&share), "{option}: expected 0 to 1, found {share}");
        }
        Ok(())
    }

    pub fn is_given(&self) -> bool {
        self.hide.is_some()
    }

    /// How it is hidden.
    pub fn options(&self, max_age: Option<Duration>) -> HideOptions {
        let by = match self.hide_by {
            None | Some(HideByArg::Fill) => HideBy::Fill,
            Some(HideByArg::Pixelate) => HideBy::Pixelate,
            Some(HideByArg::Blur) => HideBy::Blur,
        };
        let usual = HideOptions::default();
        let options = usual.with_by(by).with_margin(self.hide_margin.unwrap_or(usual.margin)).with_threshold(self.hide_threshold);
        options.with_max_age(max_age.unwrap_or(usual.max_age))
    }

    /// What is to be hidden, as the model knows it; none if nothing is.
    pub fn hide(&self, session: &Session, max_age: Option<Duration>) -> Result<Option<Hide>> {
        let classes = self.classes()?;
        if classes.is_empty() {
            return Ok(None);
        }
        tell_meanings(session, &classes, &[]);
        Ok(Some(session.hide_classes(&classes, self.options(max_age))?))
    }
}

/// Keeps the memory of this process, in which frames are whole, out of core dumps and from other processes of the user.
pub fn keep_memory() -> Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).context("no core dumps")?;
    // The limit is no matter to a handler that the kernel pipes dumps to.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("no core dumps")
}
