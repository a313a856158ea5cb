//! What a configuration says of the towers and no shape does: heads, activations, epsilons, how a text is read and pooled.

use serde_json::Value;

use crate::config::{Activation, Global, TextArch};
use crate::{Error, Result};

/// The token at which the text tower pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The last of the vocabulary, as CLIP has it.
    Last,
    /// This one.
    Id(u32),
    /// Any: the tower pools elsewhere.
    Any,
}

/// Whose rotary positions a tower has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turning {
    /// Columns first, counted from 1 where there is a class token, on the grid of the position embeddings.
    PeCore,
    /// Rows first, on a grid of 16 by 16 whatever the picture's.
    Eva02,
}

/// One tower.
#[derive(Debug, Default)]
pub(super) struct Tower {
    pub heads: Option<usize>,
    pub activation: Option<Activation>,
    pub eps: Option<f32>,
}

/// Both, image first.
#[derive(Debug)]
pub(super) struct Towers {
    pub towers: [Tower; 2],
    pub arch: TextArch,
    pub global: Global,
    /// Heads of PE-Core's pooling attention, where its width is a published one. SigLIP's has those of the tower.
    pub pool_heads: Option<usize>,
    /// Whose way of turning queries and keys it is, if they are turned.
    pub rotary: Option<Turning>,
    /// How many positions the text tower has, and whether its words are scaled by the root of its width, where no weight says so.
    pub computed_positions: Option<(usize, bool)>,
    pub end: End,
    /// Whether a configuration said this, and not only what CLIP has in common.
    pub is_said: bool,
}

impl Default for Towers {
    fn default() -> Self {
        Self {
            towers: Default::default(),
            arch: TextArch::Clip,
            global: Global::Class,
            pool_heads: None,
            rotary: None,
            computed_positions: None,
            end: End::Last,
            is_said: false,
        }
    }
}

/// An activation by the name that configurations give it.
fn activation(place: &str, key: &str, name: &str) -> Result<Activation> {
    match name {
        "quick_gelu" => Ok(Activation::QuickGelu),
        "gelu" => Ok(Activation::Gelu),
        "relu" => Ok(Activation::Relu),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_accurate" => Ok(Activation::GeluTanh),
        other => Err(Error::file(place, key, "gelu, quick_gelu, gelu_pytorch_tanh or relu", other)),
    }
}

impl Towers {
    /// PE-Core in Meta's own form, which has no configuration; every published one has heads of 64 but for G, whose width is 1536.
    pub(super) fn pe_core(width: usize) -> Self {
        let tower = |heads| Tower { heads, activation: Some(Activation::Gelu), eps: Some(1e-5) };
        let heads = HEADS.iter().find(|(of, _)| *of == width).map(|(_, heads)| *heads);
        let global = Global::Attention;
        Self {
            towers: [tower(heads), tower(None)],
            global,
            pool_heads: pool_heads(width),
            rotary: Some(Turning::PeCore),
            is_said: true,
            ..Self::default()
        }
    }

