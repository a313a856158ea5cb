//! Small bundles for tests that look at everything but the encoders.

use edge_seg::bundle::{self, Card, Fit, ImageManifest, Interpolation, Manifest, Positions, TextManifest};
use std::path::Path;

/// Writes a bundle with this release number and boards, padded to about `bytes`.
pub fn write(path: &Path, serial: u64, boards: &[&str], bytes: usize) {
    let manifest = Manifest {
        format: 0,
        name: "tiny".into(),
        variant: "f32".into(),
        serial,
        boards: boards.iter().map(|board| board.to_string()).collect(),
        image: ImageManifest {
            blob: "image.onnx".into(),
            patch_px: 16,
            input_px: 32,
            fit: Fit::Grid,
            interpolation: Interpolation::Bicubic,
            mean: [0.5; 3],
            std: [0.5; 3],
            positions: Positions { blob: "positions".into(), rows: 1, cols: 1, width: 2 },
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
    };
    let image = vec![serial as u8; bytes.max(1)];
    bundle::write(path, manifest, &[("image.onnx", &image), ("positions", &[0; 16]), ("text.onnx", b"text"), ("tokenizer.json", b"{}")])
        .unwrap();
}
