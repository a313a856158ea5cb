//! Merges a LoRA: W + alpha / rank · B · A (Hu et al. 2021). Adapters of peft, files of loralib and minLoRA, and state dicts that hold one
//! unmerged beside the weights.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::Value;

use super::files::read_json;
use super::source::read_weights;
use super::state::cleaned;
use crate::weights::{Tensor, Weights};
use crate::{Error, Result};

/// The last release of peft that adds the delta of an attention's output projection twice, where it wraps PyTorch's own attention: in
/// training as in merging, so that the weights which were trained are those.
const LAST_TO_ADD_TWICE: [u64; 3] = [0, 21, 2];
/// Starts that leave the base's weights alone. Every other one moves them, and the adapter's file does not hold where to.
const PLAIN_STARTS: [&str; 4] = ["gaussian", "orthogonal", "mica", "eva"];
/// Settings of peft that change what a merge means, in so many kinds that none is guessed.
const CHANGES: [&str; 10] = [
    "fan_in_fan_out",
    "layer_replication",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "use_bdlora",
    "use_qalora",
    "velora_config",
    "megatron_config",
];
const MERGED: &str = "merge it in Python: model.merge_and_unload().save_pretrained(FOLDER), and import that";

/// How an adapter's parts are put together.
struct Rules {
    place: String,
    alpha: f64,
    alphas: Vec<(Regex, f64)>,
    by_root: bool,
    /// Whether the delta of an attention's output projection counts twice; `None` where nothing tells.
    twice: Option<bool>,
    tokens: Value,
}

impl Rules {
    fn factor(&self, module: &str, rank: usize) -> f32 {
        let alpha = self.alphas.iter().find(|(pattern, _)| pattern.is_match(module)).map_or(self.alpha, |(_, alpha)| *alpha);
        (if self.by_root { alpha / (rank as f64).sqrt() } else { alpha / rank as f64 }) as f32
    }

    fn refuse<T>(&self, part: &str, expected: impl Into<String>, found: impl Into<String>) -> Result<T> {
        Err(Error::file(&self.place, part, expected, found))
    }
}

/// Merges the adapter at `path` into the weights that it names: a folder of peft, or a file of loralib's or minLoRA's names.
///
/// # Errors
/// [`Error::Io`] and [`Error::File`] if it is neither, cannot be merged, or names a weight that is not there or of another shape.
pub(super) fn merge(path: &Path, alpha: Option<f64>, weights: &mut Weights) -> Result<()> {
    let beside = path.with_file_name("adapter_config.json");
    if path.is_file() && !(path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("adapter_model")) && beside.exists()) {
        let contents = read_weights(path)?;
        let rules = plain_rules(path.display().to_string(), alpha)?;
        return apply(&rules, contents.weights, weights);
    }
    let folder = if path.is_file() { path.parent().map(Path::to_owned).unwrap_or_default() } else { adapter_folder(path)? };
    let config = folder.join("adapter_config.json");
    let mut rules = peft_rules(config.display().to_string(), &read_json(&config)?)?;
    let files = ["adapter_model.safetensors", "adapter_model.bin"].map(|name| folder.join(name));
    let file = files.iter().find(|f| f.exists());
    let file = file
        .ok_or_else(|| Error::file(folder.display().to_string(), "folder", "adapter_model.safetensors or adapter_model.bin", "neither"))?;
    rules.place = file.display().to_string();
    apply(&rules, read_weights(file)?.weights, weights)
}

/// Where weights and an unmerged LoRA are in one state dict: the weights by their own names, the LoRA merged.
///
/// # Errors
/// [`Error::File`] if it needs `alpha`, which no state dict holds, or cannot be merged.
pub(super) fn merge_inside(place: &str, alpha: Option<f64>, weights: &mut Weights) -> Result<()> {
    if !weights.keys().any(|name| is_part(name)) {
        return Ok(());
    }
    let (mut adapter, mut base) = (Weights::new(), Weights::new());
    for (name, tensor) in std::mem::take(weights) {
        if is_part(&name) || name.contains(".modules_to_save.") {
            adapter.insert(name, tensor);
        } else {
            let plain =
                name.replace(".base_layer.", ".").replace(".original_module.", ".").replace(".parametrizations.weight.original", ".weight");
            base.insert(plain, tensor);
        }
    }
    let rules = plain_rules(place.to_owned(), alpha)?;
    apply(&rules, adapter, &mut base)?;
    *weights = base;
    Ok(())
}

