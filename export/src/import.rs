//! Published CLIP weights to a model folder: Hugging Face folders, state dicts under OpenAI's names (OpenAI, open_clip, TinyCLIP), TCL.
//!
//! Sizes are read from the weights' shapes, never guessed from a name. What no tensor says (heads, activation, epsilon) comes from
//! the source's configuration, from marks that only one publisher leaves, or, where there is none, from the caller.

mod hub;
mod lora;
mod names;
pub mod pickle;
mod source;
mod tokenizer;

use std::path::{Path, PathBuf};

use edge_seg_bundle::{Card, Fit, Interpolation};
use serde_json::Value;

use crate::checkpoint::{Model, Tensor, Weights};
use crate::config::{Activation, FORMAT, Global, Head, ImageArch, ImageTower, ModelConfig, Preprocess, TextArch, TextTower};
use crate::parameters::parameters;
use crate::{Error, Result};
use source::{Source, read_weights};

/// Channel means of CLIP's training pictures, in 0..1 (Radford et al. 2021).
const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// Channel deviations of CLIP's training pictures.
const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// Sentences that CLIP's words are put into.
const CLIP_TEMPLATES: [&str; 1] = ["a photo of a {}."];
/// Those that TCL was measured with.
const TCL_TEMPLATES: [&str; 9] = [
    "itap of a {}.",
    "a bad photo of a {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
    "a photo of many {}.",
    "a photo of {}s.",
];

/// Who published the weights; each has its own layout, preprocessing and sentences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Hugging Face's `CLIPModel`.
    HuggingFace,
    /// OpenAI's own files, which hold the sizes of their input beside the weights.
    OpenAi,
    /// OpenAI's names without those marks: open_clip, TinyCLIP.
    OpenClip,
    /// TCL: CLIP, and a masker with a gated convolution decoder.
    Tcl,
}

impl Family {
    fn of(weights: &Weights) -> Self {
        if weights.contains_key("vision_model.embeddings.class_embedding") {
            Self::HuggingFace
        } else if names::is_tcl(weights) {
            Self::Tcl
        } else if weights.contains_key("input_resolution") && weights.contains_key("context_length") {
            Self::OpenAi
        } else {
            Self::OpenClip
        }
    }

    /// The activation that all weights of a family share, where they do.
    fn activation(self) -> Option<Activation> {
        matches!(self, Self::OpenAi | Self::Tcl).then_some(Activation::QuickGelu)
    }

    fn templates(self) -> Vec<String> {
        let known: &[&str] = if self == Self::Tcl { &TCL_TEMPLATES } else { &CLIP_TEMPLATES };
        known.iter().map(|t| (*t).to_owned()).collect()
    }
}

/// What the source itself does not say.
#[derive(Debug, Clone)]
pub struct Options {
    /// The model's name.
    pub name: String,
    /// `tokenizer.json` or CLIP's vocabulary file, where the source has none.
    pub tokenizer: Option<PathBuf>,
    /// A folder of peft with a LoRA to merge.
    pub lora: Option<PathBuf>,
    /// CLIP's own weights, for a TCL checkpoint that was stored without them.
    pub base: Option<PathBuf>,
    /// The dense head in place of MaskCLIP's; one that needs the same weights.
    pub head: Option<Head>,
    /// The blocks' activation, where the source does not say.
    pub activation: Option<Activation>,
    /// Width of an attention head, where the source does not say; every published CLIP has 64.
    pub head_width: usize,
    /// Sentences that a word is put into, at `{}`; the family's own if none.
    pub templates: Vec<String>,
    /// Default side of the prepared input; the source's if none.
    pub input_px: Option<usize>,
    /// Leave out weights that the architecture does not have, and say which, in place of refusing them.
    pub partial: bool,
    /// The licence of the weights.
    pub licence: String,
}

