//! `config.json` of a model folder: architecture, preprocessing, prompts, thresholds, model card.
//!
//! The contract is `docs/model-folder.md`. Unknown keys are refused, and what the keys say together is checked before a
//! single weight is read.

use std::path::Path;

use edge_seg_bundle::{Card, Fit, Interpolation};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Version of the model folder that this crate reads.
pub const FORMAT: u32 = 1;

/// A model folder's `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Version of the folder's layout, [`FORMAT`].
    pub format: u32,
    /// The model's name.
    pub name: String,
    /// The image tower.
    pub image: ImageTower,
    /// The text tower.
    pub text: TextTower,
    /// Width of the space that patches and words share.
    pub embedding_dim: usize,
    /// Longest token sequence, special tokens included.
    pub context: usize,
    /// Token that fills the shorter rows of a batch.
    pub pad_token: i64,
    /// What the image tower's input looks like.
    pub preprocess: Preprocess,
    /// Factor on the cosine of a patch and a word.
    pub logit_scale: f32,
    /// Added to the scaled cosine before the sigmoid; null where scores are a softmax over the words.
    pub logit_bias: Option<f32>,
    /// Sentences that a word is put into, at `{}`.
    pub templates: Vec<String>,
    /// Score below which a pixel belongs to no word.
    pub background: f32,
    /// Pixel-tag score from which a word counts as present.
    pub tag_threshold: f32,
    /// Where the model comes from and what it may be used for.
    pub card: Card,
}

/// The image tower: a vision transformer and the head that makes its patch tokens embeddings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageTower {
    /// The architecture; `vit` is a pre-norm vision transformer with a class token.
    pub arch: ImageArch,
    /// Width of the residual stream.
    pub width: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Attention heads of a block.
    pub heads: usize,
    /// Hidden width of a block's MLP.
    pub mlp_width: usize,
    /// Side of a patch.
    pub patch_px: usize,
    /// Convolutions before the patch embedding, `[channels, side]` each, that step by their own side and are followed by GELU (erf). The patch
    /// embedding's side is what they leave of [`Self::patch_px`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stem: Vec<[usize; 2]>,
    /// Whether a class token comes before the patches. Without one the first row of the position embeddings is nobody's.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub class_token: bool,
    /// Register tokens between the class token and the patches, which have no position embeddings.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub registers: usize,
    /// Rows and columns of the grid that the stored position embeddings belong to.
    pub grid: [usize; 2],
    /// How queries and keys are turned by where their patch lies, beside the position embeddings; none in most towers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotary: Option<Rotary>,
    /// Whether the patch embedding has a bias.
    pub patch_bias: bool,
    /// Whether a LayerNorm follows the position embeddings (CLIP's `ln_pre`).
    pub pre_norm: bool,
    /// The blocks' activation.
    pub activation: Activation,
    /// Whether the blocks are EVA-02's: a LayerNorm before the attention's output projection, and in the MLP two branches, one through SiLU, whose
    /// product is normed before `fc2`. `activation` is then that of nothing but a head.
    #[serde(default, skip_serializing_if = "is_no")]
    pub gated: bool,
    /// Epsilon of every LayerNorm of the tower.
    pub norm_eps: f32,
    /// How patch tokens become embeddings.
    pub head: Head,
    /// Whether the projection of the heads `maskclip` and `attention` has a bias.
    #[serde(default, skip_serializing_if = "is_no")]
    pub projection_bias: bool,
    /// Whether the heads `maskclip` and `attention` end in a projection; without one the tower's width is that of the words' space.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub projection: bool,
    /// How the picture's own embedding is made.
    pub global: Global,
}

/// Rotary position embeddings of two axes: pair k of a head's numbers is turned by the angle `at · temperature^(-4k/d)`, the first half of the
/// pairs by one axis and the second by the other, d being the head's width. The class token is not turned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotary {
    /// The rows and columns that every picture's are scaled to.
    pub grid: [usize; 2],
    /// Added to a patch's row and column, counted from 0, before they are scaled.
    pub offset: f32,
    /// Whether the first half is of the columns, and not of the rows.
    pub columns_first: bool,
    /// What the slowest angle is made from.
    pub temperature: f32,
}

