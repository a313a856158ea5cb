//! Segmentation of labelled pictures: every pixel's predicted label against the true one.

use edge_seg_model::Frame;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::classes::View;
use super::ensemble::Ensemble;
use super::left_out::{LeftOut, split_left_out};
use super::metric::Confusion;
use super::pictures::{Pair, read_pair};
use super::stability::flicker;
use super::templates::Lexicon;
use super::variant::Variant;
use crate::Result;

/// How predictions are made: each picture is encoded once and drawn once for each variant.
#[derive(Debug)]
pub struct Protocol<'a> {
    /// Encodes.
    pub looks: &'a Ensemble,
    /// What the labels mean.
    pub view: &'a View,
    /// What is drawn.
    pub variants: &'a [Variant],
    /// Offer only the classes that a picture's own labels hold.
    pub present_only: bool,
    /// Whether the pictures are frames of one clip, in their order: then flicker is counted.
    pub clip: bool,
    /// The variants' words, embedded.
    pub lexicon: Lexicon,
}

/// What was found in one picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PictureCounts {
    /// File name without its ending.
    pub picture: String,
    /// True label, predicted label, pixels, for each variant; ignored pixels are left out.
    pub runs: Vec<Vec<(usize, usize, u64)>>,
    /// In a clip, for each variant, pixels whose label changed since the frame before, and pixels whose true label did not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flicker: Vec<[u64; 2]>,
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

/// Consecutive frames that one task draws: each task draws one frame more than it counts, to see the change into its first.
const FRAMES_PER_TASK: usize = 8;

impl Protocol<'_> {
    /// Segments those of `pairs` that `wanted` picks and counts, in parallel over pictures; `done` is called after each, with nothing for
    /// one that is left out, since it or its labels cannot be read. Both are given back in the order of `pairs`. `stop` is asked before each
    /// word that is embedded.
    ///
    /// # Errors
    /// The first picture's that cannot be segmented; what `done` answers; and [`Error::Stopped`](crate::Error::Stopped) once `stop` says so.
    pub fn evaluate(
        &self,
        pairs: &[Pair],
        wanted: impl Fn(&Pair) -> bool + Sync,
        stop: &(dyn Fn() -> bool + Sync),
        done: impl Fn(Option<&PictureCounts>) -> Result<()> + Sync,
    ) -> Result<(Vec<PictureCounts>, Vec<LeftOut>)> {
        self.variants.iter().try_for_each(|v| v.prepare(self.looks.session(), &self.lexicon, stop))?;
        let task = if self.clip { FRAMES_PER_TASK } else { 1 };
        let chunks: Vec<usize> = (0..pairs.len()).step_by(task).collect();
        let found: Vec<Vec<Result<PictureCounts, LeftOut>>> = chunks
            .into_par_iter()
            .map(|start| {
                let mut before: Option<(usize, Drawn)> = None;
                let mut counted = Vec::new();
                for i in (start..pairs.len().min(start + task)).filter(|i| wanted(&pairs[*i])) {
                    let drawn = match read_pair(&pairs[i], self.view) {
                        Ok((frame, truth)) => self.segment(frame, truth)?,
                        Err(left_out) => {
                            done(None)?;
                            counted.push(Err(left_out));
                            continue;
                        }
                    };
                    if self.clip && i > 0 && before.as_ref().is_none_or(|(at, _)| at + 1 != i) {
                        // One that is left out is told where it is the frame itself.
                        let read = read_pair(&pairs[i - 1], self.view).ok();
                        before = read.map(|(frame, truth)| self.segment(frame, truth)).transpose()?.map(|drawn| (i - 1, drawn));
                    }
                    let counts = self.count(&pairs[i], &drawn, before.as_ref().map(|(_, drawn)| drawn).filter(|_| self.clip && i > 0));
                    done(Some(&counts))?;
                    counted.push(Ok(counts));
                    before = Some((i, drawn));
                }
                Ok(counted)
            })
            .collect::<Result<_>>()?;
        Ok(split_left_out(found.into_iter().flatten()))
    }

    fn count(&self, pair: &Pair, drawn: &Drawn, before: Option<&Drawn>) -> PictureCounts {
        let runs = drawn.predicted.iter().map(|predicted| {
            let mut confusion = Confusion::new(self.view.classes.len());
            for (truth, predicted) in drawn.truth.iter().zip(predicted) {
                if let Some(truth) = truth {
                    confusion.add(usize::from(*truth), usize::from(*predicted), 1);
                }
            }
            confusion.cells().collect()
        });
        let same_size = before.filter(|b| b.frame.pixels.dimensions() == drawn.frame.pixels.dimensions());
        let changes = same_size.map_or(Vec::new(), |before| {
            let pairs = before.predicted.iter().zip(&drawn.predicted);
            pairs.map(|(a, b)| flicker((&before.truth, a), (&drawn.truth, b))).collect()
        });
        PictureCounts { picture: pair.stem.clone(), runs: runs.collect(), flicker: changes, encode_ms: drawn.encode_ms }
    }

    /// Segments one picture.
    ///
    /// # Errors
    /// As [`Self::evaluate`], and if the picture or its labels cannot be read.
    pub fn draw(&self, pair: &Pair) -> Result<Drawn> {
        let (frame, truth) = read_pair(pair, self.view)?;
        self.segment(frame, truth)
    }

    fn segment(&self, frame: Frame, truth: Vec<Option<u16>>) -> Result<Drawn> {
        let encoded = self.looks.encode(&frame)?;
        let offered: Vec<u16> =
            (1..=self.view.classes.len() as u16).filter(|label| !self.present_only || truth.contains(&Some(*label))).collect();
        let encode_ms = encoded.timings.encode.as_secs_f64() * 1e3;
        if offered.is_empty() {
            let predicted = vec![vec![0; truth.len()]; self.variants.len()];
            return Ok(Drawn { frame, truth, predicted, encode_ms });
        }
        let labels = |v: &Variant| v.labels(self.looks.session(), &self.lexicon, &frame, &encoded, &offered);
        let predicted = self.variants.iter().map(labels).collect::<Result<_>>()?;
        Ok(Drawn { frame, truth, predicted, encode_ms })
    }
}

/// A picture with its true and predicted labels.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// The picture.
    pub frame: Frame,
    /// True labels, row by row; `None` where a pixel is ignored.
    pub truth: Vec<Option<u16>>,
    /// Predicted labels for each variant.
    pub predicted: Vec<Vec<u16>>,
    /// Time of the image encoder.
    pub encode_ms: f64,
}
