//! Pixel-tag scoring: how well every patch fits every word.

mod scoring;
mod vocabulary;

use std::ops::Range;

use edge_seg_kernels::kernels;
use ndarray::ArrayView3;
use rayon::prelude::*;

use crate::words::Gate;
use crate::{Error, PatchGrid, Result, WordBank};
use scoring::sigmoid;
pub use scoring::{Background, Scoring};
use vocabulary::{LogSums, Patches};

/// Stands for "never": finite, so that interpolation between it and itself stays itself.
const NEVER: f32 = -1e30;

/// Logits of every class on the patch grid, with the background's in front.
#[derive(Clone, PartialEq)]
pub struct ScoreGrid {
    rows: usize,
    cols: usize,
    planes: Vec<f32>, // [1 + classes, rows · cols]
    scores: Vec<f32>, // [classes]
    shifts: Shifts,
    totals: Vec<f32>, // [rows · cols] where scores are a softmax, else empty
    bars: Vec<f32>,   // [rows · cols], the best logit that every threshold of a class's own is raised to, where there are any of both
}

/// How far logits are shifted so that one background fits all classes.
#[derive(Debug, Clone, PartialEq, Default)]
struct Shifts {
    /// The common threshold's level; [`NEVER`] where words without a threshold stand in its place.
    common: f32,
    /// Each class's own level; none where it has no threshold of its own. `[classes]`, or nothing where no class has one
    own: Vec<Option<f32>>,
}

impl Shifts {
    /// What is taken from a class's logit at a patch: how much higher the bar of its own is than the common one. A bar is the threshold's
    /// level, over the softmax's `total`, or `bar` where that is higher: the best word that a threshold does not save it from.
    fn at(&self, class: usize, total: f32, bar: f32) -> f32 {
        let own = self.own.get(class).copied().flatten();
        own.map_or(0.0, |own| (own + total).max(bar) - (self.common + total).max(bar))
    }
}

impl std::fmt::Debug for ScoreGrid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ScoreGrid {{ {}×{} patches, {} classes }}", self.rows, self.cols, self.scores.len())
    }
}

impl ScoreGrid {
    /// Rows of patches.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of patches.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Logits, the background's first, each shifted by its class's threshold. A pixel's label is where its largest is.
    /// `[1 + classes, rows · cols]`
    pub fn planes(&self) -> &[f32] {
        &self.planes
    }

    /// The logits as planes. `[1 + classes, rows, cols]`
    pub fn view(&self) -> ArrayView3<'_, f32> {
        let shape = (1 + self.scores.len(), self.rows, self.cols);
        ArrayView3::from_shape(shape, &self.planes).expect("whole planes, by construction")
    }

    /// Each class's score in 0..1: that of its best patch. `[classes]`
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// Every class's score at one patch, in 0..1; none outside of the grid. `[classes]`
    pub fn patch(&self, row: usize, col: usize) -> Option<Vec<f32>> {
        let inside = row < self.rows && col < self.cols;
        inside.then(|| (0..self.scores.len()).filter_map(|class| self.class_at(class, row, col)).collect())
    }

    /// One class's score at one patch, in 0..1; none outside of the grid or the classes.
    pub fn class_at(&self, class: usize, row: usize, col: usize) -> Option<f32> {
        let area = self.rows * self.cols;
        let patch = (class < self.scores.len() && row < self.rows && col < self.cols).then_some(row * self.cols + col)?;
        let total = self.totals.get(patch).copied().unwrap_or(0.0);
        let bar = self.bars.get(patch).copied().unwrap_or(NEVER);
        let logit = self.planes[(1 + class) * area + patch] + self.shifts.at(class, total, bar);
        Some(match self.totals.get(patch) {
            Some(total) if logit > NEVER / 2.0 => (logit - total).exp(),
            Some(_) => 0.0,
            None => sigmoid(logit),
        })
    }

    /// The planes and scores, and the planes that tell a patch's scores from them where there are some, to be changed in place.
    pub(crate) fn parts_mut(&mut self) -> (&mut [f32], &mut [f32], [&mut [f32]; 2]) {
        (&mut self.planes, &mut self.scores, [&mut self.totals, &mut self.bars])
    }

    /// The totals of the softmax and what raises thresholds. `[rows · cols]` each, or nothing
    pub(crate) fn beside(&self) -> [&[f32]; 2] {
        [&self.totals, &self.bars]
    }

    /// Takes on another grid's shape and values, in the memory that is there.
    pub fn copy_from(&mut self, other: &Self) {
        (self.rows, self.cols) = (other.rows, other.cols);
        self.planes.clone_from(&other.planes);
        self.scores.clone_from(&other.scores);
        self.shifts.clone_from(&other.shifts);
        self.totals.clone_from(&other.totals);
        self.bars.clone_from(&other.bars);
    }
}

