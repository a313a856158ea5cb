use std::path::Path;

use serde_json::Value;

use crate::{Error, Result};

/// Files of weights in a folder, the one that counts first. An index stands for the shards that it names.
pub(super) const WEIGHTS: [&str; 8] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_pytorch_model.bin",
    "tcl.pth",
];
const INDEX_MAX_BYTES: u64 = 64 << 20;

pub(super) fn read_json(path: &Path) -> Result<Value> {
    let place = path.display().to_string();
    let size = std::fs::metadata(path).map_err(Error::io(path))?.len();
    if size > INDEX_MAX_BYTES {
        return Err(Error::file(place, "file", format!("at most {INDEX_MAX_BYTES} bytes"), size.to_string()));
    }
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::file(place, "file", "JSON", e.to_string()))
}