/// Reads a CLIP: `source` is a file of weights (`.safetensors`, `.pt`, `.pth`, `.bin`), a folder of Hugging Face (config.json,
/// model.safetensors, tokenizer.json) or of open_clip (open_clip_config.json and weights), or `hf:owner/name[@revision]`.
///
/// # Errors
/// [`Error::File`] if the source is none of these, hostile, or out of reach; [`Error::Weights`] with the whole report if it lacks weights, or
/// holds others and [`Options::partial`] does not allow it.
pub fn import(source: &str, options: &Options) -> Result<Model> {
    let source = Source::find(source)?;
    let place = &source.place;
    let mut weights = source.weights()?;
    let family = Family::of(&weights);
    if let Some(path) = &options.base {
        if family != Family::Tcl {
            return Err(Error::file(place, "--base", "a TCL checkpoint, which may lack CLIP's own weights", format!("{family:?}")));
        }
        add_base(&mut weights, read_weights(path)?);
    }
    if let Some(folder) = &options.lora {
        lora::merge(folder, &mut weights)?;
    }
    let hints = match family {
        Family::HuggingFace => Hints::hugging_face(source.json("config.json")?.as_ref()),
        _ => Hints::open_clip(source.json("open_clip_config.json")?.as_ref()),
    };
    let (mut canonical, logit) = match family {
        Family::HuggingFace => named(names::from_hugging_face(weights)),
        Family::Tcl => {
            let (weights, logit) = names::from_tcl(weights);
            (names::from_openai(weights).0, logit.map(|(scale, bias)| (scale, Some(bias))))
        }
        _ => named(names::from_openai(weights)),
    };
    let preprocessor = match source.json("preprocessor_config.json")? {
        Some(found) => Some(found),
        None => source.json("open_clip_config.json")?.map(|config| config["preprocess_cfg"].clone()),
    };
    let tokenizer = source.tokenizer(options.tokenizer.as_deref())?;
    let config = configure(place, family, &canonical, &hints, preprocessor.as_ref(), logit, options)?;
    config.check(place)?;
    let mut left = Vec::new();
    if options.partial {
        let known: std::collections::HashSet<String> = parameters(&config).into_iter().map(|(name, _)| name).collect();
        left = canonical.keys().filter(|name| !known.contains(*name)).cloned().collect();
        canonical.retain(|name, _| known.contains(name));
    }
    let mut model = Model::assemble(place, config, canonical, tokenizer)?;
    model.report.left_out = left;
    Ok(model)
}

fn named((weights, logarithm): (Weights, Option<f32>)) -> (Weights, Option<(f32, Option<f32>)>) {
    (weights, logarithm.map(|scale| (scale.exp(), None)))
}

/// CLIP's weights under the names by which a whole TCL checkpoint has them; what the checkpoint holds itself stays.
fn add_base(weights: &mut Weights, base: Weights) {
    let nested = weights.keys().any(|name| name.starts_with("model.masker."));
    for (name, tensor) in base {
        let target = match name.strip_prefix("visual.") {
            Some("proj") => "clip_image_encoder.clip_proj.proj".to_string(),
            Some(rest) => match rest.strip_prefix("ln_post.") {
                Some(rest) => format!("clip_image_encoder.clip_proj.ln.{rest}"),
                None => format!("clip_image_encoder.clip_visual.{rest}"),
            },
            None if name == "logit_scale" => continue,
            None => format!("clip_text_encoder.{name}"),
        };
        weights.entry(if nested { format!("model.{target}") } else { target }).or_insert(tensor);
    }
}

/// What configurations say and shapes do not.
#[derive(Debug, Default)]
struct Hints {
    heads: [Option<usize>; 2],
    activation: Option<String>,
    eps: Option<f64>,
}

impl Hints {
    fn hugging_face(config: Option<&Value>) -> Self {
        let Some(config) = config else { return Self::default() };
        let (vision, text) = (&config["vision_config"], &config["text_config"]);
        let heads =
            |tower: &Value, default| tower["num_attention_heads"].as_u64().or(tower.is_object().then_some(default)).map(|n| n as usize);
        Self {
            // Hugging Face leaves out what equals its defaults, those of ViT-B/32.
            heads: [heads(vision, 12), heads(text, 8)],
            activation: Some(vision["hidden_act"].as_str().unwrap_or("quick_gelu").into()),
            eps: Some(vision["layer_norm_eps"].as_f64().unwrap_or(1e-5)),
        }
    }