fn yes() -> bool {
    true
}

fn is_yes(flag: &bool) -> bool {
    *flag
}

fn is_no(flag: &bool) -> bool {
    !*flag
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl ImageTower {
    /// How many tokens come before the patches.
    pub fn prefix(&self) -> usize {
        usize::from(self.class_token) + self.registers
    }

    /// Channels that the patch embedding reads, and its side.
    pub fn patch_kernel(&self) -> [usize; 2] {
        let steps: usize = self.stem.iter().map(|[_, side]| side).product();
        [self.stem.last().map_or(3, |[channels, _]| *channels), self.patch_px / steps.max(1)]
    }
}

/// Image architectures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageArch {
    /// Pre-norm vision transformer with a class token.
    Vit,
}

/// Activations of an MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// x·Φ(x), by the error function.
    Gelu,
    /// The tanh approximation of [`Activation::Gelu`].
    GeluTanh,
    /// x·sigmoid(1.702·x), as OpenAI's CLIP has it.
    QuickGelu,
    /// max(x, 0).
    Relu,
}

/// How patch tokens become embeddings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Head {
    /// Several maps of patch tokens, each normalised, side by side through an MLP.
    Fusion {
        /// The maps, in their order side by side.
        taps: Vec<Tap>,
        /// Hidden width of the MLP.
        hidden: usize,
    },
    /// The last block's value path, final norm, projection (Zhou et al., ECCV 2022).
    Maskclip {},
    /// The last block with another similarity, and without residual and MLP unless they are asked for; final norm, projection.
    /// Needs the weights of [`Head::Maskclip`] alone.
    Attention {
        /// What the softmax compares.
        similarity: Similarity,
        /// Deviation, in patches, of the Gaussian that is added to the logits (Hajimiri et al., WACV 2025); 0 adds none.
        neighbour: f32,
        /// Whether the stream that enters the block is added.
        residual: bool,
        /// Whether the block's MLP follows, with its own residual.
        mlp: bool,
    },
    /// A pooling attention whose query is learned, as SigLIP has it: each patch as if the query looked at it alone, so its value, the output
    /// projection and the MLP with its residual.
    Pooled {
        /// Heads of the pooling attention.
        heads: usize,
        /// Hidden width of its MLP.
        mlp_width: usize,
        /// Whether a projection into the words' space follows.
        projection: bool,
        /// Whether that projection has a bias.
        #[serde(default, skip_serializing_if = "is_no")]
        projection_bias: bool,
    },
    /// TCL's masker (Cha et al., CVPR 2023): a last block of its own and a gated convolution decoder.
    Tcl {
        /// How often the decoder doubles the grid.
        layers: usize,
    },
}

/// What an attention compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Similarity {
    /// Queries with keys, as the block was trained.
    QueryKey,
    /// Queries with queries.
    QueryQuery,
    /// Keys with keys.
    KeyKey,
}

impl Head {
    /// The head in a few words, as a bundle's manifest records it.
    pub fn describe(&self) -> String {
        match self {
            Head::Fusion { .. } => "fusion".into(),
            Head::Maskclip {} => "maskclip".into(),
            Head::Attention { similarity, neighbour, residual, mlp } => {
                let similarity = match similarity {
                    Similarity::QueryKey => "query-key",
                    Similarity::QueryQuery => "query-query",
                    Similarity::KeyKey => "key-key",
                };
                let near = if *neighbour > 0.0 { format!(", neighbour {neighbour}") } else { String::new() };
                let kept = match (residual, mlp) {
                    (false, false) => "",
                    (true, false) => ", residual",
                    (false, true) => ", mlp",
                    (true, true) => ", residual, mlp",
                };
                format!("attention {similarity}{near}{kept}")
            }
            Head::Pooled { .. } => "pooled".into(),
            Head::Tcl { layers } => format!("tcl, {layers} layers"),
        }
    }
}

