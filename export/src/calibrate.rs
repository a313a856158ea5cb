//! Which layers can be computed in 8-bit integers: measured on calibration pictures and words, each layer alone and then all together.
//!
//! Activations are quantized tensor by tensor as they come, so one channel with outliers costs all others their digits. Whether that
//! matters is measured, not guessed: each layer's loss is that of the tower's own answer when this layer alone is computed in integers,
//! and where all together lose more than is allowed, the worst layers stay in floats until they do not.

use std::collections::{BTreeMap, BTreeSet};

use edge_seg_model::{Class, Frame, Options, Session};
use serde::Serialize;

use crate::bundle;
use crate::checkpoint::Model;
use crate::onnx::{self, Layers, Storage, Tower};
use crate::{Error, Result};

/// What is measured on.
#[derive(Debug)]
pub struct Sample {
    /// Pictures like those that the model is for.
    pub frames: Vec<Frame>,
    /// Words likewise.
    pub words: Vec<Class>,
    /// Side of the prepared input; the model's if none.
    pub size_px: Option<usize>,
    /// Threads of the encoders.
    pub threads: usize,
}

/// How close embeddings are to those that floats give.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Fidelity {
    /// Mean cosine of the embeddings: of all patches, or all words.
    pub mean_cosine: f64,
    /// The least of them.
    pub least_cosine: f64,
    /// Root of the sum of squared differences of the unit-norm embeddings over the root of the number of them.
    pub relative: f64,
}

/// What a layer loses alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerLoss {
    /// Which encoder.
    pub tower: Tower,
    /// The layer, as docs/model-folder.md names its weights.
    pub layer: String,
    /// The tower's answer with this layer alone in integers.
    #[serde(flatten)]
    pub fidelity: Fidelity,
    /// Whether it stays in floats.
    pub float: bool,
}

/// Layers for a storage, with what they cost.
#[derive(Debug, Clone)]
pub struct Calibrated {
    /// The storage of the image tower, and what it is not for.
    pub layers: Layers,
    /// The text tower's: [`Storage::of_words`].
    pub words: Layers,
    /// Each layer that could be computed in integers.
    pub losses: Vec<LayerLoss>,
    /// The image tower as a whole.
    pub image: Fidelity,
    /// The text tower as a whole.
    pub text: Fidelity,
}

/// Finds the layers to compute in integers so that both towers' mean cosines are at least `least_mean`, and measures any other storage.
///
/// # Errors
/// [`Error::Runtime`] if the encoders cannot be run; [`Error::File`] if the sample has no picture or no word.
pub fn calibrate(
    model: &Model,
    storage: Storage,
    sample: &Sample,
    least_mean: f64,
    mut progress: impl FnMut(&LayerLoss),
) -> Result<Calibrated> {
    for (what, count) in [("pictures", sample.frames.len()), ("words", sample.words.len())] {
        if count == 0 {
            return Err(Error::file("calibration", what, "at least one", "none"));
        }
    }
    let mut losses = Vec::new();
    let mut towers = Vec::new();
    for (tower, storage) in [(Tower::Image, storage), (Tower::Text, storage.of_words())] {
        let embed = |layers: &Layers| embed(model, tower, layers, sample);
        let exact = embed(&Storage::F32.into())?;
        let measure = |floats: BTreeSet<String>| Ok::<_, Error>(fidelity(&exact, &embed(&Layers { storage, floats })?));
        if storage != Storage::Int8Dynamic {
            towers.push((Layers::from(storage), measure(BTreeSet::new())?));
            continue;
        }
        let groups = groups(&onnx::products(model, tower)?);
        let all: BTreeSet<String> = groups.values().flatten().cloned().collect();
        let mut own = Vec::new();
        for (layer, weights) in &groups {
            let others = all.iter().filter(|name| !weights.contains(name)).cloned().collect();
            own.push(LayerLoss { tower, layer: layer.clone(), fidelity: measure(others)?, float: false });
            progress(&own[own.len() - 1]);
        }
        own.sort_by(|a, b| a.fidelity.mean_cosine.total_cmp(&b.fidelity.mean_cosine));
        let mut kept = BTreeSet::new();
        let mut whole = measure(kept.clone())?;
        for loss in &mut own {
            if whole.mean_cosine >= least_mean {
                break;
            }
            loss.float = true;
            kept.extend(groups[&loss.layer].iter().cloned());
            whole = measure(kept.clone())?;
        }
        towers.push((Layers { storage, floats: kept }, whole));
        losses.extend(own);
    }
    let [(layers, image), (words, text)] = [towers.swap_remove(0), towers.swap_remove(0)];
    Ok(Calibrated { layers, words, losses, image, text })
}

