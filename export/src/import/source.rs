//! What an import reads: a file of weights, alone or in a folder with its descriptions.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{hub, pickle, tokenizer};
use crate::checkpoint::{Weights, read_safetensors};
use crate::{Error, Result};

/// Files of weights in a folder, the one that counts first.
pub(super) const WEIGHTS: [&str; 6] = [
    "model.safetensors",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
    "tcl.pth",
];

/// A place with weights.
pub(super) struct Source {
    /// Its name in errors.
    pub place: String,
    folder: Option<PathBuf>,
    file: PathBuf,
}

impl Source {
    /// A file, a folder, or `hf:owner/name[@revision]`.
    pub(super) fn find(name: &str) -> Result<Self> {
        let path = match name.strip_prefix("hf:") {
            Some(id) => hub::fetch(id)?,
            None => PathBuf::from(name),
        };
        if !path.is_dir() {
            return Ok(Self { place: name.into(), folder: None, file: path });
        }
        let found = WEIGHTS.iter().map(|n| path.join(n)).find(|p| p.exists());
        let file = found.ok_or_else(|| Error::file(name, "folder", WEIGHTS.join(", "), "none of them"))?;
        Ok(Self { place: name.into(), folder: Some(path), file })
    }

    pub(super) fn weights(&self) -> Result<Weights> {
        read_weights(&self.file)
    }

    /// A JSON file of the folder, if it is there.
    pub(super) fn json(&self, name: &str) -> Result<Option<Value>> {
        let Some(path) = self.folder.as_ref().map(|f| f.join(name)).filter(|p| p.exists()) else { return Ok(None) };
        let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
        serde_json::from_slice(&bytes).map(Some).map_err(|e| Error::file(path.display().to_string(), "file", "JSON", e.to_string()))
    }

    /// `given`, or the folder's own tokenizer, made from its vocabulary where it has no tokenizer.json.
    pub(super) fn tokenizer(&self, given: Option<&Path>) -> Result<Vec<u8>> {
        if let Some(path) = given {
            return tokenizer::read(path);
        }
        if let Some(folder) = &self.folder {
            let (ready, vocabulary) = (folder.join("tokenizer.json"), folder.join("vocab.json"));
            if ready.exists() {
                return tokenizer::read(&ready);
            }
            if vocabulary.exists() && folder.join("merges.txt").exists() {
                return tokenizer::from_vocabulary(&vocabulary, &folder.join("merges.txt"));
            }
        }
        let expected = "tokenizer.json (or vocab.json and merges.txt) beside the weights, or one named by --tokenizer: CLIP's \
                        tokenizer.json, or its vocabulary file bpe_simple_vocab_16e6.txt, from which one is made";
        Err(Error::file(&self.place, "tokenizer", expected, "none"))
    }
}

pub(super) fn read_weights(path: &Path) -> Result<Weights> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("safetensors") => read_safetensors(path),
        Some("pt" | "pth" | "bin") => pickle::read(path),
        other => Err(Error::file(path.display().to_string(), "ending", ".safetensors, .pt, .pth or .bin", format!("{other:?}"))),
    }
}
