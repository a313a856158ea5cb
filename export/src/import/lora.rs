//! Merges a LoRA of peft: W + alpha / rank · B · A (Hu et al. 2021).

use std::path::Path;

use crate::checkpoint::{Weights, read_safetensors};
use crate::{Error, Result};

/// Merges `adapter_model.safetensors` of `folder` into the weights that it names.
///
/// # Errors
/// [`Error::Io`] and [`Error::File`] if the folder is no LoRA of peft, or names a weight that is not there or of another shape.
pub(super) fn merge(folder: &Path, weights: &mut Weights) -> Result<()> {
    let path = folder.join("adapter_config.json");
    let place = path.display().to_string();
    let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
    let config: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| Error::file(&place, "file", "JSON", e.to_string()))?;
    let number = |key: &str| {
        config[key].as_f64().filter(|v| *v > 0.0).ok_or_else(|| Error::file(&place, key, "a positive number", config[key].to_string()))
    };
    let (rank, alpha) = (number("r")?, number("lora_alpha")?);
    // These change what a merge means, and are not silently left out.
    for (key, plain) in
        [("use_dora", serde_json::json!(false)), ("rank_pattern", serde_json::json!({})), ("alpha_pattern", serde_json::json!({}))]
    {
        if !config[key].is_null() && config[key] != plain {
            return Err(Error::file(&place, key, plain.to_string(), config[key].to_string()));
        }
    }
    let factor = if config["use_rslora"] == true { alpha / rank.sqrt() } else { alpha / rank } as f32;
    let path = folder.join("adapter_model.safetensors");
    let place = path.display().to_string();
    let adapter = read_safetensors(&path)?;
    let mut merged = 0;
    for (name, a) in &adapter {
        let Some(stem) = name.strip_suffix(".lora_A.weight") else {
            if name.ends_with(".lora_B.weight") {
                continue;
            }
            return Err(Error::file(&place, name, "pairs of lora_A.weight and lora_B.weight", "another tensor"));
        };
        let b = adapter.get(&format!("{stem}.lora_B.weight")).ok_or_else(|| Error::file(&place, name, "its lora_B", "none"))?;
        // PyTorch's own attention holds query, key and value in one matrix; peft wraps it and, inside, its output projection.
        let stem = stem.trim_start_matches("base_model.model.").replace(".base_layer.", ".");
        let joined = format!("{stem}.in_proj_weight");
        let target = if weights.contains_key(&joined) { joined } else { format!("{stem}.weight") };
        let weight =
            weights.get_mut(&target).ok_or_else(|| Error::file(&place, name, format!("a weight {target} in the model"), "none"))?;
        let ([r, inputs], [outputs, r_too]) = (a.shape[..].try_into().unwrap_or([0, 0]), b.shape[..].try_into().unwrap_or([0, 0]));
        if r == 0 || r != r_too || weight.shape != [outputs, inputs] {
            let found = format!("A {:?}, B {:?} for {:?}", a.shape, b.shape, weight.shape);
            return Err(Error::file(&place, name, "A [rank, in] and B [out, rank] of a matrix [out, in]", found));
        }
        for (row, b_row) in weight.data.chunks_exact_mut(inputs).zip(b.data.chunks_exact(r)) {
            for (scale, a_row) in b_row.iter().zip(a.data.chunks_exact(inputs)) {
                row.iter_mut().zip(a_row).for_each(|(w, a)| *w += factor * scale * a);
            }
        }
        merged += 1;
    }
    if merged == 0 {
        return Err(Error::file(&place, "file", "at least one lora_A.weight", "none"));
    }
    Ok(())
}