fn is_part(name: &str) -> bool {
    name.split('.').any(|part| part.starts_with("lora_"))
}

fn plain_rules(place: String, alpha: Option<f64>) -> Result<Rules> {
    let expected = "--lora-alpha with the alpha that it was trained with (minLoRA's default is 1), or a merged model";
    let alpha = alpha.ok_or_else(|| Error::file(&place, "LoRA", expected, "an unmerged LoRA, whose file holds no alpha"))?;
    Ok(Rules { place, alpha, alphas: Vec::new(), by_root: false, twice: None, tokens: Value::Null })
}

/// The folder itself, or the one adapter with a name of its own inside it.
fn adapter_folder(path: &Path) -> Result<PathBuf> {
    if path.join("adapter_config.json").exists() {
        return Ok(path.to_owned());
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir(path)
        .map_err(Error::io(path))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|p| p.join("adapter_config.json").exists())
        .collect();
    found.sort();
    match &found[..] {
        [only] => Ok(only.clone()),
        [] => {
            Err(Error::file(path.display().to_string(), "folder", "adapter_config.json of peft, or a file of loralib or minLoRA", "none"))
        }
        several => {
            let names: Vec<_> = several.iter().map(|p| p.display().to_string()).collect();
            Err(Error::file(path.display().to_string(), "folder", "--lora with one of the adapters in it", names.join(", ")))
        }
    }
}

fn peft_rules(place: String, config: &Value) -> Result<Rules> {
    let refuse = |key: &str, expected: &str| Err(Error::file(&place, key, format!("{expected}; {MERGED}"), config[key].to_string()));
    if config["peft_type"].as_str().is_some_and(|kind| kind != "LORA") {
        return refuse("peft_type", "\"LORA\"");
    }
    let start = &config["init_lora_weights"];
    if !(start.is_null() || start.is_boolean() || start.as_str().is_some_and(|s| PLAIN_STARTS.contains(&s))) {
        let expected = "a start that leaves the base's weights alone; this one moved them, so that W + BA is not what was trained. peft converts \
                        it: save_pretrained(FOLDER, path_initial_model_for_weight_conversion=START), with the adapter saved before training as START";
        return Err(Error::file(&place, "init_lora_weights", expected, start.to_string()));
    }
    let is_set = |value: &Value| !(value.is_null() || value == &Value::Bool(false) || value.as_object().is_some_and(|o| o.is_empty()));
    if let Some(key) = CHANGES.iter().find(|key| is_set(&config[**key])) {
        return refuse(key, "null or false");
    }
    let number = |key: &str, value: &Value| {
        value.as_f64().filter(|v| *v > 0.0).ok_or_else(|| Error::file(&place, key, "a positive number", value.to_string()))
    };
    let mut alphas = Vec::new();
    for (key, value) in config["alpha_pattern"].as_object().into_iter().flatten() {
        let pattern =
            Regex::new(&format!(r"^(?:.*\.)?(?:{key})$")).map_err(|e| Error::file(&place, "alpha_pattern", "patterns", e.to_string()))?;
        alphas.push((pattern, number("alpha_pattern", value)?));
    }
    let version = config["peft_version"].as_str().map(|v| {
        let mut parts = v.split('.').map(|p| p.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0));
        [0; 3].map(|_: u64| parts.next().unwrap_or(0))
    });
    number("r", &config["r"])?;
    Ok(Rules {
        alpha: number("lora_alpha", &config["lora_alpha"])?,
        alphas,
        by_root: config["use_rslora"] == true,
        // The version is in the file since it was first written there; what has none is older.
        twice: Some(version.is_none_or(|v| v <= LAST_TO_ADD_TWICE)),
        tokens: config["trainable_token_indices"].clone(),
        place,
    })
}

/// The parts of one module's adapter.
#[derive(Default)]
struct Parts {
    a: Option<Tensor>,
    b: Option<Tensor>,
    bias: Option<Tensor>,
    magnitude: Option<Tensor>,
    tokens: Option<Tensor>,
    of_table: bool,
}