/// Scores every patch against every class: the best of a class's words counts.
///
/// A class with a threshold `t_k` of its own, beside the background's `t`, has its logit shifted to
/// `z_k − (logit(t_k) − logit(t))`, or `z_k − (ln t_k − ln t)` where scores are a softmax: it is above the background exactly
/// where its score passes `t_k`, and among the classes that pass, the one that passes by most wins. Thresholds within 1e-6 of 0 and 1
/// count as that far away. Words for what is to be left out raise every threshold to their own logit `z_b`: a class is above the
/// background where it passes its threshold and fits better than they do, so the shift is `max(l_k, z_b) − max(l, z_b)` for the levels
/// `l_k` and `l` of the thresholds. A class that is off takes no part.
///
/// Without a background, where each class has a threshold of its own, `t` is 1e-6. Where some have none, the best of these, or of the
/// words to be left out where one of them fits better, stands in the background's place: with its logit as `z_b`, and `l` below
/// everything, the shift is `max(l_k, z_b) − z_b`. A class with a threshold `t_k` is then above them all exactly where it fits better
/// than they do and its score passes `t_k`; where it does not pass, they compete by their own logits as if it were not there.
///
/// # Errors
/// [`Error::Tensor`] if patches and words differ in width, [`Error::Option`] if the threshold is not in 0..1 or the scoring is not finite.
pub fn score(grid: &PatchGrid, bank: &WordBank, scoring: Scoring, background: Background) -> Result<ScoreGrid> {
    let count = grid.patches().rows();
    let patches = Patches::new(grid, bank)?;
    let bias = scoring.bias.unwrap_or(0.0);
    score_logits((grid.rows(), grid.cols()), bank, scoring, background, |planes, spans| {
        planes.par_chunks_mut(count * TASK_CLASSES).zip(spans.par_chunks(TASK_CLASSES)).for_each(|(planes, spans)| {
            patches.each_span(spans, |class, cosines| {
                let plane = &mut planes[class * count..][..count];
                plane.iter_mut().zip(cosines).for_each(|(logit, cosine)| *logit = cosine * scoring.scale + bias);
            });
        });
        Ok(())
    })
}

