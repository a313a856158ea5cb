//! Masks: the label of every pixel of the frame.

use edge_seg_kernels::{Columns, Planes, Scratch, Tap, kernels};
use image::RgbImage;
use ndarray::ArrayView2;
use rayon::prelude::*;

use super::refine::{CELLS, refine};
use crate::input::Placement;
use crate::{Error, MAX_CLASSES, Result, ScoreGrid};

/// A label for every pixel: 0 is the background, k the k-th class.
#[derive(Clone, PartialEq, Eq)]
pub struct LabelMap {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Row by row. `[height, width]`
    pub labels: Vec<u16>,
}

/// Where a label lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Extent {
    /// How many pixels have the label.
    pub pixels: u64,
    /// The smallest box around them, in pixels: left, top, width, height; none without pixels.
    pub bounds_px: Option<[u32; 4]>,
}

/// Rows that one task draws: enough to keep the vertical taps' rows in cache.
const ROWS_PER_TASK: usize = 16;

/// Draws label maps, with taps and memory that are kept from frame to frame.
#[derive(Debug, Default)]
pub struct Painter {
    placed: Option<Placement>,
    columns: Columns,
    rows: Vec<Tap>,
    scratch: Vec<Scratch>,
}

impl Painter {
    /// Upsamples the logits bilinearly to the frame's own pixels and keeps the largest of each, in the map's own memory.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the scores are not those of this placement.
    pub fn draw(&mut self, scores: &ScoreGrid, placement: &Placement, out: &mut LabelMap) -> Result<()> {
        let (width, height) = placement.frame_px;
        let (rows, cols) = (scores.rows(), scores.cols());
        placement.check(rows, cols)?;
        let planes = Planes::new(scores.planes(), 1 + scores.scores().len(), rows, cols).ok_or_else(unpaired)?;
        if self.placed != Some(*placement) {
            self.columns = Columns::new(placement.column_taps(width as usize));
            self.rows = placement.row_taps(height as usize);
            self.placed = Some(*placement);
        }
        (out.width, out.height) = (width, height);
        out.labels.resize(width as usize * height as usize, 0);
        self.scratch.resize_with(self.rows.len().div_ceil(ROWS_PER_TASK), Scratch::default);
        out.labels
            .par_chunks_mut(width as usize * ROWS_PER_TASK)
            .zip(self.rows.par_chunks(ROWS_PER_TASK))
            .zip(&mut self.scratch)
            .for_each(|((labels, rows), scratch)| kernels().upsample_argmax(&planes, rows, &self.columns, scratch, labels));
        Ok(())
    }
}

fn unpaired() -> Error {
    Error::Tensor { what: "scores".into(), expected: "a plane for each label".into(), found: "another number of values".into() }
}

impl std::fmt::Debug for LabelMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LabelMap {{ {}×{}, {} labels }}", self.width, self.height, self.labels.len())
    }
}

impl LabelMap {
    /// Upsamples the logits bilinearly to the frame's own pixels and keeps the largest of each, by the threads of the rayon pool that it is
    /// called in, or else by rayon's global ones: [`Session::on_threads`](crate::Session::on_threads) keeps to the session's.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the scores are not those of this placement.
    pub fn from_scores(scores: &ScoreGrid, placement: &Placement) -> Result<Self> {
        let mut map = Self { width: 0, height: 0, labels: Vec::new() };
        Painter::default().draw(scores, placement, &mut map)?;
        Ok(map)
    }

    /// As [`Self::from_scores`], with borders moved to the edges of the picture that the scores are of.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the scores are not those of this placement, or the picture has no pixels.
    pub fn refined(scores: &ScoreGrid, placement: &Placement, picture: &RgbImage) -> Result<Self> {
        let (rows, cols) = (scores.rows(), scores.cols());
        placement.check(rows, cols)?;
        let refined = refine(scores, placement, picture)?;
        let planes = Planes::new(&refined.planes, refined.labels.len(), rows * CELLS, cols * CELLS).ok_or_else(unpaired)?;
        let (width, height) = placement.frame_px;
        let [row_taps, column_taps] = placement.cell_taps([height as usize, width as usize], CELLS);
        let columns = Columns::new(column_taps);
        let mut labels = vec![0u16; width as usize * height as usize];
        let tasks = labels.par_chunks_mut(width as usize * ROWS_PER_TASK).zip(row_taps.par_chunks(ROWS_PER_TASK));
        tasks.for_each_init(Scratch::default, |scratch, (labels, rows)| {
            kernels().upsample_argmax(&planes, rows, &columns, scratch, labels);
            labels.iter_mut().for_each(|label| *label = refined.labels[usize::from(*label)]);
        });
        Ok(Self { width, height, labels })
    }

