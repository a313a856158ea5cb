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
    let (image, preprocess) = (&config.image, &config.preprocess);
    let positions = Positions::new(POSITIONS_BLOB, image.grid[0], image.grid[1], image.width);
    let mut image_manifest = ImageManifest::new(IMAGE_BLOB, image.patch_px, preprocess.input_px, positions);
    (image_manifest.fit, image_manifest.interpolation) = (preprocess.fit, preprocess.interpolation);
    (image_manifest.mean, image_manifest.std) = (preprocess.mean, preprocess.std);
    image_manifest.head = Some(image.head.describe());
    let text = TextManifest::new(TEXT_BLOB, TOKENIZER_BLOB, config.context, config.pad_token);
    let mut manifest = Manifest::new(&config.name, image_manifest, text, config.embedding_dim, config.logit_scale, config.card.clone());
    (manifest.variant, manifest.serial, manifest.boards) = (storage.variant().into(), release.serial, release.boards.clone());
    (manifest.logit_bias, manifest.templates) = (config.logit_bias, config.templates.clone());
    (manifest.background, manifest.tag_threshold) = (config.background, config.tag_threshold);
    manifest
}