    fn open_clip(config: Option<&Value>) -> Self {
        let Some(config) = config.map(|c| &c["model_cfg"]).filter(|c| c.is_object()) else { return Self::default() };
        let width = |tower: &Value| tower["width"].as_u64();
        let vision = &config["vision_cfg"];
        let vision_heads = width(vision).map(|w| w / vision["head_width"].as_u64().unwrap_or(64).max(1));
        Self {
            heads: [vision_heads.map(|h| h as usize), config["text_cfg"]["heads"].as_u64().map(|h| h as usize)],
            activation: Some(if config["quick_gelu"].as_bool() == Some(true) { "quick_gelu" } else { "gelu" }.into()),
            eps: None,
        }
    }
}

fn configure(
    place: &str,
    family: Family,
    weights: &Weights,
    hints: &Hints,
    preprocessor: Option<&Value>,
    logit: Option<(f32, Option<f32>)>,
    options: &Options,
) -> Result<ModelConfig> {
    let shape = |name: &str, rank: usize| -> Result<&[usize]> {
        let found = weights.get(name).map(|t| t.shape.as_slice());
        found.filter(|s| s.len() == rank && !s.contains(&0)).ok_or_else(|| {
            let known: Vec<_> = weights.keys().take(5).cloned().collect();
            Error::file(
                place,
                name,
                format!("a weight of {rank} axes"),
                found.map_or(format!("none, but {}, ...", known.join(", ")), |s| format!("{s:?}")),
            )
        })
    };
    let layers = |tower: &str| (0..).take_while(|n| weights.contains_key(&format!("{tower}.blocks.{n}.norm1.weight"))).count();
    let patch = shape("image.patch.weight", 4)?.to_vec();
    let (positions, words) = (shape("image.positions", 2)?[0], shape("text.word_embeddings", 2)?.to_vec());
    let side = ((positions - 1) as f64).sqrt().round() as usize;
    if side * side + 1 != positions {
        return Err(Error::file(place, "image.positions", "a square grid and the class token", format!("{positions} rows")));
    }
    let context = shape("text.position_embeddings", 2)?[0];
    let activation = match (options.activation.or(family.activation()), hints.activation.as_deref()) {
        (Some(activation), _) => activation,
        (None, Some("quick_gelu")) => Activation::QuickGelu,
        (None, Some("gelu")) => Activation::Gelu,
        (None, Some("gelu_new" | "gelu_pytorch_tanh")) => Activation::GeluTanh,
        (None, found) => {
            let found = found.unwrap_or("nothing, since there is no configuration");
            return Err(Error::file(place, "activation", "gelu or quick_gelu in the configuration, or --activation", found));
        }
    };
    let heads = |tower: usize, width: usize| hints.heads[tower].unwrap_or(width / options.head_width.max(1)).max(1);
    let eps = hints.eps.unwrap_or(1e-5) as f32;
    // Hugging Face's preprocessors and open_clip's name the same things differently.
    let three = |keys: [&str; 2], default: [f32; 3]| -> [f32; 3] {
        let given = keys
            .iter()
            .find_map(|key| preprocessor.and_then(|p| p[*key].as_array()))
            .map(|v| v.iter().filter_map(Value::as_f64).map(|x| x as f32).collect::<Vec<_>>());
        given.and_then(|v| v.try_into().ok()).unwrap_or(default)
    };
    let (scale, bias) = logit.ok_or_else(|| Error::file(place, "logit_scale", "one number", "none"))?;
    let layers_of_decoder = (0..).take_while(|n| weights.contains_key(&format!("image.head.convs.{n}.gate"))).count() / 2;
    let head = match (family, &options.head) {
        (Family::Tcl, None) => Head::Tcl { layers: layers_of_decoder },
        (Family::Tcl, Some(_)) => return Err(Error::file(place, "--head", "none for TCL, which has its own", "one")),
        (_, Some(head)) => head.clone(),
        (_, None) => Head::Maskclip {},
    };
    let interpolation =
        match preprocessor.and_then(|p| p["resample"].as_u64().map(|n| n.to_string()).or(p["interpolation"].as_str().map(str::to_owned))) {
            None => Interpolation::Bicubic,
            Some(name) if name == "3" || name == "bicubic" => Interpolation::Bicubic,
            Some(name) if name == "2" || name == "bilinear" => Interpolation::Bilinear,
            Some(name) => return Err(Error::file(place, "preprocessor", "bicubic (3) or bilinear (2) interpolation", name)),
        };
    let (width, patch_px) = (patch[0], patch[2]);
    Ok(ModelConfig {
        format: FORMAT,
        name: options.name.clone(),
        image: ImageTower {
            arch: ImageArch::Vit,
            width,
            layers: layers("image"),
            heads: heads(0, width),
            mlp_width: shape("image.blocks.0.mlp.fc1.weight", 2)?[0],
            patch_px,
            grid: [side, side],
            patch_bias: weights.contains_key("image.patch.bias"),
            pre_norm: weights.contains_key("image.ln_pre.weight"),
            activation,
            norm_eps: eps,
            head: head.clone(),
            global: Global::Class,
        },
        text: TextTower {
            arch: TextArch::Clip,
            width: words[1],
            layers: layers("text"),
            heads: heads(1, words[1]),
            mlp_width: shape("text.blocks.0.mlp.fc1.weight", 2)?[0],
            vocab: words[0],
            positions: context,
            activation,
            norm_eps: eps,
            projection: weights.contains_key("text.projection.weight"),
        },
        embedding_dim: shape("image.head.projection.weight", 2)?[0],
        context,
        pad_token: 0,
        preprocess: Preprocess {
            mean: three(["image_mean", "mean"], CLIP_MEAN),
            std: three(["image_std", "std"], CLIP_STD),
            interpolation,
            input_px: options.input_px.unwrap_or(side * patch_px),
            fit: Fit::Grid,
        },
        logit_scale: scale,
        logit_bias: bias,
        templates: if options.templates.is_empty() { family.templates() } else { options.templates.clone() },
        // The threshold that TCL is measured with on VOC.
        background: if family == Family::Tcl { 0.4 } else { 0.5 },
        tag_threshold: 0.5,
        card: Card {
            title: format!("{}, imported", options.name),
            licence: options.licence.clone(),
            training_data: "see the source of the weights".into(),
            measured: "nothing yet".into(),
            limits: format!("dense head: {}, as it was published", head.describe()),
        },
    })
}

