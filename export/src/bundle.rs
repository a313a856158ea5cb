//! From a model to a bundle: both encoders as ONNX, the position embeddings, the tokenizer, and the manifest.

use std::path::Path;

use edge_seg_bundle::{self as bundle, Bundle, ImageManifest, Manifest, Positions, TextManifest};

use crate::Result;
use crate::checkpoint::Model;
use crate::onnx::{self, Layers, Storage};

/// What a bundle says besides what the model folder holds.
#[derive(Debug, Clone, Default)]
pub struct Release {
    /// Release number: a board may refuse a lower one than it runs.
    pub serial: u64,
    /// Boards that the bundle is for; empty means any.
    pub boards: Vec<String>,
}

/// Name of the image encoder's blob.
pub const IMAGE_BLOB: &str = "image.onnx";
/// Name of the text encoder's blob.
pub const TEXT_BLOB: &str = "text.onnx";
/// Name of the position embeddings' blob.
pub const POSITIONS_BLOB: &str = "positions.f32";
/// Name of the tokenizer's blob.
pub const TOKENIZER_BLOB: &str = "tokenizer.json";

/// Writes `model` as a bundle to `path`: beside it first, then renamed.
///
/// # Errors
/// [`crate::Error::Runtime`] if the manifest breaks the bundle's rules or the file system refuses.
pub fn write(path: &Path, model: &Model, layers: impl Into<Layers>, release: &Release) -> Result<()> {
    let layers = layers.into();
    write_towers(path, model, &layers, &layers, release)
}

/// As [`write()`], with layers of its own for each tower. The manifest's `variant` is the image tower's, which every frame passes.
///
/// # Errors
/// As [`write()`].
pub fn write_towers(path: &Path, model: &Model, image: &Layers, text: &Layers, release: &Release) -> Result<()> {
    let blobs = Blobs::new(model, image, text)?;
    Ok(bundle::write(path, manifest(model, image.storage, release), &blobs.named(model))?)
}

/// As [`write_towers`], in memory; `place` names it in errors.
///
/// # Errors
/// [`crate::Error::Runtime`] if the manifest breaks the bundle's rules.
pub fn build(place: &str, model: &Model, image: &Layers, text: &Layers) -> Result<Bundle> {
    let blobs = Blobs::new(model, image, text)?;
    Ok(bundle::build(place.into(), manifest(model, image.storage, &Release::default()), &blobs.named(model))?)
}

struct Blobs {
    image: Vec<u8>,
    text: Vec<u8>,
    positions: Vec<u8>,
}

impl Blobs {
    fn new(model: &Model, image: &Layers, text: &Layers) -> Result<Self> {
        Ok(Self {
            image: onnx::image_encoder(model, image.clone())?,
            text: onnx::text_encoder(model, text.clone())?,
            positions: model.weights["image.positions"].data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        })
    }

    fn named<'a>(&'a self, model: &'a Model) -> [(&'static str, &'a [u8]); 4] {
        [(IMAGE_BLOB, &self.image), (TEXT_BLOB, &self.text), (POSITIONS_BLOB, &self.positions), (TOKENIZER_BLOB, &model.tokenizer)]
    }
}

fn manifest(model: &Model, storage: Storage, release: &Release) -> Manifest {
    let config = &model.config;
    Manifest {
        format: bundle::FORMAT,
        name: config.name.clone(),
        variant: storage.variant().into(),
        serial: release.serial,
        boards: release.boards.clone(),
        image: ImageManifest {
            blob: IMAGE_BLOB.into(),
            patch_px: config.image.patch_px,
            input_px: config.preprocess.input_px,
            fit: config.preprocess.fit,
            interpolation: config.preprocess.interpolation,
            mean: config.preprocess.mean,
            std: config.preprocess.std,
            positions: Positions {
                blob: POSITIONS_BLOB.into(),
                rows: config.image.grid[0],
                cols: config.image.grid[1],
                width: config.image.width,
            },
            head: Some(config.image.head.describe()),
        },
        text: TextManifest {
            blob: TEXT_BLOB.into(),
            tokenizer: TOKENIZER_BLOB.into(),
            context: config.context,
            pad_token: config.pad_token,
        },
        embedding_dim: config.embedding_dim,
        logit_scale: config.logit_scale,
        logit_bias: config.logit_bias,
        templates: config.templates.clone(),
        background: config.background,
        tag_threshold: config.tag_threshold,
        card: config.card.clone(),
        blobs: Vec::new(),
    }
}
