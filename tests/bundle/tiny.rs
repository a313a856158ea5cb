//! A bundle that is small, for tests that look at everything but the encoders.

use edge_seg::bundle::{Card, ImageManifest, Manifest, Positions, TextManifest};

/// A manifest for bundles whose encoders nobody runs: blobs `image.onnx`, `positions` of 16 bytes, `text.onnx`, `tokenizer.json`.
pub fn tiny_manifest() -> Manifest {
    let mut image = ImageManifest::new("image.onnx", 16, 32, Positions::new("positions", 1, 1, 2));
    (image.mean, image.std) = ([0.5; 3], [0.5; 3]);
    let text = TextManifest::new("text.onnx", "tokenizer.json", 8, 0);
    let card = Card::new("t").with_licence("l").with_training_data("d").with_measured("m").with_limits("x");
    let mut manifest = Manifest::new("tiny", image, text, 4, 10.0, card);
    (manifest.format, manifest.serial, manifest.logit_bias) = (0, 1, Some(-5.0));
    manifest
}
