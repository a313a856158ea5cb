//! The model in what a file holds: wrappers leave their names in those of the weights, and training runs put other things beside them.

use std::collections::{BTreeMap, BTreeSet};

use crate::checkpoint::Contents;
use crate::weights::Weights;
use crate::{Error, Result};

/// Parts of names that a wrapper puts in: torch.compile, FSDP, activation checkpointing, DataParallel and SWA; TinyCLIP's halves.
const WRAPPERS: [&str; 7] =
    ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module", "_image_encoder", "_text_encoder", "_logit_scale"];

/// Names of weights that are once in a model, by which the place where it begins is found.
const ANCHORS: [&str; 10] = [
    "vision_encoder.pos_embed",
    "vision_model.embeddings.position_embedding.weight",
    "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding",
    "visual.class_embedding",
    "visual.conv1.weight",
    "visual.trunk.pos_embed",
    "visual.trunk.patch_embed.proj.weight",
    "masker.sim2mask.w",
    "logit_scale",
];

/// A model's tensors under the names that its own library gives them.
pub(super) struct State {
    /// Tensors of floats.
    pub weights: Weights,
    /// What else is among them, with its kind.
    pub others: BTreeMap<String, String>,
    /// What lies beside the model, for the report.
    pub passed_over: Vec<String>,
}

/// Finds the model. `key` names where it begins, where there are several.
///
/// # Errors
/// [`Error::File`] if there are several and `key` names none of them.
pub(super) fn find(place: &str, contents: Contents, key: Option<&str>) -> Result<State> {
    let mut names: BTreeMap<String, String> = BTreeMap::new(); // cleaned: as it is written
    for name in contents.weights.keys().chain(contents.others.keys()) {
        let clean = cleaned(name);
        // Where two fall together they are two models' and both keep their names.
        if names.contains_key(&clean) {
            names.insert(name.clone(), name.clone())
        } else {
            names.insert(clean, name.clone())
        };
    }
    let starts = |anchors: &[&str]| -> BTreeSet<String> {
        let start = |name: &String| {
            let prefix = anchors.iter().filter_map(|anchor| name.strip_suffix(anchor));
            prefix.filter(|p| p.is_empty() || p.ends_with('.')).map(str::to_owned).next()
        };
        names.keys().filter_map(start).collect()
    };
    let (images, all) = (starts(&ANCHORS[..9]), starts(&ANCHORS));
    // TCL keeps CLIP inside.
    let found = if images.is_empty() { all } else { images };
    let shown = |prefix: &str| if prefix.is_empty() { ".".to_owned() } else { prefix.trim_end_matches('.').to_owned() };
    let wanted = |prefix: &&String| key.is_none_or(|key| shown(prefix) == cleaned(key).trim_end_matches('.') || shown(prefix) == key);
    let chosen: Vec<&String> = found.iter().filter(wanted).collect();
    let prefix = match (&chosen[..], key) {
        ([only], _) => (*only).clone(),
        ([], None) => String::new(),
        _ => {
            let several: Vec<_> = found.iter().map(|p| shown(p)).collect();
            let expected = format!("--key with one of: {}", several.join(", "));
            let count = match several.len() {
                1 => "one model".to_owned(),
                n => format!("{n} models"),
            };
            return Err(Error::file(place, "weights", expected, key.map_or(count.clone(), |key| format!("{count}, none at {key:?}"))));
        }
    };
    let mut state = State { weights: Weights::new(), others: BTreeMap::new(), passed_over: Vec::new() };
    let mut beside: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let Contents { mut weights, mut others } = contents;
    for (clean, name) in names {
        match clean.strip_prefix(&prefix).filter(|_| !found.iter().any(|p| p.len() > prefix.len() && clean.starts_with(p.as_str()))) {
            Some(rest) => {
                if let Some(tensor) = weights.remove(&name) {
                    state.weights.insert(rest.to_owned(), tensor);
                } else if let Some(kind) = others.remove(&name) {
                    state.others.insert(rest.to_owned(), kind);
                }
            }
            None => {
                let kind = others.get(&name).cloned().unwrap_or_else(|| "a tensor".into());
                let entry = beside.entry(outside(&clean, &prefix)).or_insert((0, kind));
                entry.0 += 1;
            }
        }
    }
    state.passed_over = beside
        .into_iter()
        .map(|(name, (count, kind))| if count > 1 { format!("{name}: {count} entries") } else { format!("{name}: {kind}") })
        .collect();
    Ok(state)
}

pub(super) fn cleaned(name: &str) -> String {
    name.split('.').filter(|part| !WRAPPERS.contains(part)).collect::<Vec<_>>().join(".")
}

/// As much of a name as tells it from the model's: up to the first part that differs.
fn outside(name: &str, prefix: &str) -> String {
    let same = name.split('.').zip(prefix.split('.')).take_while(|(a, b)| a == b).count();
    name.split('.').take(same + 1).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Tensor;

    fn contents(names: &[&str]) -> Contents {
        let weights = names.iter().map(|n| (n.to_string(), Tensor::new([1], vec![0.0]))).collect();
        Contents { weights, others: BTreeMap::from([("epoch".to_owned(), "a number".to_owned())]) }
    }

    #[test]
    fn a_model_is_found_in_any_nesting_of_wrappers() {
        for prefix in ["", "module.", "state_dict.module._orig_mod.", "model.clip.", "a.b.c."] {
            let names =
                ["visual.conv1.weight", "visual.positional_embedding", "transformer.resblocks.0._orig_mod.ln_1.weight", "logit_scale"];
            let mut all: Vec<String> = names.iter().map(|n| format!("{prefix}{n}")).collect();
            all.push("optimizer.state.visual.conv1.weight.exp_avg".into());
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            let state = find("x.pt", contents(&all), None).unwrap();
            assert!(state.weights.contains_key("transformer.resblocks.0.ln_1.weight"), "{prefix}");
            assert!(state.weights.contains_key("logit_scale"), "{prefix}");
            if cleaned(prefix).is_empty() {
                continue;
            }
            assert_eq!(state.weights.len(), 4, "{prefix}");
            assert!(state.passed_over.iter().any(|p| p == "epoch: a number"), "{prefix}: {:?}", state.passed_over);
        }
    }

    #[test]
    fn two_models_are_asked_about() {
        let both = ["model.visual.conv1.weight", "ema.module.visual.conv1.weight", "model.logit_scale", "ema.module.logit_scale"];
        let asked = find("x.pt", contents(&both), None).err().unwrap().to_string();
        assert!(asked.contains("--key with one of: ema, model"), "{asked}");
        let state = find("x.pt", contents(&both), Some("ema")).unwrap();
        assert_eq!(state.weights.len(), 2);
        assert_eq!(state.passed_over, ["epoch: a number", "model: 2 entries"]);
        assert!(find("x.pt", contents(&both), Some("teacher")).is_err());
    }
}