    /// Where each label lies, the background first. More classes than labels can name ([`MAX_CLASSES`]) are left out. `[1 + classes]`
    pub fn extents(&self, classes: usize) -> Vec<Extent> {
        struct Seen {
            pixels: u64,
            left: u32,
            top: u32,
            right: u32,
            bottom: u32,
        }
        let mut seen: Vec<_> =
            (0..=classes.min(MAX_CLASSES)).map(|_| Seen { pixels: 0, left: u32::MAX, top: u32::MAX, right: 0, bottom: 0 }).collect();
        for (y, row) in (0u32..).zip(self.labels.chunks_exact((self.width as usize).max(1))) {
            let mut x = 0u32;
            for run in row.chunk_by(|a, b| a == b) {
                let last = x + run.len() as u32 - 1;
                if let Some(seen) = seen.get_mut(usize::from(run[0])) {
                    seen.pixels += run.len() as u64;
                    seen.left = seen.left.min(x);
                    seen.right = seen.right.max(last);
                    seen.top = seen.top.min(y);
                    seen.bottom = y;
                }
                x = last + 1;
            }
        }
        let extent = |s: Seen| Extent {
            pixels: s.pixels,
            bounds_px: (s.pixels > 0).then(|| [s.left, s.top, s.right - s.left + 1, s.bottom - s.top + 1]),
        };
        seen.into_iter().map(extent).collect()
    }

    /// The map itself, if it holds a label for each of its pixels.
    ///
    /// # Errors
    /// [`Error::Tensor`] if not.
    pub fn checked(&self) -> Result<&Self> {
        if self.labels.len() as u64 == self.pixels() {
            return Ok(self);
        }
        Err(Error::Tensor {
            what: "label map".into(),
            expected: format!("{} labels, for {}×{} pixels", self.pixels(), self.width, self.height),
            found: self.labels.len().to_string(),
        })
    }

    /// The labels as a matrix. `[height, width]`
    ///
    /// # Errors
    /// As [`Self::checked`].
    pub fn view(&self) -> Result<ArrayView2<'_, u16>> {
        let map = self.checked()?;
        let shape = (map.height as usize, map.width as usize);
        Ok(ArrayView2::from_shape(shape, &map.labels).expect("as many labels as pixels, just counted"))
    }

    /// Number of pixels.
    pub fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_count_pixels_and_bound_them() {
        let map = LabelMap { width: 4, height: 3, labels: vec![0, 0, 1, 1, 0, 2, 0, 1, 0, 0, 0, 0] };
        let extents = map.extents(3);
        assert_eq!(extents[0], Extent { pixels: 8, bounds_px: Some([0, 0, 4, 3]) });
        assert_eq!(extents[1], Extent { pixels: 3, bounds_px: Some([2, 0, 2, 2]) });
        assert_eq!(extents[2], Extent { pixels: 1, bounds_px: Some([1, 1, 1, 1]) });
        assert_eq!(extents[3], Extent::default());
        assert_eq!(map.view().unwrap()[[1, 3]], 1);
        assert_eq!(LabelMap { width: 0, height: 0, labels: vec![] }.extents(1), [Extent::default(); 2]);
        assert_eq!(map.extents(usize::MAX).len(), 1 + MAX_CLASSES);
        let short = LabelMap { width: 4, height: 4, labels: vec![1; 4] };
        assert!(short.view().unwrap_err().to_string().contains("expected 16 labels, for 4×4 pixels, found 4"));
    }
}
