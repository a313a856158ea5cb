//! One way to draw masks from a picture's embeddings. A run measures several on the same embeddings, since encoding is what takes time.

use edge_seg_kernels::{Columns, Planes, Scratch, Tap, kernels};
use edge_seg_model::{Background, Class, Encoded, Frame, Gate, LabelMap, Scoring, Session, WordBank, score};
use rayon::prelude::*;

use super::classes::Names;
use super::pamr::Pamr;
use super::templates::{Lexicon, Templates};
use crate::Result;

/// What happens to masks between scores and labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refine {
    /// Nothing.
    None,
    /// Pixel-adaptive mask refinement, at the size of the encoder's input.
    Pamr(Pamr),
    /// The guided filter of the runtime (`--refine guided`): its own code path.
    Guided,
}

/// Words, thresholds and refinement.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// What reports call it.
    pub name: String,
    /// Which words stand for a class.
    pub names: Names,
    /// The classes' words; label k is `classes[k - 1]`.
    pub classes: Vec<Class>,
    /// What the words are put into.
    pub templates: Templates,
    /// What the words must beat.
    pub background: Background,
    /// Words for what is to be left out.
    pub background_words: Vec<String>,
    /// Offer only the classes whose pixel-tag score reaches this, in 0..1; at least the best one.
    pub tag_threshold: Option<f32>,
    /// Each class's own threshold, in 0..1, in front of a background: classes compete by how far they are above it. `[classes]`
    pub word_thresholds: Option<Vec<f32>>,
    /// What happens to the masks.
    pub refine: Refine,
}

impl Variant {
    /// Its options in words: two variants of one run never share them.
    pub fn spelled(&self) -> String {
        let mut words = vec![if self.names == Names::Plain { "plain names" } else { "engineered names" }.to_string()];
        if self.templates.sentences.is_some() {
            words.push(format!("templates {}", self.templates.name));
        }
        if let Background::Threshold(t) = self.background {
            words.push(format!("background {t}"));
        }
        if !self.background_words.is_empty() {
            words.push(format!("background words {}", self.background_words.join(" ")));
        }
        words.extend(self.tag_threshold.map(|t| format!("tags from {t}")));
        words.extend(self.word_thresholds.is_some().then(|| "thresholds by word".to_string()));
        match self.refine {
            Refine::None => {}
            Refine::Pamr(_) => words.push("PAMR".into()),
            Refine::Guided => words.push("guided filter".into()),
        }
        words.join("; ")
    }

    /// Embeds all of its words ahead of the pictures.
    ///
    /// # Errors
    /// As [`Session::word_bank`].
    pub fn prepare(&self, session: &Session, lexicon: &Lexicon, stop: &(dyn Fn() -> bool + Sync)) -> Result<()> {
        lexicon.bank_until(session, &self.templates, &self.classes, &self.background_words, stop).map(drop)
    }

    /// The label of every pixel. `offered` are the labels that may be given, in rising order. `[height, width]`
    ///
    /// # Errors
    /// As [`Session::masks`].
    pub fn labels(&self, session: &Session, lexicon: &Lexicon, frame: &Frame, encoded: &Encoded, offered: &[u16]) -> Result<Vec<u16>> {
        let scoring = Scoring::from(session.bundle().manifest());
        let bank = |offered: &[u16]| -> Result<WordBank> {
            let classes: Vec<_> = offered.iter().map(|&label| self.classes[usize::from(label) - 1].clone()).collect();
            lexicon.bank(session, &self.templates, &classes, &self.background_words)
        };
        let mut offered = offered.to_vec();
        let mut words = bank(&offered)?;
        if let Some(threshold) = self.tag_threshold {
            let found = score(&encoded.grid, &words, scoring, Background::None)?;
            let best = (0..offered.len()).max_by(|a, b| found.scores()[*a].total_cmp(&found.scores()[*b]));
            let kept = |i: &usize| found.scores()[*i] >= threshold || Some(*i) == best;
            offered = (0..offered.len()).filter(kept).map(|i| offered[i]).collect();
            words = bank(&offered)?;
        }
        let plain = words.clone();
        if let Some(thresholds) = &self.word_thresholds {
            words = words.with_gates(offered.iter().map(|&label| Gate::Own(thresholds[usize::from(label) - 1])).collect())?;
        }
        let drawn = match &self.refine {
            Refine::None => session.masks(frame, encoded, &words, self.background)?.labels.labels,
            Refine::Guided => {
                LabelMap::refined(&session.score(encoded, &words, self.background)?, &encoded.placement, &frame.pixels)?.labels
            }
            Refine::Pamr(pamr) => {
                let mut planes = score(&encoded.grid, &words, scoring, self.background)?.planes().to_vec();
                as_logarithms(&mut planes, encoded, &plain, scoring)?;
                refined(&planes, pamr, frame, encoded, scoring)
            }
        };
        Ok(drawn.into_iter().map(|k| if k == 0 { 0 } else { offered[usize::from(k) - 1] }).collect())
    }
}