    /// As Hugging Face's `config.json` says it. What equals the library's default is left out of the file: that of `CLIPConfig`, or of
    /// `SiglipConfig`.
    pub(super) fn hugging_face(place: &str, config: Option<&Value>) -> Result<Self> {
        let Some(config) = config else { return Ok(Self::default()) };
        let siglip = config["model_type"].as_str().is_some_and(|kind| kind.starts_with("siglip"));
        let (usual, usual_eps) = if siglip { ("gelu_pytorch_tanh", 1e-6) } else { ("quick_gelu", 1e-5) };
        let tower = |key: &str, heads: u64| -> Result<Tower> {
            let tower = &config[key];
            let name = tower["hidden_act"].as_str().unwrap_or(usual);
            Ok(Tower {
                heads: tower.is_object().then(|| tower["num_attention_heads"].as_u64().unwrap_or(heads) as usize),
                activation: Some(activation(place, &format!("{key}.hidden_act"), name)?),
                eps: Some(tower["layer_norm_eps"].as_f64().unwrap_or(usual_eps) as f32),
            })
        };
        if siglip {
            let towers = [tower("vision_config", 12)?, tower("text_config", 12)?];
            return Ok(Self { towers, arch: TextArch::Padded, global: Global::Attention, end: End::Any, is_said: true, ..Self::default() });
        }
        if config["model_type"] == "tipsv2" {
            let (vision, text) = (&config["vision_config"], &config["text_config"]);
            let tower = |tower: &Value, usual: &str, eps: f64| -> Result<Tower> {
                Ok(Tower {
                    heads: Some(tower["num_attention_heads"].as_u64().unwrap_or(12) as usize),
                    activation: Some(activation(place, "hidden_act", tower["hidden_act"].as_str().unwrap_or(usual))?),
                    eps: Some(tower["layer_norm_eps"].as_f64().unwrap_or(eps) as f32),
                })
            };
            let positions = text["max_position_embeddings"].as_u64().unwrap_or(64) as usize;
            let by_root = text["scale_sqrt_depth"].as_bool().unwrap_or(true);
            return Ok(Self {
                towers: [tower(vision, "gelu", 1e-6)?, tower(text, "relu", 1e-5)?],
                arch: TextArch::Mean,
                computed_positions: Some((positions, by_root)),
                end: End::Any,
                is_said: true,
                ..Self::default()
            });
        }
        // Configurations of CLIP from before its end token was right say 2, and mean the last; MetaCLIP 2's is 2.
        let eos = config["text_config"]["eos_token_id"].as_u64();
        let end = match (config["model_type"].as_str(), eos) {
            (Some("metaclip_2"), Some(id)) => End::Id(id as u32),
            (_, Some(id)) if id != 2 => End::Id(id as u32),
            _ => End::Last,
        };
        Ok(Self { towers: [tower("vision_config", 12)?, tower("text_config", 8)?], end, is_said: true, ..Self::default() })
    }

    /// As `open_clip_config.json` says it; what it leaves out is open_clip's default. A tower of timm is only named there, and `of_width` is
    /// its width.
    pub(super) fn open_clip(place: &str, config: Option<&Value>, of_width: usize) -> Result<Self> {
        let Some(config) = config.map(|c| &c["model_cfg"]).filter(|c| c.is_object()) else { return Ok(Self::default()) };
        let (vision, text) = (&config["vision_cfg"], &config["text_cfg"]);
        let refuse = |key: &str, expected: &str, found: &Value| Err(Error::file(place, key, expected, found.to_string()));
        for (section, tower, keys) in [
            (
                "vision_cfg",
                vision,
                &["ls_init_value", "attentional_pool", "input_patchnorm", "block_type", "qk_norm", "scaled_cosine_attn"][..],
            ),
            ("text_cfg", text, &["ls_init_value", "embed_cls", "hf_model_name", "block_type", "qk_norm", "scaled_cosine_attn"][..]),
        ] {
            if let Some(key) = keys.iter().find(|key| !tower[**key].is_null() && tower[**key] != false) {
                return refuse(&format!("{section}.{key}"), "none: a plain transformer", &tower[*key]);
            }
        }
        let kind = |tower: &Value, key: &str| {
            if config["quick_gelu"] == true {
                return Ok(Activation::QuickGelu);
            }
            match &tower["act_kwargs"]["approximate"] {
                Value::Null => Ok(Activation::Gelu),
                Value::String(name) if name == "tanh" => Ok(Activation::GeluTanh),
                Value::String(name) if name == "none" => Ok(Activation::Gelu),
                other => Err(Error::file(place, format!("{key}.act_kwargs"), "approximate: tanh", other.to_string())),
            }
        };
        let eps = |tower: &Value| Some(tower["norm_kwargs"]["eps"].as_f64().unwrap_or(1e-5) as f32);
        let width = |tower: &Value| tower["width"].as_u64();
        let global = match (vision["pool_type"].as_str().unwrap_or("tok"), vision["final_ln_after_pool"] == true) {
            ("tok", _) => Global::Class,
            ("avg", true) => Global::PoolNorm,
            ("avg", false) => Global::NormPool,
            _ => return refuse("vision_cfg.pool_type", "tok or avg", &vision["pool_type"]),
        };
        let (image, global, rotary) = match vision["timm_model_name"].as_str() {
            Some(name) => timm(place, vision, name, of_width)?,
            None => {
                let heads = width(vision).map(|w| (w / vision["head_width"].as_u64().unwrap_or(64).max(1)) as usize);
                (Tower { heads, activation: Some(kind(vision, "vision_cfg")?), eps: eps(vision) }, global, None)
            }
        };
        let causal = text["no_causal_mask"] != true;
        let (arch, end) = match (text["pool_type"].as_str().unwrap_or("argmax"), causal) {
            ("argmax", true) => (TextArch::Clip, End::Last),
            ("eos", true) => match text["eos_id"].as_u64() {
                Some(id) => (TextArch::Clip, End::Id(id as u32)),
                None => return refuse("text_cfg.eos_id", "the token at which the text is pooled", &text["eos_id"]),
            },
            ("last", false) => (TextArch::Padded, End::Any),
            (pool, _) => {
                let found = format!("{pool}{}", if causal { ", causal" } else { ", not causal" });
                return Err(Error::file(place, "text_cfg.pool_type", "argmax or eos of a causal tower, or last of one that is not", found));
            }
        };
        Ok(Self {
            towers: [
                image,
                Tower {
                    heads: Some(text["heads"].as_u64().unwrap_or(8) as usize),
                    activation: Some(kind(text, "text_cfg")?),
                    eps: eps(text),
                },
            ],
            arch,
            global,
            pool_heads: pool_heads(of_width).filter(|_| rotary == Some(Turning::PeCore)),
            rotary,
            computed_positions: None,
            end,
            is_said: true,
        })
    }
}

