//! Options that several commands have.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use edge_seg::device::{Device, OnFallback};
use edge_seg::sink::Legend;
use edge_seg::trust::Trust;
use edge_seg::{Background, Bundle, Languages, Manifest, ModelError, Options, Placement, Refinement, Session};
use edge_seg_board::boards::Target;
use edge_seg_model::Threads;
use serde::{Deserialize, Serialize};

use super::flags::{needs, one_kind_of, or_try, with_flags, words};

/// Which model runs, and how.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Model")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModelArgs {
    /// Bundle to run (.esb); the built-in one if not given.
    #[arg(long, value_name = "FILE")]
    #[serde(rename = "file")]
    pub model: Option<PathBuf>,
    /// Side of the encoder's input in pixels: larger is finer and slower [default: the model's].
    #[arg(long, value_name = "N")]
    pub size: Option<usize>,
    /// Languages whose words are looked for by their English meaning, separated by commas: de, es, fr, it, pt, nl, pl, zh; `all` or `off`.
    /// English words stay English; where `en` stands behind a language, that language comes first [default: all].
    #[arg(long, value_name = "LIST", value_parser = parse_languages)]
    #[serde(with = "language_value", skip_serializing_if = "Option::is_none")]
    pub language: Option<Languages>,
    /// Threads [default: one for each core].
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Where the image encoder runs; `auto` says what it chose, and why [default: cpu].
    #[arg(long, value_enum)]
    pub device: Option<DeviceArg>,
    /// Compute in 16-bit floats, on a GPU or an Arm processor with `fp16` (Raspberry Pi 5, Jetson Orin): faster, and a little less exact.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub half: Option<bool>,
    /// When the GPU fails in the middle of its work, go on with the processor in place of stopping.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub device_fallback: Option<bool>,
    /// Refuse a bundle that none of these keys has signed: a minisign .pub file, or a folder of them.
    #[arg(long, value_name = "PATH")]
    pub trusted_keys: Option<PathBuf>,
    /// With --trusted-keys, refuse a bundle that is for other boards.
    #[arg(long, value_name = "NAME")]
    pub board: Option<Vec<String>>,
    /// With --trusted-keys, refuse a bundle with a lower release number.
    #[arg(long, value_name = "N")]
    pub min_serial: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceArg {
    /// The processor.
    Cpu,
    /// An NVIDIA GPU, or an error that says what is missing.
    Cuda,
    /// An NVIDIA GPU where one can be used, otherwise the processor.
    Auto,
}

impl ModelArgs {
    /// Whether the encoder may run on a GPU.
    pub fn may_use_gpu(&self) -> bool {
        matches!(self.device, Some(DeviceArg::Cuda | DeviceArg::Auto))
    }

    pub fn check(&self) -> Result<()> {
        needs("--trusted-keys", self.trusted_keys.is_some(), "--model", self.model.is_some())?;
        needs("--board", self.board.is_some(), "--trusted-keys", self.trusted_keys.is_some())?;
        needs("--min-serial", self.min_serial.is_some(), "--trusted-keys", self.trusted_keys.is_some())?;
        let threads = self.threads.unwrap_or(1);
        ensure!((1..=Threads::MOST).contains(&threads), "--threads: expected 1 to {}, found {threads}", Threads::MOST);
        Ok(())
    }

    /// As [`Self::check`], and whether the bundle can be used with these.
    pub fn check_bundle(&self) -> Result<()> {
        let bundle = self.bundle()?;
        self.size.map(|size| Placement::new((1, 1), &bundle.manifest().image, size)).transpose()?;
        Ok(())
    }

    pub fn bundle(&self) -> Result<Bundle> {
        self.check()?;
        let opened = self.open_bundle();
        let Some(path) = &self.model else { return opened };
        opened.map_err(|e| or_try(e, path, "without --model, for the model in the program"))
    }

    fn open_bundle(&self) -> Result<Bundle> {
        Ok(match (&self.model, &self.trusted_keys) {
            (Some(path), Some(keys)) => {
                let board = self.board.iter().flatten().map(|name| name.parse::<Target>().context("--board"));
                let board: Vec<&str> = board.collect::<Result<Vec<_>>>()?.into_iter().flat_map(Target::names).collect();
                Trust::read(keys)?.on_board(&board).at_least(self.min_serial.unwrap_or(0)).open(path)?
            }
            (Some(path), None) => Bundle::open(path)?,
            (None, _) => Bundle::built_in()?,
        })
    }

    pub fn session(&self) -> Result<Session> {
        self.session_with(None, false)
    }

