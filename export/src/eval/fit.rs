//! Thresholds that are found on some pictures and measured on others.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use edge_seg_model::{Background, Frame, Scoring, score};
use serde::Serialize;

use super::classes::View;
use super::metric::Confusion;
use super::segmentation::{PictureCounts, Protocol};
use super::variant::Variant;
use crate::{Error, Result};

/// The background threshold that is best on one half of the pictures, measured on the other half, for variants that differ in nothing else.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Halves {
    /// The variants' common name.
    pub name: String,
    /// Thresholds chosen on the first and on the second half.
    pub chosen: [f64; 2],
    /// mIoU over both halves, each drawn with the other's threshold.
    pub miou: Option<f64>,
    /// Share of right pixels, in the same way.
    pub pixel_accuracy: Option<f64>,
    /// Thresholds and their mIoU over all pictures.
    pub curve: Vec<(f64, Option<f64>)>,
}

/// Every group of variants that differ in the background threshold alone. Pictures are halved by the parity of a hash of their names
/// (FNV-1a), so that the halves are the same in every run.
pub fn halves(variants: &[Variant], counts: &[PictureCounts], view: &View) -> Vec<Halves> {
    let mut groups: BTreeMap<(usize, String), Vec<(f32, usize)>> = BTreeMap::new();
    let mut first: HashMap<String, usize> = HashMap::new();
    for (run, variant) in variants.iter().enumerate() {
        if let Background::Threshold(t) = variant.background {
            let name = Variant { background: Background::None, ..variant.clone() }.spelled();
            let order = *first.entry(name.clone()).or_insert(run);
            groups.entry((order, name)).or_default().push((t, run));
        }
    }
    let classes = view.classes.len();
    let table = |run: usize, half: Option<bool>| {
        let mut table = Confusion::new(classes);
        counts.iter().filter(|c| half.is_none_or(|h| odd(&c.picture) == h)).for_each(|c| table.merge(&c.confusion(run, classes)));
        table
    };
    let miou = |table: &Confusion| table.measures(view.background).miou;
    let mut found = Vec::new();
    for ((_, name), runs) in groups.into_iter().filter(|(_, runs)| runs.len() > 1) {
        let best = |half: bool| {
            let value = |run: usize| miou(&table(run, Some(half))).unwrap_or(0.0);
            // The lower threshold of equals, whatever their order.
            runs.iter().copied().fold(None, |best: Option<(f64, f32, usize)>, (t, run)| {
                let v = value(run);
                best.filter(|b| b.0 > v || (b.0 == v && b.1 < t)).or(Some((v, t, run)))
            })
        };
        let (Some(even), Some(uneven)) = (best(false), best(true)) else { continue };
        let mut pooled = table(even.2, Some(true));
        pooled.merge(&table(uneven.2, Some(false)));
        let measures = pooled.measures(view.background);
        found.push(Halves {
            name,
            chosen: [decimal(even.1), decimal(uneven.1)],
            miou: measures.miou,
            pixel_accuracy: measures.pixel_accuracy,
            curve: runs.iter().map(|(t, run)| (decimal(*t), miou(&table(*run, None)))).collect(),
        });
    }
    found
}

/// A threshold as it was written, not as the nearest f32 reads in f64.
pub(super) fn decimal(threshold: f32) -> f64 {
    (f64::from(threshold) * 1e6).round() / 1e6
}

fn odd(name: &str) -> bool {
    name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)).count_ones() % 2 == 1
}

/// How often each class scores how much where it is and where it is not, on the patch grid.
#[derive(Debug, Clone)]
pub struct Histograms {
    right: Vec<[u64; BINS]>, // [classes]
    all: Vec<[u64; BINS]>,   // [classes]
}

const BINS: usize = 200;

impl Histograms {
    /// Nothing seen yet of `classes` classes.
    pub fn new(classes: usize) -> Self {
        Self { right: vec![[0; BINS]; classes], all: vec![[0; BINS]; classes] }
    }

