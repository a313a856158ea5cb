//! Published CLIP weights to a model folder: Hugging Face folders, state dicts under OpenAI's names (OpenAI, open_clip, TinyCLIP), TCL.
//!
//! Sizes are read from the weights' shapes, never guessed from a name. What no tensor says (heads, activation, epsilon) comes from
//! the source's configuration, from marks that only one publisher leaves, or, where there is none, from the caller.

mod clean;
mod files;
#[cfg(feature = "hub")]
mod hub;
mod kinds;
mod known;
mod lora;
mod names;
pub mod pickle;
pub(crate) mod preprocess;
mod source;
mod state;
pub(crate) mod tokenizer;
mod towers;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use edge_seg_bundle::files::replace_file;
use edge_seg_bundle::{Card, Fit};

use crate::checkpoint::{FLOATS, Model};
use crate::config::{Activation, FORMAT, Global, Head, ImageArch, ImageTower, ModelConfig, Preprocess, Rotary, TextArch, TextTower};
use crate::parameters::parameters;
use crate::weights::{Tensor, Weights};
use crate::{Error, Result};
pub use known::{KNOWN, Known};
use preprocess::Input;
use source::{Source, read_weights};
use state::State;
use towers::{End, Towers, Turning};

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
    /// SigLIP and SigLIP 2, in Hugging Face's form.
    Siglip,
    /// TIPS v2 of Hugging Face.
    Tips,
    /// PE-Core in Meta's own form.
    PeCore,
    /// TCL: CLIP, and a masker with a gated convolution decoder.
    Tcl,
}

impl Family {
    fn of(state: &State) -> Self {
        let has = |name: &str| state.weights.contains_key(name) || state.others.contains_key(name);
        if has("vision_encoder.pos_embed") {
            Self::Tips
        } else if has("visual.attn_pool.probe") {
            Self::PeCore
        } else if has("vision_model.head.probe") {
            Self::Siglip
        } else if has("vision_model.embeddings.class_embedding") {
            Self::HuggingFace
        } else if names::is_tcl(&state.weights) {
            Self::Tcl
        } else if has("input_resolution") && has("context_length") {
            Self::OpenAi
        } else {
            Self::OpenClip
        }
    }

    /// The activation that all weights of a family share, where they do.
    fn activation(self) -> Option<Activation> {
        matches!(self, Self::OpenAi | Self::Tcl).then_some(Activation::QuickGelu)
    }

