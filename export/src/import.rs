//! Published CLIP weights to a model folder: Hugging Face folders, and state dicts under OpenAI's names (OpenAI, open_clip, TinyCLIP).
//!
//! Sizes are read from the weights' shapes, never guessed from a name. What no tensor says (heads, activation, epsilon) comes from
//! the source's configuration, or, where there is none, from the caller.

mod lora;
mod names;
pub mod pickle;

use std::path::{Path, PathBuf};

use edge_seg::bundle::{Card, Fit, Interpolation};
use serde_json::Value;

use crate::checkpoint::{Model, Tensor, Weights, read_safetensors};
use crate::config::{Activation, FORMAT, Global, Head, ImageArch, ImageTower, ModelConfig, Preprocess, TextArch, TextTower};
use crate::{Error, Result};

/// Channel means of CLIP's training pictures, in 0..1 (Radford et al. 2021).
const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// Channel deviations of CLIP's training pictures.
const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// What the source itself does not say.
#[derive(Debug, Clone)]
pub struct Options {
    /// The model's name.
    pub name: String,
    /// `tokenizer.json`, where the source has none.
    pub tokenizer: Option<PathBuf>,
    /// A folder of peft with a LoRA to merge.
    pub lora: Option<PathBuf>,
    /// The blocks' activation, where the source does not say.
    pub activation: Option<Activation>,
    /// Width of an attention head, where the source does not say; every published CLIP has 64.
    pub head_width: usize,
    /// Sentences that a word is put into, at `{}`.
    pub templates: Vec<String>,
    /// Default side of the prepared input; the source's if none.
    pub input_px: Option<usize>,
    /// The licence of the weights.
    pub licence: String,
}

/// Reads a CLIP from a Hugging Face folder (config.json, model.safetensors, tokenizer.json), an open_clip folder
/// (open_clip_config.json and weights), or a file of weights (`.safetensors`, `.pt`, `.pth`, `.bin`).
///
/// # Errors
/// [`Error::File`] if the source is none of these or hostile, [`Error::Weights`] with the whole report if it lacks weights or holds others.
pub fn import(source: &Path, options: &Options) -> Result<Model> {
    let place = source.display().to_string();
    let (folder, file) = if source.is_dir() { (Some(source), weights_file(source)?) } else { (None, source.to_path_buf()) };
    let json = |name: &str| -> Result<Option<Value>> {
        let Some(path) = folder.map(|f| f.join(name)).filter(|p| p.exists()) else { return Ok(None) };
        let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
        serde_json::from_slice(&bytes).map(Some).map_err(|e| Error::file(path.display().to_string(), "file", "JSON", e.to_string()))
    };
    let mut weights = read_any(&file)?;
    if let Some(folder) = &options.lora {
        lora::merge(folder, &mut weights)?;
    }
    let is_hugging_face = weights.contains_key("vision_model.embeddings.class_embedding");
    let hints = if is_hugging_face {
        Hints::hugging_face(json("config.json")?.as_ref())
    } else {
        Hints::open_clip(json("open_clip_config.json")?.as_ref())
    };
    let (canonical, logit_scale) = if is_hugging_face { names::from_hugging_face(weights) } else { names::from_openai(weights) };
    let preprocessor = json("preprocessor_config.json")?;
    let tokenizer_path = match (&options.tokenizer, folder.map(|f| f.join("tokenizer.json")).filter(|p| p.exists())) {
        (Some(path), _) => path.clone(),
        (None, Some(path)) => path,
        (None, None) => return Err(Error::file(place, "tokenizer.json", "one beside the weights, or named by --tokenizer", "none")),
    };
    let tokenizer = crate::checkpoint::read_tokenizer(&tokenizer_path)?;
    let config = configure(&place, &canonical, &hints, preprocessor.as_ref(), logit_scale, options)?;
    config.check(&place)?;
    Model::assemble(&place, config, canonical, tokenizer)
}

fn weights_file(folder: &Path) -> Result<PathBuf> {
    let names = [
        "model.safetensors",
        "open_clip_model.safetensors",
        "open_clip_pytorch_model.safetensors",
        "pytorch_model.bin",
        "open_clip_pytorch_model.bin",
    ];
    let found = names.iter().map(|n| folder.join(n)).find(|p| p.exists());
    found.ok_or_else(|| Error::file(folder.display().to_string(), "folder", names.join(", "), "none of them"))
}

fn read_any(path: &Path) -> Result<Weights> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("safetensors") => read_safetensors(path),
        Some("pt" | "pth" | "bin") => pickle::read(path),
        other => Err(Error::file(path.display().to_string(), "ending", ".safetensors, .pt, .pth or .bin", format!("{other:?}"))),
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
    weights: &Weights,
    hints: &Hints,
    preprocessor: Option<&Value>,
    logit_scale: Option<f32>,
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
    let activation = match (options.activation, hints.activation.as_deref()) {
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
    let three = |key: &str, default: [f32; 3]| -> [f32; 3] {
        let given =
            preprocessor.and_then(|p| p[key].as_array()).map(|v| v.iter().filter_map(Value::as_f64).map(|x| x as f32).collect::<Vec<_>>());
        given.and_then(|v| v.try_into().ok()).unwrap_or(default)
    };
    let scale = logit_scale.ok_or_else(|| Error::file(place, "logit_scale", "one number", "none"))?.exp();
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
            head: Head::Maskclip {},
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
            mean: three("image_mean", CLIP_MEAN),
            std: three("image_std", CLIP_STD),
            interpolation: Interpolation::Bicubic,
            input_px: options.input_px.unwrap_or(side * patch_px),
            fit: Fit::Grid,
        },
        logit_scale: scale,
        logit_bias: None,
        templates: options.templates.clone(),
        background: 0.5,
        tag_threshold: 0.5,
        card: Card {
            title: format!("{}, imported", options.name),
            licence: options.licence.clone(),
            training_data: "see the source of the weights".into(),
            measured: "nothing yet".into(),
            limits: "the dense head is MaskCLIP's, without training".into(),
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
    edge_seg::files::replace_file(&place, &weights)?;
    let config = serde_json::to_string_pretty(&model.config).expect("a configuration is plain data") + "\n";
    edge_seg::files::replace_file(&folder.join("config.json"), config.as_bytes())?;
    Ok(edge_seg::files::replace_file(&folder.join("tokenizer.json"), &model.tokenizer)?)
}
