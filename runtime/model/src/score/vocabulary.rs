//! What every word scores somewhere in a picture, panel by panel of the packed bank: the matrix of all patches by all words is never formed.

use std::ops::Range;

use edge_seg_kernels::{PANEL, PackedPatches, Pairs, Scan, WordBest, kernels};
use rayon::prelude::*;

use super::scoring::{Scoring, sigmoid};
use crate::{Error, PatchGrid, Result, WordBank};

/// Panels of one task: enough that a task outlasts its start, and the same for any number of threads, so that sums are too.
const TASK_PANELS: usize = 32;

/// Patches packed for scoring against a bank.
pub(super) struct Patches<'a> {
    packed: PackedPatches,
    bank: &'a WordBank,
}

impl<'a> Patches<'a> {
    /// # Errors
    /// [`Error::Tensor`] if patches and words differ in width.
    pub(super) fn new(grid: &PatchGrid, bank: &'a WordBank) -> Result<Self> {
        let (patches, words) = (grid.patches(), bank.words());
        if patches.dim() != words.dim() {
            return Err(Error::Tensor {
                what: "word bank".into(),
                expected: format!("rows of {} numbers, as the patches have", patches.dim()),
                found: words.dim().to_string(),
            });
        }
        Ok(Self { packed: kernels().pack_patches(patches.data(), patches.dim(), bank.packed().precision()), bank })
    }

    fn pairs(&self, panels: Range<usize>, scale: f32) -> Pairs<'_> {
        Pairs { patches: &self.packed, bank: self.bank.packed(), panels, scale }
    }

    /// Hands each span's best cosine at every patch, `[patches]`, to `see`, in order. The spans lie side by side in the bank.
    pub(super) fn each_span(&self, spans: &[Range<usize>], mut see: impl FnMut(usize, &[f32])) {
        let mut best = vec![f32::NEG_INFINITY; self.packed.count()];
        let mut next = 0;
        let words = match (spans.first(), spans.last()) {
            (Some(first), Some(last)) => first.start..last.end,
            _ => return,
        };
        let mut finish = |word: usize, best: &mut [f32]| {
            while let Some(span) = spans.get(next).filter(|span| span.end <= word) {
                debug_assert!(span.start <= word);
                see(next, best);
                best.fill(f32::NEG_INFINITY);
                next += 1;
            }
        };
        kernels().each_panel(&self.pairs(words.start / PANEL..words.end.div_ceil(PANEL), 1.0), |panel, products| {
            for lane in 0..PANEL {
                let word = panel * PANEL + lane;
                if words.contains(&word) {
                    finish(word, &mut best);
                    best.iter_mut().zip(products[lane..].iter().step_by(PANEL)).for_each(|(best, cosine)| *best = best.max(*cosine));
                }
            }
        });
        finish(words.end, &mut best);
    }

    /// For each word its best patch's `scale · cosine`; with `sums` less the logarithm of the patch's softmax denominator over all words.
    /// `[words]`
    fn best_of_words(&self, scale: f32, sums: bool) -> Vec<f32> {
        let panels = self.bank.packed().panels();
        let mut words = vec![WordBest::default(); self.bank.words().rows()];
        let task = |index: usize| self.pairs(index * TASK_PANELS..panels.min((index + 1) * TASK_PANELS), scale);
        let scan = |(index, words): (usize, &mut [WordBest])| {
            let mut scan = Scan::new(self.packed.count());
            kernels().scan(&task(index), sums, &mut scan, words);
            scan
        };
        let parts = words.par_chunks_mut(TASK_PANELS * PANEL).enumerate();
        if sums {
            let scans: Vec<Scan> = parts.map(scan).collect();
            let mut scans = scans.into_iter();
            let mut all = scans.next().unwrap_or_else(|| Scan::new(self.packed.count()));
            scans.for_each(|scan| all.merge(&scan));
            let log_sums: Vec<f32> = all.patches().iter().map(|patch| patch.log_sum).collect();
            words.fill(WordBest::default());
            words.par_chunks_mut(TASK_PANELS * PANEL).enumerate().for_each(|(index, words)| {
                kernels().scan_mass(&task(index), &log_sums, words);
            });
        } else {
            parts.for_each(|found| drop(scan(found)));
        }
        words.into_iter().map(|word| word.logit).collect()
    }
}