fn apply(rules: &Rules, adapter: Weights, weights: &mut Weights) -> Result<()> {
    let mut modules: BTreeMap<String, Parts> = BTreeMap::new();
    let mut merged = 0;
    for (name, tensor) in adapter {
        let clean = cleaned(&name);
        let clean = clean.strip_prefix("base_model.model.").unwrap_or(&clean);
        let parts: Vec<&str> = clean.split('.').collect();
        let Some(at) = parts.iter().position(|p| p.starts_with("lora_") || *p == "token_adapter") else {
            take(rules, &name, clean, tensor, weights)?;
            merged += 1;
            continue;
        };
        let module = modules.entry(parts[..at].join(".")).or_default();
        let slot = match (parts[at], parts.last()) {
            ("lora_B", Some(&"bias")) => &mut module.bias,
            ("lora_A", _) => &mut module.a,
            ("lora_B", _) => &mut module.b,
            ("lora_embedding_A", _) => {
                module.of_table = true;
                &mut module.a
            }
            ("lora_embedding_B", _) => &mut module.b,
            ("lora_magnitude_vector", _) => &mut module.magnitude,
            ("lora_dropout_mask", _) => continue,
            ("token_adapter", Some(&"trainable_tokens_delta")) => &mut module.tokens,
            ("token_adapter", _) => continue, // the table itself, where a whole state dict was saved
            _ => {
                return rules.refuse(
                    &name,
                    format!("lora_A, lora_B and what peft, loralib and minLoRA put beside them; {MERGED}"),
                    "another tensor",
                );
            }
        };
        if slot.replace(tensor).is_some() {
            return rules.refuse(&name, "one adapter", "several");
        }
    }
    for (module, parts) in modules {
        merge_module(rules, &module, parts, weights)?;
        merged += 1;
    }
    if merged == 0 { rules.refuse("file", "at least one lora_A", "none") } else { Ok(()) }
}

/// A weight that was trained whole: a bias, or one of `modules_to_save`.
fn take(rules: &Rules, name: &str, clean: &str, tensor: Tensor, weights: &mut Weights) -> Result<()> {
    let parts: Vec<&str> = clean.split('.').collect();
    let saved = parts.iter().position(|p| *p == "modules_to_save");
    let kept = parts.iter().enumerate().filter(|(i, p)| **p != "base_layer" && saved.is_none_or(|at| *i != at && *i != at + 1));
    let target = kept.map(|(_, p)| *p).collect::<Vec<_>>().join(".");
    match find(weights, &target) {
        Some(weight) if weight.shape == tensor.shape => {
            *weight = tensor;
            Ok(())
        }
        Some(weight) => rules.refuse(name, format!("{:?}, as in the model", weight.shape), format!("{:?}", tensor.shape)),
        None => rules.refuse(name, format!("a weight {target} in the model"), "none"),
    }
}

/// A weight of that name, or of a part of it: an adapter may have been trained on a module that holds the model.
fn find<'a>(weights: &'a mut Weights, name: &str) -> Option<&'a mut Tensor> {
    let starts = std::iter::once(0).chain(name.match_indices('.').map(|(at, _)| at + 1));
    let found = starts.map(|at| &name[at..]).find(|rest| weights.contains_key(*rest))?.to_owned();
    weights.get_mut(&found)
}

