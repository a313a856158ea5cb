use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use edge_seg_export::config::Activation;
use edge_seg_export::import::{Options, import, write};

/// Read published CLIP weights and write them as a model folder with a MaskCLIP head, ready for `bundle`.
///
/// SOURCE is a Hugging Face CLIP folder, an open_clip folder, or a file of weights (.safetensors, .pt, .pth, .bin) under OpenAI's or Hugging Face's
/// names: OpenAI CLIP, open_clip, TinyCLIP. A .pt is read without running anything of it. Sizes are read from the weights; a weight that is
/// missing or left over is an error that names it.
#[derive(Args)]
pub struct Import {
    /// The folder or file.
    source: PathBuf,
    /// The model folder to write.
    #[arg(short, long, value_name = "FOLDER")]
    out: PathBuf,
    /// The model's name; the source's file name if none.
    #[arg(long)]
    name: Option<String>,
    /// CLIP's tokenizer.json, where the source has none.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// A LoRA of peft to merge: a folder with adapter_config.json and adapter_model.safetensors.
    #[arg(long, value_name = "FOLDER")]
    lora: Option<PathBuf>,
    /// The blocks' activation, where the source does not say: quick-gelu for OpenAI's weights.
    #[arg(long, value_enum)]
    activation: Option<ActivationArg>,
    /// Width of an attention head, where the source does not say.
    #[arg(long, default_value_t = 64, value_name = "N")]
    head_width: usize,
    /// A sentence that a word is put into, at {}; may be given several times.
    #[arg(long = "template", default_value = "a photo of a {}.", value_name = "TEXT")]
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

impl Import {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let stem = self.source.file_stem().map(|s| s.to_string_lossy().into_owned());
        let options = Options {
            name: self.name.or(stem).unwrap_or_else(|| "clip".into()),
            tokenizer: self.tokenizer,
            lora: self.lora,
            activation: self.activation.map(|a| match a {
                ActivationArg::Gelu => Activation::Gelu,
                ActivationArg::GeluTanh => Activation::GeluTanh,
                ActivationArg::QuickGelu => Activation::QuickGelu,
            }),
            head_width: self.head_width,
            templates: self.templates,
            input_px: self.input_px,
            licence: self.licence,
        };
        let model = import(&self.source, &options)?;
        write(&self.out, &model)?;
        eprintln!("{}:\n{}", self.source.display(), model.report);
        Ok(ExitCode::SUCCESS)
    }
}
