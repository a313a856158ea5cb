use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use edge_seg::live::{GovernorOptions, KeyFrames, LiveOptions, Propagation, PropagationOptions};
use edge_seg::source::Pace;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cli::flags::needs;

/// How frames are worked on.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Pipeline")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PipelineArgs {
    /// Run the encoder on every Nth frame; `auto` runs it beside, as often as it can, while every frame has its masks at once; `auto:0.5`
    /// lets it work for half of the time [default: auto for sources that run live, else 1].
    #[arg(long, value_name = "N|auto")]
    key_interval: Option<KeyInterval>,
    /// How masks get from a key frame to the frames after it [default: scores].
    #[arg(long, value_enum)]
    carry: Option<CarryArg>,
    /// Smooth scores over key frames with this time constant in milliseconds: steadier labels that lag behind [default: 120 for sources that run live, else 0, none].
    #[arg(long, value_name = "MS")]
    smoothing: Option<u64>,
    /// Let another scene make a key frame of its own [default: true].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    scene_cuts: Option<bool>,
    /// Lower the encoder's rate, then its size, while the board is hot or throttled [default: auto].
    #[arg(long, value_enum)]
    governor: Option<GovernorArg>,
    /// Temperature in °C from which the board counts as hot [default: 5 below its own passive trip points, else 75].
    #[arg(long, value_name = "C")]
    hot_c: Option<f32>,
    /// Folder that stands for `/` where the governor reads the board's sensors.
    #[arg(long, value_name = "DIR", hide = true)]
    system_root: Option<PathBuf>,
    /// With --hide, hide whole frames while masks are older than this, in seconds [default: 2].
    #[arg(long, value_name = "S")]
    hide_max_age: Option<f64>,
    /// Stop after N segmented frames.
    #[arg(long, value_name = "N")]
    pub frames: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum CarryArg {
    /// They stand still.
    Still,
    /// The scores of the patches move with the picture.
    #[default]
    Scores,
    /// The labels of the pixels move with the picture.
    Labels,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum GovernorArg {
    /// For sources that run live; files are worked on as they are.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// Which frames are key frames, as it is written: `4`, `auto`, `auto:0.5`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct KeyInterval(KeyFrames);

impl FromStr for KeyInterval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let share = |text: &str| text.parse().ok().filter(|s: &f32| *s > 0.0 && *s <= 1.0);
        let keys = match text.split_once(':') {
            None if text == "auto" => Some(KeyFrames::Auto { share: 1.0 }),
            Some(("auto", text)) => share(text).map(|share| KeyFrames::Auto { share }),
            _ => text.parse().ok().filter(|n| *n > 0).map(KeyFrames::Every),
        };
        keys.map(Self).ok_or_else(|| format!("expected 1 or more, auto, or auto:SHARE with a share above 0 and up to 1, found {text:?}"))
    }
}

impl fmt::Display for KeyInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for KeyInterval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyInterval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a whole number of 1 or more, \"auto\" or \"auto:SHARE\"")]
        enum Written {
            Number(u64),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

const MOST_AGE_S: f64 = 3600.0;
const LONGEST_SMOOTHING_MS: u64 = 60_000;
/// On the clip that it was measured on, it halves the flicker, costs 90 ms of lag and gains a point of mIoU.
const LIVE_SMOOTHING_MS: u64 = 120;

impl PipelineArgs {
    pub fn check(&self, hides: bool) -> Result<()> {
        needs("--hide-max-age", self.hide_max_age.is_some(), "--hide", hides)?;
        ensure!(self.frames != Some(0), "--frames: expected 1 or more, found 0");
        let max_age = self.hide_max_age.unwrap_or(1.0);
        ensure!((0.0..=MOST_AGE_S).contains(&max_age), "--hide-max-age: expected seconds, 0 to {MOST_AGE_S}, found {max_age}");
        let smoothing = self.smoothing.unwrap_or(0);
        ensure!(smoothing <= LONGEST_SMOOTHING_MS, "--smoothing: expected 0 to {LONGEST_SMOOTHING_MS} ms, found {smoothing}");
        let hot = self.hot_c.unwrap_or(75.0);
        ensure!((20.0..=120.0).contains(&hot), "--hot-c: expected 20 to 120 °C, found {hot}");
        Ok(())
    }

    /// How old masks may become that something is hidden by.
    pub fn hide_max_age(&self) -> Option<Duration> {
        self.hide_max_age.map(Duration::from_secs_f64)
    }

    /// Whether frames that are not taken in time are lost; else the source waits.
    pub fn is_live(&self, pace: Pace, source_is_live: bool) -> bool {
        pace == Pace::Live || (pace == Pace::Auto && source_is_live)
    }

    /// The options of a source that runs live or waits.
    pub fn live_options(&self, pace: Pace, source_is_live: bool) -> LiveOptions {
        let live = self.is_live(pace, source_is_live);
        let governed = match self.governor.unwrap_or_default() {
            GovernorArg::Auto => live,
            GovernorArg::On => true,
            GovernorArg::Off => false,
        };
        let carry = match self.carry.unwrap_or_default() {
            CarryArg::Still => Propagation::Still,
            CarryArg::Scores => Propagation::Scores,
            CarryArg::Labels => Propagation::Labels,
        };
        let root = self.system_root.clone().unwrap_or_else(|| "/".into());
        let governor = GovernorOptions::default().with_root(root).with_hot_c(self.hot_c);
        let smoothing = Duration::from_millis(self.smoothing.unwrap_or(if live { LIVE_SMOOTHING_MS } else { 0 }));
        let keys = if live { KeyFrames::Auto { share: 1.0 } } else { KeyFrames::Every(1) };
        LiveOptions::default()
            .with_pace(pace)
            .with_keys(self.key_interval.map_or(keys, |interval| interval.0))
            .with_carry(PropagationOptions::default().with_carry(carry).with_smoothing(smoothing))
            .with_scene_cuts(self.scene_cuts.unwrap_or(true))
            .with_governor(governed.then_some(governor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_intervals_are_numbers_or_shares_of_the_time() {
        let parsed = |text: &str| text.parse::<KeyInterval>().map(|k| k.0);
        assert_eq!(parsed("4"), Ok(KeyFrames::Every(4)));
        assert_eq!(parsed("auto"), Ok(KeyFrames::Auto { share: 1.0 }));
        assert_eq!(parsed("auto:0.25"), Ok(KeyFrames::Auto { share: 0.25 }));
        for wrong in ["0", "-1", "auto:0", "auto:1.5", "auto:NaN", "often", ""] {
            assert!(parsed(wrong).unwrap_err().contains("expected 1 or more"), "{wrong}");
        }
        let read = |text: &str| toml::from_str::<PipelineArgs>(text);
        assert_eq!(read("key-interval = 3").unwrap().key_interval, Some(KeyInterval(KeyFrames::Every(3))));
        let auto = read("key-interval = \"auto:0.5\"").unwrap();
        assert_eq!(read(&toml::to_string(&auto).unwrap()).unwrap(), auto);
        assert!(read("key-interval = 0").is_err());
        assert!(read("key-interval = 5.0").unwrap_err().to_string().contains("expected a whole number of 1 or more, \"auto\""));
    }
}