fn merge_module(rules: &Rules, module: &str, parts: Parts, weights: &mut Weights) -> Result<()> {
    let output_of_attention = module.ends_with(".base_layer.out_proj");
    let stem = match module.split_once(".parametrizations.weight.") {
        Some((stem, _)) => stem.to_owned(),
        None => module.split('.').filter(|p| *p != "base_layer").collect::<Vec<_>>().join("."),
    };
    // PyTorch's own attention holds query, key and value in one matrix; peft wraps it and, inside, its output projection.
    let joined = format!("{stem}.in_proj_weight");
    let target = if find(weights, &joined).is_some() { joined } else { format!("{stem}.weight") };
    let Some(weight) = find(weights, &target) else { return rules.refuse(module, format!("a weight {target} in the model"), "none") };
    if let Some(rows) = parts.tokens {
        take_tokens(rules, &stem, rows, weight)?;
        if parts.a.is_none() && parts.b.is_none() {
            return Ok(());
        }
    }
    let (Some(a), Some(b)) = (parts.a, parts.b) else { return rules.refuse(module, "lora_A and lora_B", "one of them") };
    let rank = a.shape.first().copied().unwrap_or(0);
    let times = match (output_of_attention, rules.twice) {
        (false, _) | (true, Some(false)) => 1.0,
        (true, Some(true)) => 2.0,
        (true, None) => {
            return rules.refuse(module, format!("peft's adapter_config.json, whose version tells how this was trained; {MERGED}"), "none");
        }
    };
    let wrapped = if output_of_attention { stem.trim_end_matches(".out_proj") } else { &stem };
    let factor = times * rules.factor(wrapped, rank.max(1));
    let (rows, row) = (weight.shape[0], weight.data.len() / weight.shape[0].max(1));
    if parts.of_table {
        // A [rank, rows], B [width, rank] of a table [rows, width].
        if weight.shape.len() != 2 || a.shape != [rank, rows] || b.shape != [row, rank] || parts.magnitude.is_some() {
            return rules.refuse(module, "A [rank, rows] and B [width, rank] of a table [rows, width]", misfit(&a, &b, weight));
        }
        for (n, out) in weight.data.chunks_exact_mut(row).enumerate() {
            for (x, b_row) in out.iter_mut().zip(b.data.chunks_exact(rank)) {
                *x += factor * b_row.iter().enumerate().map(|(r, b)| b * a.data[r * rows + n]).sum::<f32>();
            }
        }
    } else {
        let fits = rank > 0 && a.shape.len() >= 2 && a.shape[1..] == weight.shape[1..];
        if !fits || b.shape.get(..2) != Some(&[rows, rank][..]) || b.data.len() != rows * rank {
            let expected = "A [rank, in] and B [out, rank] of a matrix [out, in], or those of a convolution";
            return rules.refuse(module, expected, misfit(&a, &b, weight));
        }
        for (row, b_row) in weight.data.chunks_exact_mut(row).zip(b.data.chunks_exact(rank)) {
            for (scale, a_row) in b_row.iter().zip(a.data.chunks_exact(row.len())) {
                row.iter_mut().zip(a_row).for_each(|(w, a)| *w += factor * scale * a);
            }
        }
    }
    if let Some(magnitude) = parts.magnitude {
        // DoRA (Liu et al. 2024): the merged rows keep their direction alone.
        if magnitude.data.len() != rows {
            return rules.refuse(module, format!("a magnitude for each of {rows} rows"), magnitude.data.len().to_string());
        }
        for (row, magnitude) in weight.data.chunks_exact_mut(row).zip(&magnitude.data) {
            let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.iter_mut().for_each(|x| *x *= magnitude / norm);
        }
    }
    if let Some(bias) = parts.bias {
        let target = format!("{stem}.bias");
        match find(weights, &target) {
            Some(own) if own.shape == bias.shape => own.data.iter_mut().zip(&bias.data).for_each(|(own, b)| *own += factor * b),
            _ => return rules.refuse(module, format!("a bias {target} of {} in the model", bias.data.len()), "none"),
        }
    }
    Ok(())
}

fn misfit(a: &Tensor, b: &Tensor, weight: &Tensor) -> String {
    format!("A {:?}, B {:?} for {:?}", a.shape, b.shape, weight.shape)
}

/// Rows of a table that were trained whole; the configuration says which.
fn take_tokens(rules: &Rules, stem: &str, rows: Tensor, table: &mut Tensor) -> Result<()> {
    let indices = match &rules.tokens {
        Value::Object(all) => all.iter().find(|(name, _)| stem == *name || stem.ends_with(&format!(".{name}"))).map(|(_, list)| list),
        list => Some(list),
    };
    let indices: Option<Vec<usize>> =
        indices.and_then(Value::as_array).map(|list| list.iter().filter_map(|n| n.as_u64().map(|n| n as usize)).collect());
    let expected = "trainable_token_indices in adapter_config.json: a row of the table for each that was trained";
    let width = table.data.len() / table.shape[0].max(1);
    let Some(indices) = indices.filter(|list| rows.shape == [list.len(), width] && list.iter().all(|n| *n < table.shape[0])) else {
        return rules.refuse(stem, expected, rules.tokens.to_string());
    };
    for (n, row) in indices.into_iter().zip(rows.data.chunks_exact(width.max(1))) {
        table.data[n * width..][..width].copy_from_slice(row);
    }
    Ok(())
}