/// As [`score`], with logits `scale · cosine + bias` that `logits` writes for the spans of words that it is given. `[spans, rows · cols]`
pub(crate) fn score_logits(
    (rows, cols): (usize, usize),
    bank: &WordBank,
    scoring: Scoring,
    background: Background,
    mut logits: impl FnMut(&mut [f32], &[Range<usize>]) -> Result<()>,
) -> Result<ScoreGrid> {
    let (scoring, background) = (scoring.checked()?, background.checked()?);
    let count = rows * cols;
    // What is left out lies behind the classes, as its words do in the bank.
    let left_out = bank.background_rows().map(|row| row..row + 1);
    let spans: Vec<_> = bank.spans().iter().cloned().chain(left_out).collect();
    let mut planes = vec![NEVER; (1 + spans.len()) * count];
    logits(&mut planes[count..], &spans)?;
    let outside = planes.split_off((1 + bank.names().len()) * count);
    let (front, classes) = planes.split_at_mut(count);
    for (plane, _) in classes.chunks_exact_mut(count).zip(bank.gates()).filter(|(_, gate)| **gate == Gate::Off) {
        plane.fill(NEVER);
    }
    let (background, shifts) = shifts(bank.gates(), scoring, background);
    let has_own = |class: usize| shifts.own.get(class).is_some_and(Option::is_some);

    let totals = scoring.bias.is_none().then(|| {
        let mut sums = LogSums::new(count);
        classes.chunks_exact(count).chain(outside.chunks_exact(count)).for_each(|plane| sums.add(plane.iter().copied()));
        sums.totals()
    });
    match (background, &totals) {
        (Background::None, _) => {}
        (Background::Threshold(t), None) => front.fill(logit(t)),
        (Background::Threshold(t), Some(totals)) => {
            front.iter_mut().zip(totals).for_each(|(front, total)| *front = (t.ln() + total).max(NEVER));
        }
    }
    let raise = |to: &mut [f32], plane: &[f32]| to.iter_mut().zip(plane).for_each(|(best, other)| *best = best.max(*other));
    let mut bars = vec![NEVER; count];
    outside.chunks_exact(count).for_each(|plane| raise(&mut bars, plane));
    raise(front, &bars);
    if shifts.common == NEVER {
        classes.chunks_exact(count).enumerate().filter(|(class, _)| !has_own(*class)).for_each(|(_, plane)| raise(&mut bars, plane));
    }
    let best = |plane: &[f32]| match &totals {
        None => sigmoid(plane.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b))),
        Some(totals) => plane.iter().zip(totals).fold(f32::NEG_INFINITY, |best, (logit, total)| best.max(logit - total)).exp(),
    };
    // A class that is off has no score, even where all are and the softmax knows no better.
    let planes_and_gates = classes.chunks_exact(count).zip(bank.gates());
    let scores = planes_and_gates.map(|(plane, gate)| if *gate == Gate::Off { 0.0 } else { best(plane) }).collect();
    let totals = totals.unwrap_or_default();
    for (class, plane) in classes.chunks_exact_mut(count).enumerate().filter(|(class, _)| has_own(*class)) {
        for (patch, logit) in plane.iter_mut().enumerate() {
            *logit -= shifts.at(class, totals.get(patch).copied().unwrap_or(0.0), bars[patch]);
        }
    }
    let bars = if shifts.own.is_empty() || (outside.is_empty() && shifts.common != NEVER) { Vec::new() } else { bars };
    Ok(ScoreGrid { rows, cols, planes, scores, shifts, totals, bars })
}

/// The levels of the classes' thresholds, and the background that they are compared with.
fn shifts(gates: &[Gate], scoring: Scoring, background: Background) -> (Background, Shifts) {
    const EDGE: f32 = 1e-6;
    let clamped = |t: f32| t.clamp(EDGE, 1.0 - EDGE);
    let level = |t: f32| if scoring.bias.is_some() { logit(clamped(t)) } else { clamped(t).ln() };
    if !gates.iter().any(|g| matches!(g, Gate::Own(_))) {
        return (background, Shifts::default());
    }
    let all_own = !gates.contains(&Gate::Common);
    let (front, common) = match background {
        Background::Threshold(t) => (Background::Threshold(clamped(t)), level(t)),
        Background::None if all_own => (Background::Threshold(EDGE), level(EDGE)),
        Background::None => (Background::None, NEVER),
    };
    let own = |gate: &Gate| if let Gate::Own(own) = gate { Some(level(*own)) } else { None };
    (front, Shifts { common, own: gates.iter().map(own).collect() })
}

/// Classes that one task scores.
const TASK_CLASSES: usize = 64;

/// How words are scored in a picture (Jo et al. 2024, Eq. 1, 2 and 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WordScore {
    /// For each word the best patch, of the softmax over the words at every patch (Eq. 2); in a model that is calibrated word by word,
    /// of the sigmoid.
    Pixel,
    /// Softmax over the words of the picture's own embedding (Eq. 1).
    Image,
    /// Softmax over the words of the caption's embedding (Eq. 7).
    Text,
    /// The mean of `Image` and `Text`.
    ImageText,
}