/// A map of patch tokens that the fusion head reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tap {
    /// `blockN`: the residual stream after block N, counted from 1.
    Block(usize),
    /// `value`: the last block's value path, `proj(v(norm1(x)))`.
    Value,
    /// `final`: the stream after the last block and the final norm.
    Final,
}

impl Serialize for Tap {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Tap::Block(n) => serializer.collect_str(&format_args!("block{n}")),
            Tap::Value => serializer.serialize_str("value"),
            Tap::Final => serializer.serialize_str("final"),
        }
    }
}

impl<'de> Deserialize<'de> for Tap {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match name.as_str() {
            "value" => Some(Tap::Value),
            "final" => Some(Tap::Final),
            _ => name.strip_prefix("block").and_then(|n| n.parse().ok()).map(Tap::Block),
        }
        .ok_or_else(|| serde::de::Error::custom(format!("tap {name:?}: expected `blockN`, `value` or `final`")))
    }
}

/// How the picture's own embedding is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Global {
    /// Mean of the unit-norm patch embeddings.
    Mean,
    /// The class token through the same projection.
    Class,
    /// The mean of the patches after the whole last block, normed and projected.
    #[serde(rename = "pool-norm")]
    PoolNorm,
    /// The mean of the patches after the whole last block and the norm, projected.
    #[serde(rename = "norm-pool")]
    NormPool,
    /// The pooling attention of [`Head::Pooled`].
    Attention,
}

/// The text tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextTower {
    /// The architecture.
    pub arch: TextArch,
    /// Width of the residual stream.
    pub width: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Attention heads of a block.
    pub heads: usize,
    /// Hidden width of a block's MLP.
    pub mlp_width: usize,
    /// Size of the vocabulary.
    pub vocab: usize,
    /// Number of position embeddings.
    pub positions: usize,
    /// The blocks' activation.
    pub activation: Activation,
    /// Epsilon of every LayerNorm of the tower.
    pub norm_eps: f32,
    /// Whether a projection follows.
    pub projection: bool,
    /// Whether that projection has a bias.
    #[serde(default, skip_serializing_if = "is_no")]
    pub projection_bias: bool,
}

/// Text architectures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextArch {
    /// Post-norm BERT, mean pooling over the real tokens.
    Bert,
    /// Pre-norm causal transformer, the last real token.
    Clip,
    /// Pre-norm transformer whose real tokens all see one another; their mean.
    Mean,
    /// Pre-norm transformer whose tokens all see one another, padding too: a text fills the whole context. The last place.
    Padded,
}

/// What the image tower's input looks like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Subtracted from each channel, in 0..1.
    pub mean: [f32; 3],
    /// Divides each channel, in 0..1.
    pub std: [f32; 3],
    /// Filter of the resize.
    pub interpolation: Interpolation,
    /// Default side of the prepared input.
    pub input_px: usize,
    /// Which side that is.
    pub fit: Fit,
}

