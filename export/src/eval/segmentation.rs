//! Segmentation of labelled pictures: every pixel's predicted label against the true one.

use edge_seg::{Background, Encoded, Frame, Segmentation, read_picture};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::classes::View;
use super::ensemble::Ensemble;
use super::metric::Confusion;
use super::pictures::{Pair, read_labels};
use crate::{Error, Result};

/// How predictions are made.
#[derive(Debug, Clone, PartialEq)]
pub struct Protocol {
    /// What stands in front of the words; with several, each picture is encoded once and drawn once for each.
    pub backgrounds: Vec<Background>,
    /// Words for what is to be left out.
    pub background_words: Vec<String>,
    /// Offer only the classes that a picture's own labels hold.
    pub present_only: bool,
    /// Offer only the classes whose pixel-tag score reaches this, in 0..1; at least the best one.
    pub tag_threshold: Option<f32>,
}

/// What was found in one picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PictureCounts {
    /// File name without its ending.
    pub picture: String,
    /// True label, predicted label, pixels, for each background of the protocol; ignored pixels are left out.
    pub runs: Vec<Vec<(usize, usize, u64)>>,
    /// Time of the image encoder.
    pub encode_ms: f64,
}

impl PictureCounts {
    /// The counts of a run as a table of `classes` classes.
    ///
    /// # Panics
    /// If there is no such run, or a label is larger than `classes`.
    pub fn confusion(&self, run: usize, classes: usize) -> Confusion {
        let mut confusion = Confusion::new(classes);
        self.runs[run].iter().for_each(|&(t, p, n)| confusion.add(t, p, n));
        confusion
    }

    /// Share of the labelled pixels that a run got right. Label 0 counts where the view has a background.
    pub fn pixel_accuracy(&self, run: usize) -> f64 {
        let all: u64 = self.runs[run].iter().map(|c| c.2).sum();
        let right: u64 = self.runs[run].iter().filter(|c| c.0 == c.1).map(|c| c.2).sum();
        if all > 0 { right as f64 / all as f64 } else { 0.0 }
    }
}

/// Segments every picture and counts, in parallel over pictures; `done` is called after each. Results stand in the order of `pairs`.
///
/// # Errors
/// The first picture's that cannot be read or segmented, or whose labels hold a value without a meaning; and what `done` answers.
pub fn evaluate(
    looks: &Ensemble,
    view: &View,
    protocol: &Protocol,
    pairs: &[Pair],
    done: impl Fn(&PictureCounts) -> Result<()> + Sync,
) -> Result<Vec<PictureCounts>> {
    pairs
        .par_iter()
        .map(|pair| {
            let counts = count(looks, view, protocol, pair)?;
            done(&counts)?;
            Ok(counts)
        })
        .collect()
}

fn count(looks: &Ensemble, view: &View, protocol: &Protocol, pair: &Pair) -> Result<PictureCounts> {
    let drawn = draw(looks, view, protocol, pair)?;
    let runs = drawn.predicted.iter().map(|predicted| {
        let mut confusion = Confusion::new(view.classes.len());
        for (truth, predicted) in drawn.truth.iter().zip(predicted) {
            if let Some(truth) = truth {
                confusion.add(usize::from(*truth), usize::from(*predicted), 1);
            }
        }
        confusion.cells().collect()
    });
    Ok(PictureCounts { picture: pair.stem.clone(), runs: runs.collect(), encode_ms: drawn.encode_ms })
}

/// A picture with its true and predicted labels.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// The picture.
    pub frame: Frame,
    /// True labels, row by row; `None` where a pixel is ignored.
    pub truth: Vec<Option<u16>>,
    /// Predicted labels for each background of the protocol.
    pub predicted: Vec<Vec<u16>>,
    /// Time of the image encoder.
    pub encode_ms: f64,
}

/// Segments one picture.
///
/// # Errors
/// As [`evaluate`].
pub fn draw(looks: &Ensemble, view: &View, protocol: &Protocol, pair: &Pair) -> Result<Drawn> {
    let labels = read_labels(&pair.labels)?;
    let place = || pair.labels.display().to_string();
    let meaning =
        |value: &u16| view.label(*value).ok_or_else(|| Error::file(place(), "values", "values of the class table", value.to_string()));
    let truth: Vec<Option<u16>> = labels.values.iter().map(meaning).collect::<Result<_>>()?;
    let frame = read_picture(&pair.image)?;
    let size = frame.pixels.dimensions();
    if size != (labels.width, labels.height) {
        let (expected, found) = (format!("the picture's, {}×{}", size.0, size.1), format!("{}×{}", labels.width, labels.height));
        return Err(Error::file(place(), "size", expected, found));
    }
    let offered: Vec<u16> =
        (1..=view.classes.len() as u16).filter(|label| !protocol.present_only || truth.contains(&Some(*label))).collect();
    if offered.is_empty() {
        let predicted = vec![vec![0; truth.len()]; protocol.backgrounds.len()];
        return Ok(Drawn { frame, truth, predicted, encode_ms: 0.0 });
    }
    let encoded = looks.encode(&frame)?;
    let offered = choose(looks, view, protocol, &encoded, offered)?;
    let bank = bank(looks, view, protocol, &offered)?;
    let label = |k: &u16| if *k == 0 { 0 } else { offered[usize::from(*k) - 1] };
    let predicted = protocol
        .backgrounds
        .iter()
        .map(|background| {
            let found: Segmentation = looks.session().masks(&frame, &encoded, &bank, *background)?;
            Ok(found.labels.labels.iter().map(label).collect())
        })
        .collect::<Result<_>>()?;
    Ok(Drawn { frame, truth, predicted, encode_ms: encoded.timings.encode.as_secs_f64() * 1e3 })
}

fn bank(looks: &Ensemble, view: &View, protocol: &Protocol, offered: &[u16]) -> Result<edge_seg::TagBank> {
    let classes: Vec<_> = offered.iter().map(|&label| view.classes[usize::from(label) - 1].clone()).collect();
    Ok(looks.session().tag_bank(&classes, &protocol.background_words)?)
}

/// Drops the classes whose best patch stays below the protocol's tag threshold.
fn choose(looks: &Ensemble, view: &View, protocol: &Protocol, encoded: &Encoded, offered: Vec<u16>) -> Result<Vec<u16>> {
    let Some(threshold) = protocol.tag_threshold else { return Ok(offered) };
    let manifest = looks.session().bundle().manifest();
    let bank = bank(looks, view, protocol, &offered)?;
    let scores = edge_seg::score(&encoded.grid, &bank, edge_seg::Scoring::from(manifest), Background::None)?;
    let best = (0..offered.len()).max_by(|a, b| scores.scores()[*a].total_cmp(&scores.scores()[*b]));
    let kept = |i: &usize| scores.scores()[*i] >= threshold || Some(*i) == best;
    Ok((0..offered.len()).filter(kept).map(|i| offered[i]).collect())
}