/// Scores each class of the bank for the whole picture, in 0..1. `[classes]`
///
/// The work is done by the threads of the rayon pool that it is called in, or else by rayon's global ones, which the first such call
/// starts: [`Session::class_scores`](crate::Session::class_scores) keeps to the session's.
///
/// `caption` is the caption's unit-norm embedding `[dim]`; `Text` and `ImageText` need it.
///
/// # Errors
/// [`Error::Option`] if a caption is needed and missing or the scoring is not finite, [`Error::Tensor`] if widths differ.
pub fn score_words(kind: WordScore, grid: &PatchGrid, bank: &WordBank, caption: Option<&[f32]>, scoring: Scoring) -> Result<Vec<f32>> {
    let scoring = scoring.checked()?;
    if grid.patches().dim() != bank.words().dim() {
        return Err(Error::Tensor {
            what: "word bank".into(),
            expected: format!("rows of {} numbers, as the patches have", grid.patches().dim()),
            found: bank.words().dim().to_string(),
        });
    }
    let from = |embedding: &[f32]| -> Result<Vec<f32>> {
        let mut cosines = vec![0.0; bank.words().rows()];
        kernels().dot_products(embedding, bank.words().data(), bank.words().dim(), &mut cosines);
        Ok(softmax(&best_of_spans(&cosines, bank), scoring.scale))
    };
    let text = || {
        let caption = caption.filter(|c| c.len() == bank.words().dim()).ok_or_else(|| Error::Option {
            option: "score".into(),
            expected: "a caption, which text and image-text compare the words with".into(),
            found: "none".into(),
        })?;
        from(caption)
    };
    match kind {
        WordScore::Image => from(grid.global().data()),
        WordScore::Text => text(),
        WordScore::ImageText => {
            let (image, text) = (from(grid.global().data())?, text()?);
            Ok(image.iter().zip(text).map(|(a, b)| (a + b) / 2.0).collect())
        }
        WordScore::Pixel if bank.gates().contains(&Gate::Off) => Ok(score(grid, bank, scoring, Background::None)?.scores),
        WordScore::Pixel => vocabulary::pixel_scores(grid, bank, scoring),
    }
}

fn best_of_spans(cosines: &[f32], bank: &WordBank) -> Vec<f32> {
    bank.spans().iter().map(|span| cosines[span.clone()].iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b))).collect()
}

fn softmax(values: &[f32], scale: f32) -> Vec<f32> {
    let total = log_sum_exp(values.iter().map(|v| v * scale));
    values.iter().map(|v| (v * scale - total).exp()).collect()
}

fn log_sum_exp(values: impl Iterator<Item = f32> + Clone) -> f32 {
    let max = values.clone().fold(f32::NEG_INFINITY, f32::max);
    max + values.map(|v| (v - max).exp()).sum::<f32>().ln()
}