/// Each class's score at its best patch, in 0..1, where all classes take part. `[classes]`
///
/// # Errors
/// [`Error::Tensor`] if patches and words differ in width.
pub(super) fn pixel_scores(grid: &PatchGrid, bank: &WordBank, scoring: Scoring) -> Result<Vec<f32>> {
    let patches = Patches::new(grid, bank)?;
    let best = |words: &[f32]| words.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    if let Some(bias) = scoring.bias {
        let words = patches.best_of_words(scoring.scale, false);
        return Ok(bank.spans().iter().map(|span| sigmoid(best(&words[span.clone()]) + bias)).collect());
    }
    if bank.spans().iter().all(|span| span.len() == 1) {
        let words = patches.best_of_words(scoring.scale, true);
        return Ok(bank.spans().iter().map(|span| words[span.start].exp()).collect());
    }
    Ok(class_softmax(&patches, scoring.scale))
}

/// The softmax over classes of several words, of which the best one stands for its class: what the scan sums are words, so the classes'
/// denominators are summed here.
fn class_softmax(patches: &Patches<'_>, scale: f32) -> Vec<f32> {
    let bank = patches.bank;
    let spans: Vec<Range<usize>> = bank.spans().iter().cloned().chain(bank.background_rows().map(|row| row..row + 1)).collect();
    let nothing = || LogSums::new(patches.packed.count());
    let mut sums = nothing();
    let parts: Vec<LogSums> = spans
        .par_chunks(TASK_PANELS * PANEL)
        .map(|spans| {
            let mut sums = nothing();
            patches.each_span(spans, |_, cosines| sums.add(cosines.iter().map(|cosine| cosine * scale)));
            sums
        })
        .collect();
    parts.iter().for_each(|part| sums.merge(part));
    let totals = sums.totals();
    let mut scores = vec![0.0f32; bank.spans().len()];
    scores.par_chunks_mut(TASK_PANELS * PANEL).zip(bank.spans().par_chunks(TASK_PANELS * PANEL)).for_each(|(scores, spans)| {
        patches.each_span(spans, |class, cosines| {
            let best = cosines.iter().zip(&totals).fold(f32::NEG_INFINITY, |best, (cosine, total)| best.max(cosine * scale - total));
            scores[class] = best.exp();
        });
    });
    scores
}

/// Logarithms of sums of exponentials, one for each patch, by a running maximum.
pub(super) struct LogSums {
    largest: Vec<f32>,
    sum: Vec<f32>,
}

impl LogSums {
    pub(super) fn new(patches: usize) -> Self {
        Self { largest: vec![f32::NEG_INFINITY; patches], sum: vec![0.0; patches] }
    }