/// Writes a model folder; every file beside its final name first, then renamed.
///
/// # Errors
/// [`Error::Io`] or [`Error::Runtime`] if the file system refuses.
pub fn write(folder: &Path, model: &Model) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let bytes = |tensor: &Tensor| -> Vec<u8> { tensor.data.iter().flat_map(|x| x.to_le_bytes()).collect() };
    let data: Vec<(&String, &Tensor, Vec<u8>)> = model.weights.iter().map(|(name, tensor)| (name, tensor, bytes(tensor))).collect();
    let place = folder.join("model.safetensors");
    let broken =
        |e: safetensors::SafeTensorError| Error::file(place.display().to_string(), "file", "weights that can be written", e.to_string());
    let views = data
        .iter()
        .map(|(name, tensor, bytes)| {
            Ok((name.as_str(), safetensors::tensor::TensorView::new(safetensors::Dtype::F32, tensor.shape.clone(), bytes)?))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(broken)?;
    let weights = safetensors::serialize(views, None).map_err(broken)?;
    edge_seg_bundle::files::replace_file(&place, &weights)?;
    let config = serde_json::to_string_pretty(&model.config).expect("a configuration is plain data") + "\n";
    edge_seg_bundle::files::replace_file(&folder.join("config.json"), config.as_bytes())?;
    Ok(edge_seg_bundle::files::replace_file(&folder.join("tokenizer.json"), &model.tokenizer)?)
}