/// The inverse of the sigmoid, finite at 0 and 1.
fn logit(probability: f32) -> f32 {
    (probability / (1.0 - probability)).ln().clamp(NEVER, -NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Class, UnitRows};

    /// Two patches, of which the first is the first word's and the second half way between the first and the second.
    fn fixture(background_words: usize) -> (PatchGrid, WordBank) {
        let grid = PatchGrid::new(1, 2, 2, vec![3.0, 0.0, 1.0, 1.0], vec![2.0, 1.0]).unwrap();
        let words = UnitRows::normalise("words", 2, vec![1.0, 0.0, 0.0, 1.0]).unwrap();
        let classes = [Class::word("a"), Class::word("b")];
        (grid, WordBank::new(&classes[..2 - background_words], background_words, words).unwrap())
    }

    const HALF: f32 = std::f32::consts::FRAC_1_SQRT_2;

    fn assert_near(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() < 1e-5, "{found:?} {expected:?}");
        }
    }

    #[test]
    fn with_a_bias_each_word_stands_for_itself() {
        let (grid, bank) = fixture(0);
        let scoring = Scoring { scale: 10.0, bias: Some(-4.0) };
        let found = score(&grid, &bank, scoring, Background::Threshold(0.5)).unwrap();
        assert_near(found.planes(), &[0.0, 0.0, 6.0, 10.0 * HALF - 4.0, -4.0, 10.0 * HALF - 4.0]);
        assert_near(found.scores(), &[sigmoid(6.0), sigmoid(10.0 * HALF - 4.0)]);
    }

    #[test]
    fn without_a_bias_the_background_wins_exactly_below_the_threshold() {
        let (grid, bank) = fixture(0);
        let scoring = Scoring { scale: 2.0, bias: None };
        // The second patch's best softmax is 1/2, the first's e² / (e² + 1) = 0.881.
        for (threshold, first, second) in [(0.49, false, false), (0.51, false, true), (0.88, false, true), (0.89, true, true)] {
            let found = score(&grid, &bank, scoring, Background::Threshold(threshold)).unwrap();
            let wins = |patch: usize| found.planes()[patch] > found.planes()[2 + patch].max(found.planes()[4 + patch]);
            assert_eq!((wins(0), wins(1)), (first, second), "{threshold}");
        }
        let found = score(&grid, &bank, scoring, Background::None).unwrap();
        assert!(found.planes()[..2].iter().all(|&p| p == NEVER));
    }

    #[test]
    fn a_class_stands_above_the_background_exactly_where_it_passes_its_own_threshold() {
        for (scoring, first, second) in [
            (Scoring { scale: 10.0, bias: Some(-4.0) }, sigmoid(6.0), sigmoid(10.0 * HALF - 4.0)),
            (Scoring { scale: 2.0, bias: None }, sigmoid(2.0), 0.5),
        ] {
            for common in [0.0, 0.3, 0.9, 1.0] {
                for own in [0.0, 0.2, 0.499, 0.501, 0.7, first - 1e-4, first + 1e-4, second - 1e-4, second + 1e-4, 1.0] {
                    let (grid, bank) = fixture(0);
                    let bank = bank.with_gates(vec![Gate::Own(own), Gate::Off]).unwrap();
                    let found = score(&grid, &bank, scoring, Background::Threshold(common)).unwrap();
                    let (front, class) = (&found.planes()[..2], &found.planes()[2..4]);
                    // With the second class off a softmax is left with one class, whose score is 1.
                    let scores = if scoring.bias.is_some() { [first, second] } else { [1.0, 1.0] };
                    for patch in 0..2 {
                        let passes = scores[patch] >= own.clamp(1e-6, 1.0 - 1e-6);
                        assert_eq!(class[patch] >= front[patch], passes, "{scoring:?} {common} {own} {patch}");
                    }
                    assert!(found.planes()[4..].iter().all(|&p| p == NEVER), "off is never");
                    assert_eq!(found.scores()[1], 0.0);
                    assert_near(&[found.scores()[0]], &[scores[0]]);
                    assert_near(&found.patch(0, 1).unwrap(), &[scores[1], 0.0]);
                }
            }
        }
    }

    #[test]
    fn of_the_classes_that_pass_the_one_that_passes_by_most_wins() {
        let (grid, bank) = fixture(0);
        let wins = |own: [f32; 2]| {
            let bank = bank.clone().with_gates(own.map(Gate::Own).to_vec()).unwrap();
            let found = score(&grid, &bank, Scoring { scale: 10.0, bias: Some(-4.0) }, Background::Threshold(0.5)).unwrap();
            // In the second patch both classes have the same logit.
            assert_near(&found.patch(0, 1).unwrap(), &[sigmoid(10.0 * HALF - 4.0); 2]);
            found.planes()[3] > found.planes()[5]
        };
        assert!(wins([0.3, 0.6]));
        assert!(!wins([0.6, 0.3]));
        assert!(bank.clone().with_gates(vec![Gate::Own(1.5), Gate::Off]).is_err());
        assert!(bank.clone().with_gates(vec![Gate::Off]).is_err());
    }

    #[test]
    fn background_words_stand_in_front() {
        let (grid, bank) = fixture(1);
        let found = score(&grid, &bank, Scoring { scale: 10.0, bias: Some(-4.0) }, Background::None).unwrap();
        assert_near(found.planes(), &[-4.0, 10.0 * HALF - 4.0, 6.0, 10.0 * HALF - 4.0]);
    }

    #[test]
    fn a_class_with_a_threshold_of_its_own_loses_to_a_word_left_out_only_where_that_fits_better() {
        for (scoring, fits) in [(Scoring { scale: 10.0, bias: Some(-4.0) }, sigmoid(6.0)), (Scoring { scale: 4.0, bias: None }, 0.98)] {
            for own in [0.3, 0.95] {
                for background in [Background::None, Background::Threshold(0.2), Background::Threshold(0.99)] {
                    let (grid, bank) = fixture(1);
                    let bank = bank.with_gates(vec![Gate::Own(own)]).unwrap();
                    let found = score(&grid, &bank, scoring, background).unwrap();
                    let margin = |patch: usize| found.planes()[2 + patch] - found.planes()[patch];
                    assert!(fits > own && margin(0) > 0.0, "{scoring:?} {own} {background:?}: {:?}", found.planes());
                    // In the second patch both fit as well.
                    assert!(margin(1) <= 1e-5, "{scoring:?} {own} {background:?}: {:?}", found.planes());
                    assert_near(&found.patch(0, 0).unwrap(), &[found.scores()[0]]);
                }
            }
        }
    }

    #[test]
    fn without_a_common_threshold_own_thresholds_and_words_left_out_count() {
        let scoring = Scoring { scale: 10.0, bias: Some(-4.0) };
        let (grid, bank) = fixture(0);
        let wins = |gates: [Gate; 2], patch: usize| {
            let found = score(&grid, &bank.clone().with_gates(gates.to_vec()).unwrap(), scoring, Background::None).unwrap();
            let at = |plane: usize| found.planes()[2 * plane + patch];
            (0..3).fold(0, |best, plane| if at(plane) > at(best) { plane } else { best })
        };
        assert_eq!(wins([Gate::Own(0.9), Gate::Off], 0), 1);
        assert_eq!(wins([Gate::Own(0.999), Gate::Off], 0), 0, "sigmoid(6) is 0.9975");
        assert_eq!(wins([Gate::Own(0.999), Gate::Common], 0), 2, "a word without a threshold takes what the others leave");
        assert_eq!(wins([Gate::Own(0.9), Gate::Common], 0), 1, "and no more than that");
        assert_eq!(wins([Gate::Common, Gate::Own(0.01)], 1), 1, "both fit as well");
        assert_eq!(wins([Gate::Common, Gate::Off], 1), 1);
    }

    #[test]
    fn without_a_common_threshold_a_word_with_its_own_wins_where_it_fits_best_and_passes() {
        const CLASSES: usize = 4;
        let mut seed = 27u64;
        let mut random = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 40) as f32 / (1u64 << 24) as f32
        };
        for scoring in [Scoring { scale: 9.0, bias: Some(-4.0) }, Scoring { scale: 9.0, bias: None }] {
            for left_out in [0, 1] {
                for round in 0..40 {
                    let dim = 6;
                    let mut rows = |count: usize| (0..count * dim).map(|_| random() - 0.3).collect::<Vec<_>>();
                    let (patches, words) = (rows(64), rows(CLASSES + left_out));
                    let grid = PatchGrid::new(8, 8, dim, patches, vec![1.0; dim]).unwrap();
                    let words = UnitRows::normalise("words", dim, words).unwrap();
                    let names = ["a", "b", "c", "d"].map(Class::word);
                    let bank = WordBank::new(&names, left_out, words).unwrap();
                    let plain = score(&grid, &bank, scoring, Background::None).unwrap();
                    let own = [1.0 / 3.0, 0.02, 0.6][round % 3];
                    let gates = vec![Gate::Own(own), Gate::Common, Gate::Common, Gate::Off];
                    let found = score(&grid, &bank.clone().with_gates(gates).unwrap(), scoring, Background::None).unwrap();
                    let best = |grid: &ScoreGrid, planes: &[usize], patch: usize| {
                        let at = |plane: usize| grid.planes()[plane * 64 + patch];
                        planes.iter().copied().reduce(|best, plane| if at(plane) > at(best) { plane } else { best }).unwrap()
                    };
                    for patch in 0..64 {
                        let score = found.class_at(0, patch / 8, patch % 8).unwrap();
                        let all = best(&plain, &[0, 1, 2, 3], patch);
                        let expected = if all == 1 && score < own { best(&plain, &[0, 2, 3], patch) } else { all };
                        assert_eq!(best(&found, &[0, 1, 2, 3, 4], patch), expected, "{scoring:?}, {own}, found {score}");
                        if scoring.bias.is_some() {
                            assert!((score - plain.class_at(0, patch / 8, patch % 8).unwrap()).abs() < 1e-5, "scores are told as they are");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn banks_of_another_width_are_refused_by_every_score() {
        let (grid, _) = fixture(0);
        for dim in [1, 8, 4096] {
            let rows = UnitRows::normalise("rows", dim, vec![1.0; dim]).unwrap();
            let bank = WordBank::new(&[Class::word("a")], 0, rows).unwrap();
            for kind in [WordScore::Pixel, WordScore::Image, WordScore::Text, WordScore::ImageText] {
                let scoring = Scoring { scale: 1.0, bias: None };
                let said = score_words(kind, &grid, &bank, Some(&vec![1.0; dim]), scoring).unwrap_err().to_string();
                assert!(said.contains("rows of 2 numbers") && said.ends_with(&format!("found {dim}")), "{kind:?}: {said}");
            }
        }
    }

    #[test]
    fn thresholds_outside_of_0_and_1_are_refused() {
        let (grid, bank) = fixture(0);
        for t in [-0.1, 1.1, f32::NAN] {
            assert!(score(&grid, &bank, Scoring { scale: 1.0, bias: None }, Background::Threshold(t)).is_err());
        }
        for t in [0.0, 1.0] {
            let found = score(&grid, &bank, Scoring { scale: 1.0, bias: Some(0.0) }, Background::Threshold(t)).unwrap();
            assert!(found.planes().iter().all(|p| p.is_finite()));
        }
    }

    #[test]
    fn scorings_that_are_not_finite_are_refused_by_every_score() {
        let (grid, bank) = fixture(0);
        let kinds = [WordScore::Pixel, WordScore::Image, WordScore::Text, WordScore::ImageText];
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for (scoring, what) in [(Scoring::new(wrong, None), "scale"), (Scoring::new(1.0, Some(wrong)), "bias")] {
                let by_words = kinds.map(|kind| score_words(kind, &grid, &bank, Some(&[1.0, 0.0]), scoring).unwrap_err());
                let by_pixels = score(&grid, &bank, scoring, Background::None).unwrap_err();
                for error in by_words.into_iter().chain([by_pixels]) {
                    assert_eq!(error.to_string(), format!("scoring {what}: expected a finite number, found {wrong}"));
                }
            }
        }
    }

    #[test]
    fn tags_are_scored_as_the_equations_say() {
        let (grid, bank) = fixture(0);
        let softmax = |a: f32, b: f32| 1.0 / (1.0 + (b - a).exp());
        let scoring = Scoring { scale: 4.0, bias: None };
        let pixel = score_words(WordScore::Pixel, &grid, &bank, None, scoring).unwrap();
        assert_near(&pixel, &[softmax(4.0, 0.0), 0.5]);
        let alone = score_words(WordScore::Pixel, &grid, &bank, None, Scoring { scale: 4.0, bias: Some(-2.0) }).unwrap();
        assert_near(&alone, &[sigmoid(2.0), sigmoid(4.0 * HALF - 2.0)]);
        let five = 5f32.sqrt();
        let image = score_words(WordScore::Image, &grid, &bank, None, scoring).unwrap();
        assert_near(&image, &[softmax(8.0 / five, 4.0 / five), softmax(4.0 / five, 8.0 / five)]);
        let text = score_words(WordScore::Text, &grid, &bank, Some(&[0.0, 1.0]), scoring).unwrap();
        assert_near(&text, &[softmax(0.0, 4.0), softmax(4.0, 0.0)]);
        let both = score_words(WordScore::ImageText, &grid, &bank, Some(&[0.0, 1.0]), scoring).unwrap();
        assert_near(&both, &[(image[0] + text[0]) / 2.0, (image[1] + text[1]) / 2.0]);
        assert!(score_words(WordScore::Text, &grid, &bank, None, scoring).is_err());
    }
}