impl ModelConfig {
    /// Reads and checks a `config.json`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::File`] if it is not a configuration or says things that do not fit together.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let place = path.display().to_string();
        let config: Self = serde_json::from_slice(&bytes)
            .map_err(|e| Error::file(&place, format!("line {}", e.line()), "the keys of docs/model-folder.md", e.to_string()))?;
        config.check(&place)?;
        Ok(config)
    }

    /// Checks what no type can: ranges, and keys against one another. `place` names the file in errors.
    ///
    /// # Errors
    /// [`Error::File`] for the first key that is out of range.
    pub fn check(&self, place: &str) -> Result<()> {
        let need =
            |ok: bool, key: &str, expected: &str, found: String| if ok { Ok(()) } else { Err(Error::file(place, key, expected, found)) };
        need(self.format == FORMAT, "format", "1", self.format.to_string())?;
        let sizes = [
            ("image.width", self.image.width, 1 << 14),
            ("image.layers", self.image.layers, 256),
            ("image.heads", self.image.heads, 256),
            ("image.mlp_width", self.image.mlp_width, 1 << 16),
            ("image.patch_px", self.image.patch_px, 128),
            ("image.grid[0]", self.image.grid[0], 256),
            ("image.grid[1]", self.image.grid[1], 256),
            ("text.width", self.text.width, 1 << 14),
            ("text.layers", self.text.layers, 256),
            ("text.heads", self.text.heads, 256),
            ("text.mlp_width", self.text.mlp_width, 1 << 16),
            ("text.vocab", self.text.vocab, 1 << 20),
            ("text.positions", self.text.positions, 1 << 13),
            ("embedding_dim", self.embedding_dim, 1 << 14),
            ("context", self.context, self.text.positions),
        ];
        for (key, value, most) in sizes {
            need((1..=most).contains(&value), key, &format!("1 to {most}"), value.to_string())?;
        }
        for (key, width, heads) in [("image.heads", self.image.width, self.image.heads), ("text.heads", self.text.width, self.text.heads)] {
            need(width % heads == 0, key, &format!("a divisor of the width, {width}"), heads.to_string())?;
        }
        for (key, eps) in [("image.norm_eps", self.image.norm_eps), ("text.norm_eps", self.text.norm_eps)] {
            need(eps > 0.0 && eps < 1.0, key, "a small positive number", eps.to_string())?;
        }
        need(
            self.text.projection || self.text.width == self.embedding_dim,
            "text.projection",
            &format!("true, since text.width {} is not embedding_dim {}", self.text.width, self.embedding_dim),
            "false".into(),
        )?;
        need(
            self.pad_token >= 0 && (self.pad_token as usize) < self.text.vocab,
            "pad_token",
            "a token of the vocabulary",
            self.pad_token.to_string(),
        )?;
        if let Head::Fusion { taps, hidden } = &self.image.head {
            let global = self.image.global;
            need(
                matches!(global, Global::Mean | Global::Class),
                "image.global",
                "mean or class with the fusion head",
                format!("{global:?}"),
            )?;
            need((1..=16).contains(&taps.len()), "image.head.taps", "1 to 16 taps", taps.len().to_string())?;
            need((1..=1 << 16).contains(hidden), "image.head.hidden", "1 to 65536", hidden.to_string())?;
            for tap in taps {
                if let Tap::Block(n) = tap {
                    need(
                        (1..=self.image.layers).contains(n),
                        "image.head.taps",
                        &format!("block1 to block{}", self.image.layers),
                        format!("block{n}"),
                    )?;
                }
            }
        }
        if let Head::Attention { neighbour, .. } = &self.image.head {
            need((0.0..=256.0).contains(neighbour), "image.head.neighbour", "0 to 256 patches", neighbour.to_string())?;
        }
        if let Some(rotary) = &self.image.rotary {
            let head = self.image.width / self.image.heads;
            need(head.is_multiple_of(4), "image.rotary", "heads whose width is a multiple of 4", head.to_string())?;
            let positive = rotary.temperature.is_finite() && rotary.temperature > 0.0;
            need(positive, "image.rotary.temperature", "a positive number", rotary.temperature.to_string())?;
            let sides = rotary.grid.iter().all(|side| (1..=256).contains(side));
            need(sides, "image.rotary.grid", "rows and columns of 1 to 256", format!("{:?}", rotary.grid))?;
            let small = (0.0..=1.0).contains(&rotary.offset);
            need(small, "image.rotary.offset", "0 to 1", rotary.offset.to_string())?;
        }
        let (pooled, global) = (matches!(self.image.head, Head::Pooled { .. }), self.image.global);
        need(
            pooled == (global == Global::Attention),
            "image.global",
            "attention with the head pooled, and with no other",
            format!("{global:?}"),
        )?;
        if let Head::Pooled { heads, mlp_width, projection, projection_bias } = &self.image.head {
            let width = self.image.width;
            need(
                *heads > 0 && width.is_multiple_of(*heads),
                "image.head.heads",
                &format!("a divisor of the width, {width}"),
                heads.to_string(),
            )?;
            need((1..=1 << 16).contains(mlp_width), "image.head.mlp_width", "1 to 65536", mlp_width.to_string())?;
            need(*projection || !projection_bias, "image.head.projection_bias", "false without a projection", "true".into())?;
            let fits = *projection || width == self.embedding_dim;
            need(
                fits,
                "image.head.projection",
                &format!("true, since image.width {width} is not embedding_dim {}", self.embedding_dim),
                "false".into(),
            )?;
        }
        need(self.image.registers <= 64, "image.registers", "0 to 64", self.image.registers.to_string())?;
        need(
            self.image.registers == 0 || self.image.class_token,
            "image.registers",
            "0 without a class token",
            self.image.registers.to_string(),
        )?;
        let steps = self.image.stem.iter().try_fold(1usize, |n, [_, side]| n.checked_mul(*side)).filter(|n| *n > 0);
        let fits = steps.is_some_and(|n| self.image.patch_px.is_multiple_of(n)) && self.image.stem.len() <= 8;
        let sizes = self.image.stem.iter().all(|[channels, side]| (1..=1 << 14).contains(channels) && (1..=32).contains(side));
        need(fits && sizes, "image.stem", "up to 8 convolutions whose sides divide patch_px", format!("{:?}", self.image.stem))?;
        let biased =
            self.image.projection_bias && !(self.image.projection && matches!(self.image.head, Head::Maskclip {} | Head::Attention { .. }));
        need(!biased, "image.projection_bias", "false but for a projection of the heads maskclip and attention", "true".into())?;
        let plain = matches!(self.image.head, Head::Maskclip {} | Head::Attention { .. });
        let fits = self.image.projection || (plain && self.image.width == self.embedding_dim);
        need(
            fits,
            "image.projection",
            "true, but for the heads maskclip and attention of a tower as wide as the words' space",
            "false".into(),
        )?;
        let plain = !self.image.gated || matches!(self.image.head, Head::Maskclip {} | Head::Attention { .. } | Head::Fusion { .. });
        need(plain, "image.gated", "false but for the heads maskclip, attention and fusion", "true".into())?;
        let alone = self.image.class_token || pooled;
        need(alone, "image.class_token", "true but for the head pooled", self.image.class_token.to_string())?;
        need(self.text.projection || !self.text.projection_bias, "text.projection_bias", "false without a projection", "true".into())?;
        if let Head::Tcl { layers } = &self.image.head {
            need((1..=3).contains(layers), "image.head.layers", "1 to 3", layers.to_string())?;
        }
        let pre = &self.preprocess;
        need(pre.std.iter().all(|s| s.is_finite() && *s > 0.0), "preprocess.std", "three positive numbers", format!("{:?}", pre.std))?;
        need(pre.mean.iter().all(|m| m.is_finite()), "preprocess.mean", "three finite numbers", format!("{:?}", pre.mean))?;
        need(
            pre.input_px >= self.image.patch_px && pre.input_px <= 8192 && pre.input_px.is_multiple_of(self.image.patch_px),
            "preprocess.input_px",
            &format!("a multiple of patch_px {}, at most 8192", self.image.patch_px),
            pre.input_px.to_string(),
        )?;
        need(self.logit_scale.is_finite() && self.logit_scale > 0.0, "logit_scale", "a positive number", self.logit_scale.to_string())?;
        need(
            !self.templates.is_empty() && self.templates.iter().all(|t| t.matches("{}").count() == 1),
            "templates",
            "one or more sentences, each with one {}",
            format!("{:?}", self.templates),
        )?;
        for (key, value) in [("background", self.background), ("tag_threshold", self.tag_threshold)] {
            need((0.0..=1.0).contains(&value), key, "0 to 1", value.to_string())?;
        }
        Ok(())
    }
}