    /// Adds one logit for each patch.
    pub(super) fn add(&mut self, logits: impl Iterator<Item = f32>) {
        for ((largest, sum), logit) in self.largest.iter_mut().zip(&mut self.sum).zip(logits) {
            if logit > *largest {
                *sum = *sum * (*largest - logit).exp() + 1.0;
                *largest = logit;
            } else if logit > f32::NEG_INFINITY {
                *sum += (logit - *largest).exp();
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        for ((largest, sum), (&theirs, &their_sum)) in self.largest.iter_mut().zip(&mut self.sum).zip(other.largest.iter().zip(&other.sum))
        {
            let top = largest.max(theirs);
            if top > f32::NEG_INFINITY {
                *sum = *sum * (*largest - top).exp() + their_sum * (theirs - top).exp();
                *largest = top;
            }
        }
    }

    /// `[patches]`
    pub(super) fn totals(&self) -> Vec<f32> {
        self.largest.iter().zip(&self.sum).map(|(largest, sum)| largest + sum.ln()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::{Background, score};
    use crate::{Class, UnitRows};
    use edge_seg_kernels::Precision;

    /// Numbers in -1..1, the same in each run.
    fn numbers(seed: u64, count: usize) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    const DIM: usize = 24;

    fn fixture(words_of_class: impl Fn(usize) -> usize, classes: usize, backgrounds: usize) -> (PatchGrid, WordBank) {
        let classes: Vec<Class> = (0..classes)
            .map(|i| Class { name: format!("c{i}"), words: (0..words_of_class(i)).map(|w| format!("c{i} w{w}")).collect() })
            .collect();
        let words = classes.iter().map(|c| c.words.len()).sum::<usize>() + backgrounds;
        let grid = PatchGrid::new(5, 7, DIM, numbers(1, 35 * DIM), numbers(2, DIM)).unwrap();
        let rows = UnitRows::normalise("words", DIM, numbers(3, words * DIM)).unwrap();
        (grid, WordBank::new(&classes, backgrounds, rows).unwrap())
    }

    /// The formula itself, in f64, by way of the matrix of all scores.
    fn expected(grid: &PatchGrid, bank: &WordBank, scoring: Scoring) -> Vec<f64> {
        let cosine = |patch: usize, word: usize| -> f64 {
            grid.patches().row(patch).iter().zip(bank.words().row(word)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let logit = |patch: usize, span: &Range<usize>| {
            let best = span.clone().map(|word| cosine(patch, word)).fold(f64::NEG_INFINITY, f64::max);
            best * f64::from(scoring.scale) + f64::from(scoring.bias.unwrap_or(0.0))
        };
        let outside: Vec<_> = bank.background_rows().map(|row| row..row + 1).collect();
        let mut best = vec![0.0f64; bank.spans().len()];
        for patch in 0..grid.patches().rows() {
            let logits: Vec<f64> = bank.spans().iter().chain(&outside).map(|span| logit(patch, span)).collect();
            let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
            for (best, logit) in best.iter_mut().zip(logits) {
                *best = best.max(if scoring.bias.is_some() { 1.0 / (1.0 + (-logit).exp()) } else { logit.exp() / total });
            }
        }
        best
    }

    #[test]
    fn scores_are_those_of_the_whole_matrix() {
        type Words<'a> = &'a dyn Fn(usize) -> usize;
        let shapes: [(Words<'_>, usize, usize); 5] =
            [(&|_| 1, 700, 0), (&|_| 1, 33, 2), (&|i| 1 + i % 3, 700, 0), (&|i| 1 + i % 20, 40, 3), (&|i| i % 3, 20, 0)];
        for (words, classes, backgrounds) in shapes {
            let (grid, bank) = fixture(words, classes, backgrounds);
            for scoring in [Scoring { scale: 12.0, bias: Some(-5.0) }, Scoring { scale: 12.0, bias: None }] {
                let expected = expected(&grid, &bank, scoring);
                for (precision, bound) in [(Precision::F32, 1e-5), (Precision::F16, 0.005), (Precision::Int8, 0.05)] {
                    let found = pixel_scores(&grid, &bank.clone().with_precision(precision), scoring).unwrap();
                    assert_eq!(found.len(), expected.len());
                    for (class, (found, expected)) in found.iter().zip(&expected).enumerate() {
                        assert!((f64::from(*found) - expected).abs() <= bound, "{precision:?} {scoring:?} {class}: {found} for {expected}");
                    }
                }
                let planes = score(&grid, &bank, scoring, Background::None).unwrap();
                for (found, expected) in planes.scores().iter().zip(&expected) {
                    assert!((f64::from(*found) - expected).abs() <= 1e-5, "{scoring:?}: {found} for {expected}");
                }
            }
        }
    }

    #[test]
    fn a_threshold_selects_the_words_that_the_whole_matrix_selects() {
        let (grid, bank) = fixture(|_| 1, 3000, 0);
        for (scoring, threshold) in [(Scoring { scale: 12.0, bias: Some(-8.0) }, 0.2), (Scoring { scale: 20.0, bias: None }, 0.003)] {
            let selected = |scores: &[f64]| (0..3000).filter(|&i| scores[i] >= threshold).collect::<Vec<_>>();
            let expected = selected(&expected(&grid, &bank, scoring));
            assert!((50..2950).contains(&expected.len()), "{} words: a test that could not fail", expected.len());
            let found = pixel_scores(&grid, &bank, scoring).unwrap();
            assert_eq!(selected(&found.iter().map(|s| f64::from(*s)).collect::<Vec<_>>()), expected);
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let (grid, bank) = fixture(|i| 1 + i % 2, 900, 1);
        for bias in [Some(-3.0), None] {
            let scored = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| pixel_scores(&grid, &bank, Scoring { scale: 9.0, bias }).unwrap())
            };
            let bits = |scores: Vec<f32>| scores.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            assert_eq!(bits(scored(1)), bits(scored(3)));
        }
    }
}