    /// Adds a picture. A pixel's score is that of the patch it lies in.
    ///
    /// # Errors
    /// As [`Protocol::evaluate`].
    pub fn add(&mut self, protocol: &Protocol, variant: &Variant, frame: &Frame, truth: &[Option<u16>]) -> Result<()> {
        let session = protocol.looks.session();
        let encoded = protocol.looks.encode(frame)?;
        let bank = protocol.lexicon.bank(session, &variant.templates, &variant.classes, &variant.background_words)?;
        let scoring = Scoring::from(session.bundle().manifest());
        let grid = score(&encoded.grid, &bank, scoring, Background::None)?;
        let patches = encoded.grid.patches().rows();
        let probabilities = super::variant::probabilities(&encoded, &bank, scoring)?;
        let (width, height) = (encoded.placement.frame_px.0 as usize, encoded.placement.frame_px.1 as usize);
        let mut held: Vec<BTreeMap<u16, u64>> = vec![BTreeMap::new(); patches];
        for y in 0..height {
            for x in 0..width {
                if let Some(label) = truth[y * width + x] {
                    let patch = (y * grid.rows() / height) * grid.cols() + x * grid.cols() / width;
                    *held[patch].entry(label).or_default() += 1;
                }
            }
        }
        for (patch, labels) in held.iter().enumerate() {
            let total: u64 = labels.values().sum();
            for class in 0..variant.classes.len() {
                let bin = ((probabilities[class * patches + patch] * BINS as f32) as usize).min(BINS - 1);
                self.all[class][bin] += total;
                self.right[class][bin] += labels.get(&(class as u16 + 1)).copied().unwrap_or(0);
            }
        }
        Ok(())
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.right.iter_mut().chain(&mut self.all).zip(other.right.iter().chain(&other.all)) {
            mine.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        }
    }

    /// For each class the score from which its own mask, were it alone, would have the largest IoU; `None` for one that was not met.
    pub fn thresholds(&self) -> Vec<Option<f32>> {
        let best = |right: &[u64; BINS], all: &[u64; BINS]| {
            let truth: u64 = right.iter().sum();
            let (mut tp, mut predicted, mut best) = (0, 0, None);
            for bin in (0..BINS).rev() {
                tp += right[bin];
                predicted += all[bin];
                let iou = tp as f64 / (truth + predicted - tp).max(1) as f64;
                if best.is_none_or(|(most, _)| iou > most) {
                    best = Some((iou, bin));
                }
            }
            best.filter(|_| truth > 0).map(|(_, bin)| bin as f32 / BINS as f32)
        };
        self.right.iter().zip(&self.all).map(|(right, all)| best(right, all)).collect()
    }
}

/// Reads a table `name<TAB>threshold` for the classes of a view, in any order. `[classes]`
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::File`] if a class is missing, unknown or without a number in 0..1.
pub fn read(path: &Path, view: &View) -> Result<Vec<f32>> {
    let text = edge_seg_model::read_text(path)?;
    let place = path.display().to_string();
    let mut found: Vec<Option<f32>> = vec![None; view.classes.len()];
    for (number, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let wrong = || Error::file(&place, format!("line {}", number + 1), "a class of the view, a tab, 0 to 1", format!("{line:?}"));
        let (name, value) = line.split_once('\t').ok_or_else(wrong)?;
        let at = view.classes.iter().position(|c| c.name == name.trim()).ok_or_else(wrong)?;
        found[at] = Some(value.trim().parse().ok().filter(|v| (0.0..=1.0).contains(v)).ok_or_else(wrong)?);
    }
    let missing = |at: usize| Error::file(&place, "classes", view.classes[at].name.clone(), "no line of it");
    found.into_iter().enumerate().map(|(at, value)| value.ok_or_else(|| missing(at))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_of_a_class_is_where_its_own_mask_is_best() {
        let mut histograms = Histograms::new(2);
        // Class 0: 10 of 10 pixels above 0.6 are right, 5 of 50 between 0.3 and 0.4.
        (histograms.right[0][130], histograms.all[0][130]) = (10, 10);
        (histograms.right[0][70], histograms.all[0][70]) = (5, 50);
        histograms.all[1][10] = 7;
        assert_eq!(histograms.thresholds(), [Some(0.65), None]);
    }

    #[test]
    fn names_fall_into_two_halves() {
        let count = (0..1000).filter(|i| odd(&format!("{i:012}"))).count();
        assert!((400..600).contains(&count), "{count}");
    }
}