/// Query, key and value read the same rows and are one layer.
fn groups(weights: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut groups = BTreeMap::<String, Vec<String>>::new();
    for weight in weights {
        let layer = weight.trim_end_matches(".weight");
        let layer = ["query", "key", "value"].iter().find_map(|part| Some(format!("{}qkv", layer.strip_suffix(part)?)));
        groups.entry(layer.unwrap_or_else(|| weight.trim_end_matches(".weight").into())).or_default().push(weight.clone());
    }
    groups
}

/// Embeddings of the sample by one tower: of all patches, or all words. Unit-norm rows
fn embed(model: &Model, tower: Tower, layers: &Layers, sample: &Sample) -> Result<Vec<Vec<f32>>> {
    // The other tower is not what is measured; halves are quickly written and read.
    let other: Layers = Storage::F16.into();
    let (image, text) = if tower == Tower::Image { (layers, &other) } else { (&other, layers) };
    let bundle = bundle::build("calibration", model, image, text)?;
    let session = Session::new(bundle, &Options::default().with_size_px(sample.size_px).with_threads(sample.threads))?;
    let rows = |rows: &edge_seg_model::UnitRows| (0..rows.rows()).map(|i| rows.row(i).to_vec()).collect::<Vec<_>>();
    if tower == Tower::Text {
        return Ok(rows(session.word_bank(&sample.words, &[])?.words()));
    }
    let mut found = Vec::new();
    for frame in &sample.frames {
        found.extend(rows(session.encode(frame)?.grid.patches()));
    }
    Ok(found)
}

fn fidelity(exact: &[Vec<f32>], found: &[Vec<f32>]) -> Fidelity {
    let (mut sum, mut least, mut squares) = (0.0, f64::INFINITY, 0.0);
    for (a, b) in exact.iter().zip(found) {
        let cosine: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        sum += cosine;
        least = least.min(cosine);
        squares += a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
    }
    let count = exact.len() as f64;
    Fidelity { mean_cosine: sum / count, least_cosine: least, relative: (squares / count).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_key_and_value_are_one_layer() {
        let names = [
            "image.blocks.0.attn.query",
            "image.blocks.0.attn.key",
            "image.blocks.0.attn.value",
            "image.blocks.0.attn.proj",
            "image.head.fc1",
        ];
        let groups = groups(&names.map(|name| format!("{name}.weight")));
        let layers: Vec<_> = groups.iter().map(|(layer, weights)| (layer.as_str(), weights.len())).collect();
        assert_eq!(layers, [("image.blocks.0.attn.proj", 1), ("image.blocks.0.attn.qkv", 3), ("image.head.fc1", 1)]);
    }

    #[test]
    fn fidelity_is_one_for_the_same_and_zero_for_right_angles() {
        let (a, b) = (vec![vec![1.0, 0.0], vec![0.6, 0.8]], vec![vec![1.0, 0.0], vec![-0.8, 0.6]]);
        let same = fidelity(&a, &a);
        assert!((same.mean_cosine - 1.0).abs() < 1e-6 && (same.least_cosine - 1.0).abs() < 1e-6 && same.relative == 0.0);
        let half = fidelity(&a, &b);
        assert!((half.mean_cosine - 0.5).abs() < 1e-6 && half.least_cosine.abs() < 1e-6 && (half.relative - 1.0).abs() < 1e-6);
    }
}
