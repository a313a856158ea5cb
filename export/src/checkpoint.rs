//! Readers of weights: model folders, safetensors, npz. Strict: what is missing, unused or of another shape is reported, never guessed.

mod npz;

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use crate::config::ModelConfig;
use crate::parameters::parameters;
use crate::{Error, Result};

pub use crate::weights::{LoadReport, Misfit, Stray, Tensor, Weights};
pub use npz::{read_npz, vit_from_timm};

/// A model folder in memory: configuration, every weight that it needs and no other, and the tokenizer's file.
#[derive(Debug, Clone)]
pub struct Model {
    /// `config.json`.
    pub config: ModelConfig,
    /// `model.safetensors`, by canonical name.
    pub weights: Weights,
    /// The bytes of `tokenizer.json`.
    pub tokenizer: Vec<u8>,
    /// What was loaded.
    pub report: LoadReport,
}

impl Model {
    /// Reads a model folder as `docs/model-folder.md` describes it.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::File`] for files that are absent or broken, [`Error::Weights`] with the whole
    /// report where weights and architecture differ.
    pub fn read(folder: &Path) -> Result<Self> {
        let config = ModelConfig::read(&folder.join("config.json"))?;
        let path = folder.join("model.safetensors");
        let weights = read_safetensors(&path)?;
        let tokenizer = read_tokenizer(&folder.join("tokenizer.json"))?;
        Self::assemble(&path.display().to_string(), config, weights, tokenizer)
    }

    /// Puts a model together, strictly. `place` names the weights in errors.
    ///
    /// # Errors
    /// [`Error::Weights`] with the whole report where weights and architecture differ, [`Error::File`] for a weight that is not finite.
    pub fn assemble(place: &str, config: ModelConfig, weights: Weights, tokenizer: Vec<u8>) -> Result<Self> {
        let report = LoadReport::compare(&parameters(&config), &weights);
        if !report.is_exact() {
            return Err(Error::Weights { place: place.into(), report: Box::new(report) });
        }
        for (name, tensor) in &weights {
            if let Some(at) = tensor.data.iter().position(|x| !x.is_finite()) {
                return Err(Error::file(place, name, "finite numbers", format!("{} at element {at}", tensor.data[at])));
            }
        }
        Ok(Self { config, weights, tokenizer, report })
    }
}

pub(crate) fn read_tokenizer(path: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let json: serde_json::Value = serde_json::from_slice(&bytes)
        .map_err(|e| Error::file(path.display().to_string(), "file", "a tokenizer.json of the tokenizers library", e.to_string()))?;
    if json.get("model").is_none() {
        return Err(Error::file(path.display().to_string(), "file", "a tokenizer.json with the key `model`", "none"));
    }
    Ok(bytes)
}

/// What a file of weights holds.
#[derive(Debug, Default)]
pub struct Contents {
    /// Its tensors of floats.
    pub weights: Weights,
    /// What else it holds, and of what kind that is: tensors of other numbers, settings. Whether that matters is for the reader to judge.
    pub others: BTreeMap<String, String>,
}

/// The number types that a weight may have.
pub(crate) const FLOATS: &str = "numbers of type F32, F16, BF16 or F64";

/// Reads every tensor of a safetensors file; float16, bfloat16 and float64 become f32.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::File`] if it is no safetensors file or holds another number type.
pub fn read_safetensors(path: &Path) -> Result<Weights> {
    let contents = read_contents(path)?;
    match contents.others.first_key_value() {
        None => Ok(contents.weights),
        Some((name, kind)) => Err(Error::file(path.display().to_string(), name, FLOATS, kind)),
    }
}

/// As [`read_safetensors`], with tensors of other numbers named in [`Contents::others`].
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::File`] if it is no safetensors file.
pub fn read_contents(path: &Path) -> Result<Contents> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let place = path.display().to_string();
    let file = SafeTensors::deserialize(&bytes).map_err(|e| Error::file(&place, "file", "a safetensors file", e.to_string()))?;
    let mut contents = Contents::default();
    for (name, view) in file.iter() {
        match floats(view.dtype(), view.data()) {
            Some(data) => drop(contents.weights.insert(name.to_string(), Tensor::new(view.shape(), data))),
            None => drop(contents.others.insert(name.to_string(), format!("{:?}", view.dtype()))),
        }
    }
    Ok(contents)
}

fn floats(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let two = |b: &[u8]| [b[0], b[1]];
    Some(match dtype {
        Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::F16 => bytes.chunks_exact(2).map(|b| half::f16::from_le_bytes(two(b)).to_f32()).collect(),
        Dtype::BF16 => bytes.chunks_exact(2).map(|b| half::bf16::from_le_bytes(two(b)).to_f32()).collect(),
        Dtype::F64 => bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        _ => return None,
    })
}