    /// The width of a head that all weights of a family share, where they do.
    fn head_width(self) -> Option<usize> {
        matches!(self, Self::OpenAi | Self::Tcl | Self::PeCore).then_some(64)
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
    /// Where the model begins among the names, where the source holds several.
    pub key: Option<String>,
    /// A LoRA to merge: a folder of peft, or a file of loralib's or minLoRA's names.
    pub lora: Option<PathBuf>,
    /// The LoRA's alpha, where no file of it holds one.
    pub lora_alpha: Option<f64>,
    /// CLIP's own weights, for a TCL checkpoint that was stored without them.
    pub base: Option<PathBuf>,
    /// The dense head in place of MaskCLIP's; one that needs the same weights.
    pub head: Option<Head>,
    /// The blocks' activation, where the source does not say.
    pub activation: Option<Activation>,
    /// Width of an attention head of the image tower, where the source does not say; of the text tower too, unless that has its own.
    pub head_width: Option<usize>,
    /// Width of an attention head of the text tower.
    pub text_head_width: Option<usize>,
    /// Heads of the image tower's pooling attention, where neither the source nor the tower's own heads tell.
    pub pool_heads: Option<usize>,
    /// A file with the preprocessing, or `clip` for CLIP's own, where the source has none.
    pub preprocess: Option<PathBuf>,
    /// How a picture is brought to the input, in place of what the source says.
    pub fit: Option<Fit>,
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
    let mut state = state::find(place, source.contents()?, options.key.as_deref())?;
    lora::merge_inside(place, options.lora_alpha, &mut state.weights)?;
    let config = source.json("config.json")?;
    let open_clip = source.json("open_clip_config.json")?;
    kinds::check(place, &state, config.as_ref())?;
    let family = Family::of(&state);
    if let Some(path) = &options.base {
        if family != Family::Tcl {
            return Err(Error::file(place, "--base", "a TCL checkpoint, which may lack CLIP's own weights", format!("{family:?}")));
        }
        add_base(&mut state.weights, state::find(&path.display().to_string(), read_weights(path)?, None)?.weights);
    }
    if let Some(path) = &options.lora {
        lora::merge(path, options.lora_alpha, &mut state.weights)?;
    }
    let positions = ["visual.trunk.pos_embed", "visual.positional_embedding"].iter().find_map(|name| state.weights.get(*name));
    let image_width = positions.and_then(|t| t.shape.last().copied()).unwrap_or(0);
    let towers = match family {
        Family::PeCore => Towers::pe_core(image_width),
        Family::HuggingFace | Family::Siglip | Family::Tips => Towers::hugging_face(&format!("{place}/config.json"), config.as_ref())?,
        _ => Towers::open_clip(&format!("{place}/open_clip_config.json"), open_clip.as_ref(), image_width)?,
    };
    let (mut canonical, logit) = canonical(family, &towers, state.weights);
    let mut notes = source.notes.clone();
    let input = match Input::find(&source, options.preprocess.as_deref(), options.fit)? {
        Some(input) => input,
        // Files of OpenAI's layout never say, and all of them have CLIP's.
        // Meta's files say nothing either; PE-Core's pictures are brought to -1..1 and squashed.
        None if family == Family::PeCore => {
            notes.push("preprocessing: PE-Core's own, as the file says none; --preprocess names another".into());
            let (mean, std) = ([0.5; 3], [0.5; 3]);
            Input { mean, std, interpolation: edge_seg_bundle::Interpolation::Bilinear, fit: options.fit.unwrap_or(Fit::Squash) }
        }
        None if !source.is_folder() && towers.global != Global::Attention && family != Family::HuggingFace => {
            notes.push("preprocessing: CLIP's own mean and deviation, as the file says none; --preprocess names another".into());
            Input { fit: options.fit.unwrap_or(Fit::Grid), ..Input::of_clip() }
        }
        None => {
            let expected = "processor_config.json, preprocessor_config.json or preprocess_cfg in open_clip_config.json beside the weights, or \
                            --preprocess with such a file, or with clip for CLIP's own mean and deviation";
            return Err(Error::file(place, "preprocessing", expected, "none"));
        }
    };
    let mut tokenizer = source.tokenizer(options.tokenizer.as_deref())?;
    let mut pad_token = 0;
    let text = open_clip.as_ref().map(|c| &c["model_cfg"]["text_cfg"]);
    if let Some(text) = text {
        tokenizer::cleaned_as_open_clip(place, &mut tokenizer, text)?;
    }
    if towers.arch == TextArch::Padded {
        let description = source.json("tokenizer_config.json")?;
        let kwargs = text.map(|text| &text["tokenizer_kwargs"]);
        let usual = config.as_ref().and_then(|c| c["text_config"]["pad_token_id"].as_i64());
        pad_token = tokenizer::padded(place, &mut tokenizer, description.as_ref(), kwargs, usual)?;
    }
    let mut config = configure(place, family, &canonical, &towers, &input, logit, options)?;
    config.pad_token = pad_token;
    config.check(place)?;
    let end = match towers.end {
        End::Last => Some(config.text.vocab as u32 - 1),
        End::Id(id) => Some(id),
        End::Any => None,
    };
    tokenizer::check(place, &tokenizer, config.text.vocab, end)?;
    let mut left = Vec::new();
    let known: std::collections::HashSet<String> = parameters(&config).into_iter().map(|(name, _)| name).collect();
    if options.partial {
        left = canonical.keys().filter(|name| !known.contains(*name)).cloned().collect();
        canonical.retain(|name, _| known.contains(name));
    }
    judge_others(place, family, &towers, &state.others, &known, &canonical)?;
    let mut model = Model::assemble(place, config, canonical, tokenizer)?;
    let others = state.others.iter().map(|(name, kind)| format!("{name}: {kind}"));
    model.report.left_out = left;
    model.report.passed_over = others.chain(state.passed_over).collect();
    model.report.notes = notes;
    Ok(model)
}

type Logit = Option<(f32, Option<f32>)>;

fn canonical(family: Family, towers: &Towers, mut weights: Weights) -> (Weights, Logit) {
    // SigLIP scores each word by a sigmoid, CLIP all of them by a softmax.
    let bias = weights.remove("logit_bias").and_then(|bias| bias.data.first().copied());
    let named = |(weights, logarithm): (Weights, Option<f32>)| (weights, logarithm.map(|scale| (scale.exp(), bias)));
    let (mut weights, logit) = match family {
        Family::HuggingFace | Family::Siglip => named(names::from_hugging_face(weights)),
        Family::Tips => {
            let (positions, by_root) = towers.computed_positions.unwrap_or((0, true));
            let (weights, temperature) = names::from_tips(weights, positions, by_root);
            (weights, temperature.map(|t| (1.0 / t, None)))
        }
        Family::Tcl => {
            let (weights, logit) = names::from_tcl(weights);
            (names::from_openai(weights).0, logit.map(|(scale, bias)| (scale, Some(bias))))
        }
        _ => named(names::from_openai(weights)),
    };
    names::settle_tokens(&mut weights);
    (weights, logit)
}

/// What is no tensor of floats matters where a weight is needed.
fn judge_others(
    place: &str,
    family: Family,
    towers: &Towers,
    others: &BTreeMap<String, String>,
    known: &std::collections::HashSet<String>,
    weights: &Weights,
) -> Result<()> {
    for (name, kind) in others {
        let (named, _) = canonical(family, towers, Weights::from([(name.clone(), Tensor::new([0], vec![]))]));
        // Query, key and value have a name together only where all three are there.
        let parts = ["q", "k", "v"].iter().any(|part| {
            [".weight", ".bias"]
                .iter()
                .any(|kind| name.ends_with(&format!(".{part}_proj{kind}")) || name.ends_with(&format!("attn_pool.{part}{kind}")))
        });
        let parts = parts || name.ends_with("attn_pool.kv.weight") || name.ends_with("attn_pool.kv.bias");
        if parts || named.keys().any(|name| known.contains(name) && !weights.contains_key(name)) {
            return Err(Error::file(place, name, FLOATS, kind));
        }
    }
    Ok(())
}

/// CLIP's weights under the names by which a whole TCL checkpoint has them; what the checkpoint holds itself stays.
fn add_base(weights: &mut Weights, base: Weights) {
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
        weights.entry(target).or_insert(tensor);
    }
}

