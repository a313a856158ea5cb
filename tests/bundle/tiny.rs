//! A bundle that is small, for tests that look at everything but the encoders.

use edge_seg::bundle::{Card, Fit, ImageManifest, Interpolation, Manifest, Positions, TextManifest};

/// A manifest for bundles whose encoders nobody runs: blobs `image.onnx`, `positions` of 16 bytes, `text.onnx`, `tokenizer.json`.
pub fn tiny_manifest() -> Manifest {
    Manifest {
        format: 0,
        name: "tiny".into(),
        variant: "f32".into(),
        serial: 1,
        boards: vec![],
        image: ImageManifest {
            blob: "image.onnx".into(),
            patch_px: 16,
            input_px: 32,
            fit: Fit::Grid,
            interpolation: Interpolation::Bicubic,
            mean: [0.5; 3],
            std: [0.5; 3],
            positions: Positions { blob: "positions".into(), rows: 1, cols: 1, width: 2 },
            head: None,
        },
        text: TextManifest { blob: "text.onnx".into(), tokenizer: "tokenizer.json".into(), context: 8, pad_token: 0 },
        embedding_dim: 4,
        logit_scale: 10.0,
        logit_bias: Some(-5.0),
        templates: vec!["{}".into()],
        background: 0.5,
        tag_threshold: 0.5,
        card: Card { title: "t".into(), licence: "l".into(), training_data: "d".into(), measured: "m".into(), limits: "x".into() },
        blobs: vec![],
    }
}