    /// A session whose GPU, if any, encodes `batch` pictures at once, and makes masks.
    pub fn session_with(&self, batch: Option<usize>, gpu_masks: bool) -> Result<Session> {
        self.check()?;
        if let Some(threads) = self.threads {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("thread pool")?;
        }
        let device = match self.device {
            None | Some(DeviceArg::Cpu) => Device::Cpu,
            Some(DeviceArg::Cuda) => Device::Cuda,
            Some(DeviceArg::Auto) => Device::Auto,
        };
        let tell = |error: &ModelError| eprintln!("edge-seg: {}; from here on the processor does its work", with_flags(error));
        let on_fallback = self.device_fallback.unwrap_or(false).then(|| OnFallback::new(tell));
        let options = Options::default().with_size_px(self.size).with_threads(self.threads).with_device(device).with_batch(batch);
        let options = options.with_half(self.half.unwrap_or(false)).with_gpu_masks(gpu_masks).with_on_fallback(on_fallback);
        let options = options.with_languages(self.language.clone().unwrap_or_default());
        let session = Session::new(self.bundle()?, &options)?;
        if device == Device::Auto {
            eprintln!("edge-seg: --device auto chose {}: {}", session.device().device, session.device().why);
        }
        Ok(session)
    }
}

/// What belongs to no word.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Background")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct BackgroundArgs {
    /// Pixels whose best score is below this belong to no word: 0 to 1, or `none` [default: the model's].
    #[arg(long, value_name = "T", value_parser = parse_background)]
    #[serde(rename = "threshold", with = "background_value")]
    pub background: Option<Background>,
    /// Words for what is to be left out, separated by commas: where one of them fits best, there is background.
    #[arg(long, value_name = "WORDS", value_parser = words, allow_hyphen_values = true)]
    #[serde(rename = "words")]
    pub background_words: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LegendArg {
    /// None.
    None,
    /// Those that the picture shows, the largest first.
    #[default]
    Found,
    /// All, in their order.
    All,
}

impl From<LegendArg> for Legend {
    fn from(arg: LegendArg) -> Self {
        match arg {
            LegendArg::None => Legend::None,
            LegendArg::Found => Legend::Found,
            LegendArg::All => Legend::All,
        }
    }
}

impl From<RefineArg> for Refinement {
    fn from(arg: RefineArg) -> Self {
        match arg {
            RefineArg::None => Refinement::None,
            RefineArg::Guided => Refinement::Guided,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RefineArg {
    /// Nothing: scores are upsampled as they are.
    None,
    /// They move to the picture's edges, by a guided filter at low resolution.
    Guided,
}

impl BackgroundArgs {
    pub fn threshold(&self, manifest: &Manifest) -> Background {
        self.background.unwrap_or(Background::Threshold(manifest.background))
    }

    pub fn words(&self) -> edge_seg::Result<Vec<String>> {
        match &self.background_words {
            Some(list) => Ok(one_kind_of("--background-words", list)?.into_iter().flat_map(|class| class.words).collect()),
            None => Ok(Vec::new()),
        }
    }
}

/// `none`, or a score from 0 to 1.
fn parse_background(text: &str) -> Result<Background, String> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(Background::None);
    }
    match text.parse::<f32>() {
        Ok(t) if (0.0..=1.0).contains(&t) => Ok(Background::Threshold(t)),
        _ => Err("expected `none` or a score from 0 to 1".into()),
    }
}

/// A background in a configuration file: a number, or "none".
mod background_value {
    use edge_seg::Background;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged, expecting = "expected \"none\" or a score from 0 to 1")]
    enum Value {
        Number(f64),
        Text(String),
    }

    pub fn serialize<S: Serializer>(background: &Option<Background>, serializer: S) -> Result<S::Ok, S::Error> {
        let value = background.map(|b| b.threshold().map_or_else(|| Value::Text("none".into()), |t| Value::Number(t.into())));
        value.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Background>, D::Error> {
        let text = match Value::deserialize(deserializer)? {
            Value::Number(number) => number.to_string(),
            Value::Text(text) => text,
        };
        super::parse_background(&text).map(Some).map_err(serde::de::Error::custom)
    }
}

fn parse_languages(text: &str) -> Result<Languages, String> {
    text.parse().map_err(|e: ModelError| match e {
        ModelError::Option { expected, found, .. } => format!("expected {expected}, found {found}"),
        other => other.to_string(),
    })
}

/// Languages in a configuration file, as the flag takes them.
mod language_value {
    use edge_seg::Languages;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(languages: &Option<Languages>, serializer: S) -> Result<S::Ok, S::Error> {
        languages.as_ref().map(ToString::to_string).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Languages>, D::Error> {
        super::parse_languages(&String::deserialize(deserializer)?).map(Some).map_err(serde::de::Error::custom)
    }
}