fn configure(
    place: &str,
    family: Family,
    weights: &Weights,
    towers: &Towers,
    input: &Input,
    logit: Logit,
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
    if !towers.is_said && !matches!(family, Family::OpenAi | Family::Tcl) && !weights.contains_key("image.ln_pre.weight") {
        let expected =
            "the model's folder with its config.json or open_clip_config.json: a CLIP without ln_pre pools in ways that no weight tells";
        return Err(Error::file(place, "model", expected, "weights alone, without visual.ln_pre"));
    }
    let layers = |tower: &str| (0..).take_while(|n| weights.contains_key(&format!("{tower}.blocks.{n}.norm1.weight"))).count();
    let patch = shape("image.patch.weight", 4)?.to_vec();
    let (positions, words) = (shape("image.positions", 2)?[0], shape("text.word_embeddings", 2)?.to_vec());
    let side = ((positions - 1) as f64).sqrt().round() as usize;
    if side * side + 1 != positions {
        return Err(Error::file(place, "image.positions", "a square grid and the class token", format!("{positions} rows")));
    }
    let context = shape("text.position_embeddings", 2)?[0];
    let names = ["image", "text"];
    let activation = |tower: usize| {
        options.activation.or(family.activation()).or(towers.towers[tower].activation).ok_or_else(|| {
            let found = "nothing, since there is no configuration";
            Error::file(
                place,
                format!("{} tower's activation", names[tower]),
                "gelu or quick_gelu in the configuration, or --activation",
                found,
            )
        })
    };
    let heads = |tower: usize, width: usize| {
        let given = if tower == 1 { options.text_head_width.or(options.head_width) } else { options.head_width };
        let by_width =
            || given.or(family.head_width()).map(|head| if width.is_multiple_of(head.max(1)) { width / head.max(1) } else { width + 1 });
        towers.towers[tower].heads.or_else(by_width).ok_or_else(|| {
            let expected = if towers.global == Global::Attention && tower == 0 {
                "--head-width: this width is none of the published SigLIP's and PE-Core's, whose heads are known"
            } else {
                "the model's configuration, or --head-width for the image tower and --text-head-width for the text tower; 64 but for ViT-H (80), \
                 g (88) and bigG (104), whose texts have 64"
            };
            Error::file(place, format!("{}.heads", names[tower]), expected, format!("a width of {width}, which tells nothing of its heads"))
        })
    };
    let eps = |tower: usize| towers.towers[tower].eps.unwrap_or(1e-5);
    let (scale, bias) = logit.ok_or_else(|| Error::file(place, "logit_scale", "one number", "none"))?;
    let layers_of_decoder = (0..).take_while(|n| weights.contains_key(&format!("image.head.convs.{n}.gate"))).count() / 2;
    let pooled = weights.contains_key("image.head.pool.probe");
    let head = match (family, &options.head) {
        _ if pooled && options.head.is_none() => Head::Pooled {
            heads: match options.pool_heads.or(towers.pool_heads) {
                Some(heads) => heads,
                None if towers.rotary.is_some() => {
                    let expected = "--pool-heads: this width is none of the published PE-Core's, which have 8";
                    return Err(Error::file(place, "heads of the pooling attention", expected, "none"));
                }
                None => heads(0, patch[0])?,
            },
            mlp_width: shape("image.head.pool.mlp.fc1.weight", 2)?[0],
            projection: weights.contains_key("image.head.projection.weight"),
            projection_bias: weights.contains_key("image.head.projection.bias"),
        },
        _ if pooled => return Err(Error::file(place, "--head", "none for a model with a pooling attention, which is its head", "one")),
        (Family::Tcl, None) => Head::Tcl { layers: layers_of_decoder },
        (Family::Tcl, Some(_)) => return Err(Error::file(place, "--head", "none for TCL, which has its own", "one")),
        (_, Some(head)) => head.clone(),
        (_, None) => Head::Maskclip {},
    };
    let mut stem = Vec::new();
    while let Some(convolution) = weights.get(&format!("image.stem.{}.weight", stem.len())).filter(|t| t.shape.len() == 4) {
        stem.push([convolution.shape[0], convolution.shape[2]]);
    }
    let width = patch[0];
    let patch_px = stem.iter().map(|[_, side]| side).product::<usize>() * patch[2];
    Ok(ModelConfig {
        format: FORMAT,
        name: options.name.clone(),
        image: ImageTower {
            arch: ImageArch::Vit,
            width,
            layers: layers("image"),
            heads: heads(0, width)?,
            mlp_width: shape("image.blocks.0.mlp.fc1.weight", 2)?[0],
            patch_px,
            stem,
            class_token: weights.contains_key("image.class_token"),
            registers: if weights.contains_key("image.registers") { shape("image.registers", 2)?[0] } else { 0 },
            grid: [side, side],
            rotary: towers.rotary.map(|turning| match turning {
                Turning::PeCore => Rotary {
                    grid: [side, side],
                    offset: if weights.contains_key("image.class_token") { 1.0 } else { 0.0 },
                    columns_first: true,
                    temperature: 10_000.0,
                },
                Turning::Eva02 => Rotary { grid: [16, 16], offset: 0.0, columns_first: false, temperature: 10_000.0 },
            }),
            patch_bias: weights.contains_key("image.patch.bias"),
            pre_norm: weights.contains_key("image.ln_pre.weight"),
            activation: activation(0)?,
            // By any block, so that one that lacks its gate is named.
            gated: weights.keys().any(|name| name.starts_with("image.blocks.") && name.ends_with(".mlp.gate.weight")),
            norm_eps: eps(0),
            head: head.clone(),
            projection_bias: !pooled && weights.contains_key("image.head.projection.bias"),
            projection: pooled || weights.contains_key("image.head.projection.weight"),
            global: towers.global,
        },
        text: TextTower {
            arch: towers.arch,
            width: words[1],
            layers: layers("text"),
            heads: heads(1, words[1])?,
            mlp_width: shape("text.blocks.0.mlp.fc1.weight", 2)?[0],
            vocab: words[0],
            positions: context,
            activation: activation(1)?,
            norm_eps: eps(1),
            projection: weights.contains_key("text.projection.weight"),
            projection_bias: weights.contains_key("text.projection.bias"),
        },
        embedding_dim: if (pooled || family == Family::Tips) && !weights.contains_key("image.head.projection.weight") {
            width
        } else {
            shape("image.head.projection.weight", 2)?[0]
        },
        context,
        pad_token: 0,
        preprocess: Preprocess {
            mean: input.mean,
            std: input.std,
            interpolation: input.interpolation,
            input_px: options.input_px.unwrap_or(side * patch_px),
            fit: input.fit,
        },
        logit_scale: scale,
        logit_bias: bias,
        templates: if options.templates.is_empty() { family.templates() } else { options.templates.clone() },
        // The threshold that TCL is measured with on VOC.
        background: if family == Family::Tcl { 0.4 } else { 0.5 },
        tag_threshold: 0.5,
        card: Card::new(format!("{}, imported", options.name))
            .with_licence(&options.licence)
            .with_training_data("see the source of the weights")
            .with_measured("nothing yet")
            .with_limits(format!("dense head: {}, as it was published", head.describe())),
    })
}