/// Heads of timm's vision transformers, by their width.
const HEADS: [(usize, usize); 6] = [(192, 3), (384, 6), (768, 12), (1024, 16), (1152, 16), (1536, 16)];
/// Heads of the pooling attention of every published PE-Core.
fn pool_heads(width: usize) -> Option<usize> {
    HEADS.iter().any(|(of, _)| *of == width).then_some(8)
}
/// Of timm's SigLIP towers those with GELU's tanh form; the others have the exact one.
const TANH: [&str; 7] = [
    "vit_base_patch32_siglip_256",
    "vit_large_patch16_siglip_512",
    "vit_so400m_patch16_siglip_256",
    "vit_so400m_patch16_siglip_384",
    "vit_so400m_patch16_siglip_512",
    "vit_giantopt_patch16_siglip_256",
    "vit_giantopt_patch16_siglip_384",
];

/// An image tower that open_clip takes from timm, how the picture is pooled, and whether queries and keys are turned.
fn timm(place: &str, vision: &Value, name: &str, width: usize) -> Result<(Tower, Global, Option<Turning>)> {
    let heads = HEADS.iter().find(|(of, _)| *of == width).map(|(_, heads)| *heads);
    if name.contains("_siglip_") && !name.contains("_gap_") && vision["timm_pool"] == "map" {
        let activation = if TANH.contains(&name) { Activation::GeluTanh } else { Activation::Gelu };
        return Ok((Tower { heads, activation: Some(activation), eps: Some(1e-6) }, Global::Attention, None));
    }
    if name.starts_with("vit_pe_core_") && vision["timm_pool"] == "map" {
        return Ok((Tower { heads, activation: Some(Activation::Gelu), eps: Some(1e-5) }, Global::Attention, Some(Turning::PeCore)));
    }
    if name.starts_with("vit_base_mci_") && vision["timm_pool"] == "token" {
        return Ok((Tower { heads, activation: Some(Activation::Gelu), eps: Some(1e-6) }, Global::Class, None));
    }
    let eva02 = ["eva02_base_patch16_clip_", "eva02_large_patch14_clip_"].iter().any(|start| name.starts_with(start));
    if eva02 && vision["timm_pool"] == "token" {
        return Ok((Tower { heads, activation: Some(Activation::Gelu), eps: Some(1e-6) }, Global::Class, Some(Turning::Eva02)));
    }
    let found = format!("{name}, which is not imported yet");
    Err(Error::file(place, "vision_cfg.timm_model_name", "a tower that is imported: SigLIP, PE-Core, MobileCLIP B, EVA-02 B and L", found))
}