/// Takes the logarithm of the softmax's denominator off planes of logits, where scores are a softmax over `words`.
fn as_logarithms(planes: &mut [f32], encoded: &Encoded, words: &WordBank, scoring: Scoring) -> Result<()> {
    if scoring.bias.is_none() {
        // A threshold of 1 puts the denominator itself in front.
        let front = score(&encoded.grid, words, scoring, Background::Threshold(1.0))?;
        let total = &front.planes()[..encoded.grid.patches().rows()];
        planes.chunks_exact_mut(total.len()).for_each(|plane| plane.iter_mut().zip(total).for_each(|(p, t)| *p -= t));
    }
    Ok(())
}

/// Every class's score on every patch, in 0..1. `[classes, rows · cols]`
pub(super) fn probabilities(encoded: &Encoded, words: &WordBank, scoring: Scoring) -> Result<Vec<f32>> {
    let mut planes = score(&encoded.grid, words, scoring, Background::None)?.planes()[encoded.grid.patches().rows()..].to_vec();
    as_logarithms(&mut planes, encoded, words, scoring)?;
    Ok(planes.iter().map(|v| probability(*v, scoring)).collect())
}

/// The score that a logit, or the logarithm of a softmax, stands for.
fn probability(level: f32, scoring: Scoring) -> f32 {
    if scoring.bias.is_some() { 1.0 / (1.0 + (-level).exp()) } else { level.exp() }
}

/// Most classes that are refined in one picture: memory and time grow with each.
const MOST_REFINED: usize = 24;

fn refined(planes: &[f32], pamr: &Pamr, frame: &Frame, encoded: &Encoded, scoring: Scoring) -> Vec<u16> {
    let (rows, cols) = encoded.placement.covered();
    let (width, height) = (encoded.placement.scaled_px.0 as usize, encoded.placement.scaled_px.1 as usize);
    let kept = rivals(planes, rows * cols);
    let (across, down) = (encoded.placement.column_taps(width), encoded.placement.row_taps(height));
    let mut masks: Vec<f32> = Vec::with_capacity(kept.len() * width * height);
    for &plane in &kept {
        let plane = &planes[plane * rows * cols..][..rows * cols];
        masks.extend(upsample(plane, cols, &across, &down).into_iter().map(|v| probability(v, scoring)));
    }
    let small = image::imageops::resize(&frame.pixels, width as u32, height as u32, image::imageops::FilterType::Triangle);
    let picture: Vec<f32> = small.as_raw().iter().map(|v| f32::from(*v) / 255.0).collect();
    // The background is a threshold, not a mask: it stays as it is.
    pamr.refine(&picture, &mut masks[width * height..], height, width);
    let (frame_width, frame_height) = (encoded.placement.frame_px.0 as usize, encoded.placement.frame_px.1 as usize);
    let stacked = Planes::new(&masks, kept.len(), height, width).expect("whole masks");
    let mut labels = vec![0u16; frame_width * frame_height];
    let columns = Columns::new(Tap::line(width, frame_width));
    kernels().upsample_argmax(&stacked, &Tap::line(height, frame_height), &columns, &mut Scratch::default(), &mut labels);
    labels.iter_mut().for_each(|label| *label = kept[usize::from(*label)] as u16);
    labels
}

/// The background and the planes that are the best or second best somewhere, those of most patches first if they are too many.
fn rivals(planes: &[f32], patches: usize) -> Vec<usize> {
    let count = planes.len() / patches;
    let mut seen = vec![0usize; count];
    for patch in 0..patches {
        let (mut best, mut second) = (1, 1);
        for plane in 1..count {
            let value = |p: usize| planes[p * patches + patch];
            if value(plane) > value(best) {
                (best, second) = (plane, best);
            } else if plane != best && (second == best || value(plane) > value(second)) {
                second = plane;
            }
        }
        seen[best] += 2;
        seen[second] += 1;
    }
    let mut order: Vec<usize> = (1..count).filter(|p| seen[*p] > 0).collect();
    order.sort_by_key(|p| std::cmp::Reverse(seen[*p]));
    order.truncate(MOST_REFINED);
    order.push(0);
    order.sort_unstable();
    order
}

fn upsample(plane: &[f32], cols: usize, across: &[Tap], down: &[Tap]) -> Vec<f32> {
    let mut out = vec![0.0; across.len() * down.len()];
    out.par_chunks_exact_mut(across.len()).zip(down).for_each(|(line, d)| {
        let (top, bottom) = (&plane[d.lo as usize * cols..][..cols], &plane[d.hi as usize * cols..][..cols]);
        for (out, a) in line.iter_mut().zip(across) {
            let blend = |row: &[f32]| row[a.lo as usize] * (1.0 - a.weight) + row[a.hi as usize] * a.weight;
            *out = blend(top) * (1.0 - d.weight) + blend(bottom) * d.weight;
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rivals_are_the_best_two_and_the_background() {
        // Three classes on two patches.
        let planes = [9.0, 9.0, 1.0, 5.0, 2.0, 4.0, 0.0, 0.0];
        assert_eq!(rivals(&planes, 2), [0, 1, 2]);
        assert_eq!(rivals(&[0.0, 1.0], 1), [0, 1], "one class is its own second");
    }
}
