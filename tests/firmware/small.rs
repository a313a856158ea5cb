//! Small bundles for tests that look at everything but the encoders.

use std::path::Path;

use edge_seg_bundle as bundle;

use crate::tiny::tiny_manifest;

/// Writes a bundle with this release number and boards, padded to about `bytes`.
pub fn write(path: &Path, serial: u64, boards: &[&str], bytes: usize) {
    let mut manifest = tiny_manifest();
    (manifest.serial, manifest.boards) = (serial, boards.iter().map(|board| board.to_string()).collect());
    let image = vec![serial as u8; bytes.max(1)];
    bundle::write(path, manifest, &[("image.onnx", &image), ("positions", &[0; 16]), ("text.onnx", b"text"), ("tokenizer.json", b"{}")])
        .unwrap();
}