/// Writes a model folder; every file beside its final name first, then renamed. Its configuration comes last: without one it is no model
/// folder, whatever was there before.
///
/// # Errors
/// [`Error::Io`] or [`Error::Runtime`] if the file system refuses.
pub fn write(folder: &Path, model: &Model) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let config = folder.join("config.json");
    match std::fs::remove_file(&config) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(&config)(e)),
        _ => {}
    }
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
    // One entry alone: several would come in another order each time.
    let about = [(WRITER.0.to_owned(), WRITER.1.to_owned())];
    let weights = safetensors::serialize(views, Some(about.into())).map_err(broken)?;
    replace_file(&place, &weights)?;
    replace_file(&folder.join("tokenizer.json"), &model.tokenizer)?;
    let text = serde_json::to_string_pretty(&model.config).expect("a configuration is plain data") + "\n";
    Ok(replace_file(&config, text.as_bytes())?)
}

/// What the weights say of who wrote them, in their metadata.
const WRITER: (&str, &str) = ("writer", "edge-seg-export import");
/// Headers of weights are far below.
const MOST_HEADER_BYTES: u64 = 1 << 26;

/// Whether a folder holds weights that [`write()`] wrote, and no configuration yet: it was ended before it was done.
pub fn is_unfinished(folder: &Path) -> bool {
    let header = || -> std::io::Result<serde_json::Value> {
        let mut file = std::fs::File::open(folder.join("model.safetensors"))?;
        let (mut length, mut header) = ([0; 8], Vec::new());
        file.read_exact(&mut length)?;
        file.take(u64::from_le_bytes(length).min(MOST_HEADER_BYTES)).read_to_end(&mut header)?;
        Ok(serde_json::from_slice(&header)?)
    };
    !folder.join("config.json").exists() && header().is_ok_and(|header| header["__metadata__"][WRITER.0] == WRITER.1)
}
