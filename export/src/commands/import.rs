use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use edge_seg_bundle::Fit;
use edge_seg_export::config::{Activation, Head, ModelConfig, Similarity};
use edge_seg_export::import::{KNOWN, Options, import, is_unfinished, write};

/// Read published CLIP weights and write them as a model folder, ready for `bundle`.
///
/// SOURCE is a Hugging Face CLIP folder, an open_clip folder, a file of weights (.safetensors, .pt, .pth, .bin, .ckpt) of OpenAI, open_clip, TinyCLIP
/// or TCL, or hf:OWNER/NAME[@REVISION], which is downloaded into the hub's cache (HF_HOME; HF_ENDPOINT names another hub). A .pt is read
/// without running anything of it. Sizes are read from the weights; a weight that is missing or left over is an error that names it.
#[derive(Args)]
pub struct Import {
    /// The folder, the file, or hf:OWNER/NAME[@REVISION].
    #[arg(required_unless_present = "list")]
    source: Option<String>,
    /// The model folder to write.
    #[arg(short, long, value_name = "FOLDER", required_unless_present = "list")]
    out: Option<PathBuf>,
    /// Print the families that are read, whose forms of them, and what each was held against, and do nothing else.
    #[arg(long, exclusive = true)]
    list: bool,
    /// The model's name; the source's file name if none.
    #[arg(long)]
    name: Option<String>,
    /// CLIP's tokenizer.json or its vocabulary file bpe_simple_vocab_16e6.txt, where the source has neither.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Where the model begins among the names, where the file holds several, as a training run's averaged weights beside the model.
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// A LoRA to merge: a folder of peft (adapter_config.json, adapter_model.safetensors or .bin), or a file of loralib or minLoRA.
    #[arg(long, value_name = "PATH")]
    lora: Option<PathBuf>,
    /// The alpha that a LoRA was trained with, where its file holds none.
    #[arg(long, value_name = "X")]
    lora_alpha: Option<f64>,
    /// CLIP's own weights, for a TCL checkpoint that was stored without them.
    #[arg(long, value_name = "FILE")]
    base: Option<PathBuf>,
    /// The dense head. All but maskclip change how the last block attends, and need no training.
    #[arg(long, value_enum)]
    head: Option<HeadArg>,
    /// Deviation of the neighbour head's Gaussian, in patches.
    #[arg(long, default_value_t = 5.0, value_name = "PATCHES")]
    deviation: f32,
    /// Leave out weights that the architecture does not have, and say which, in place of refusing them.
    #[arg(long)]
    partial: bool,
    /// The blocks' activation, where the source does not say: quick-gelu for OpenAI's weights.
    #[arg(long, value_enum)]
    activation: Option<ActivationArg>,
    /// Width of an attention head, where the source does not say: of the image tower, and of the text tower unless that has its own.
    #[arg(long, value_name = "N")]
    head_width: Option<usize>,
    /// Width of an attention head of the text tower, where the source does not say.
    #[arg(long, value_name = "N")]
    text_head_width: Option<usize>,
    /// Heads of the image tower's pooling attention, where neither the source nor the published sizes tell.
    #[arg(long, value_name = "N")]
    pool_heads: Option<usize>,
    /// A preprocessor_config.json, processor_config.json or open_clip_config.json, where the source has none, or `clip` for CLIP's own.
    #[arg(long, value_name = "FILE")]
    preprocess: Option<PathBuf>,
    /// How a picture is brought to the input, in place of what the source says.
    #[arg(long, value_enum)]
    fit: Option<FitArg>,
    /// A sentence that a word is put into, at {}; may be given several times. The family's own if none.
    #[arg(long = "template", value_name = "TEXT")]
    templates: Vec<String>,
    /// Default side of the prepared input in pixels; the source's if none.
    #[arg(long, value_name = "PX")]
    input_px: Option<usize>,
    /// The licence of the weights.
    #[arg(long, default_value = "not stated; see the source of the weights", value_name = "TEXT")]
    licence: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ActivationArg {
    Gelu,
    GeluTanh,
    QuickGelu,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum FitArg {
    /// The short side, keeping the aspect.
    Grid,
    /// The long side, in a padded square.
    Letterbox,
    /// Both sides, whatever the aspect.
    Squash,
}

impl From<FitArg> for Fit {
    fn from(fit: FitArg) -> Self {
        match fit {
            FitArg::Grid => Self::Grid,
            FitArg::Letterbox => Self::Letterbox,
            FitArg::Squash => Self::Squash,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum HeadArg {
    /// The last block's values, without attention, residual and MLP.
    Maskclip,
    /// The last block without residual and MLP.
    Reduced,
    /// Queries attend to queries.
    QueryQuery,
    /// Keys attend to keys.
    KeyKey,
    /// Keys attend to keys, near ones more.
    Neighbour,
}

impl HeadArg {
    fn head(self, deviation: f32) -> Head {
        let attention = |similarity, neighbour| Head::Attention { similarity, neighbour, residual: false, mlp: false };
        match self {
            HeadArg::Maskclip => Head::Maskclip {},
            HeadArg::Reduced => attention(Similarity::QueryKey, 0.0),
            HeadArg::QueryQuery => attention(Similarity::QueryQuery, 0.0),
            HeadArg::KeyKey => attention(Similarity::KeyKey, 0.0),
            HeadArg::Neighbour => attention(Similarity::KeyKey, deviation),
        }
    }
}

impl Import {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (Some(source), Some(out)) = (self.source, self.out) else {
            let mut out = edge_seg_terminal::results();
            writeln!(out, "{:<32} {:<82} held against", "family", "forms")?;
            for known in KNOWN {
                writeln!(out, "{:<32} {:<82} {}", known.family, known.forms, known.verified)?;
            }
            return Ok(ExitCode::SUCCESS);
        };
        let named = source.strip_prefix("hf:").map_or(source.as_str(), |id| id.split('@').next().unwrap_or(id));
        let stem = Path::new(named).file_stem().map(|s| s.to_string_lossy().into_owned());
        let options = Options {
            name: self.name.or(stem).unwrap_or_else(|| "clip".into()),
            tokenizer: self.tokenizer,
            key: self.key,
            lora: self.lora,
            lora_alpha: self.lora_alpha,
            base: self.base,
            head: self.head.map(|head| head.head(self.deviation)),
            activation: self.activation.map(|a| match a {
                ActivationArg::Gelu => Activation::Gelu,
                ActivationArg::GeluTanh => Activation::GeluTanh,
                ActivationArg::QuickGelu => Activation::QuickGelu,
            }),
            head_width: self.head_width,
            text_head_width: self.text_head_width,
            pool_heads: self.pool_heads,
            preprocess: self.preprocess,
            fit: self.fit.map(Into::into),
            templates: self.templates,
            input_px: self.input_px,
            partial: self.partial,
            licence: self.licence,
        };
        check_free(&out)?;
        let model = import(&source, &options)?;
        write(&out, &model)?;
        eprintln!("{source}:\n{}", model.report);
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether a folder has no model but one that was written here: a checkpoint's own files have the same names.
fn check_free(folder: &Path) -> anyhow::Result<()> {
    let mut taken = None;
    for name in ["model.safetensors", "config.json", "tokenizer.json"] {
        let path = folder.join(name);
        taken = taken.or(path.try_exists().with_context(|| path.display().to_string())?.then_some(name));
    }
    let Some(taken) = taken else { return Ok(()) };
    let config = folder.join("config.json");
    match std::fs::File::open(&config) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).with_context(|| config.display().to_string()),
        _ => {}
    }
    let is_ours = ModelConfig::read(&config).is_ok() || is_unfinished(folder);
    let place = folder.display();
    ensure!(is_ours, "{place}: expected a new folder, or one that this command wrote, found another {taken}; try: -o {place}-imported");
    Ok(())
}
