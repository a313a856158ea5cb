use std::fmt;

use crate::input::Placement;
use crate::{Error, Result};

/// The part of a frame that is hidden, in cells of whole pixels: 120 along the short side, or one for each pixel of a smaller frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Cover {
    frame_px: (u32, u32),
    cols: usize,
    rows: usize,
    cells: Vec<bool>, // [rows, cols]
}

/// Cells along a frame's short side.
const SHORT: u32 = 120;

impl fmt::Debug for Cover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (width, height) = self.frame_px;
        write!(f, "Cover {{ {:.3} of {width}×{height} }}", self.share())
    }
}

impl Cover {
    /// Nothing of a frame.
    pub fn none(frame_px: (u32, u32)) -> Self {
        Self::filled(frame_px, false)
    }

    /// All of a frame.
    pub fn whole(frame_px: (u32, u32)) -> Self {
        Self::filled(frame_px, true)
    }

    fn filled(frame_px: (u32, u32), hidden: bool) -> Self {
        let short = frame_px.0.min(frame_px.1);
        let count = |side: u32| {
            if short > SHORT { (u64::from(side) * u64::from(SHORT)).div_ceil(u64::from(short)) as usize } else { side as usize }
        };
        let (cols, rows) = (count(frame_px.0), count(frame_px.1));
        Self { frame_px, cols, rows, cells: vec![hidden; cols * rows] }
    }

    /// The cells in which the patches' values, interpolated bilinearly over the frame, are above 0 or NaN.
    ///
    /// # Errors
    /// [`Error::Tensor`] if they are not of this placement.
    pub(super) fn of(patches: &[f32], placement: &Placement) -> Result<Self> {
        let (rows, cols) = placement.covered();
        if patches.len() != rows * cols {
            let expected = format!("{rows}×{cols} values");
            return Err(Error::Tensor { what: "evidence".into(), expected, found: patches.len().to_string() });
        }
        placement.check(rows, cols)?;
        let mut cover = Self::none(placement.frame_px);
        let [down, across] = placement.cell_taps([cover.rows, cover.cols], 1);
        let mut line = vec![0.0; cols];
        for (cells, tap) in cover.cells.chunks_exact_mut(across.len().max(1)).zip(&down) {
            let row = |at: u32| &patches[at as usize * cols..][..cols];
            let pairs = row(tap.lo).iter().zip(row(tap.hi));
            line.iter_mut().zip(pairs).for_each(|(out, (above, below))| *out = above + (below - above) * tap.weight);
            for (cell, tap) in cells.iter_mut().zip(&across) {
                let (left, right) = (line[tap.lo as usize], line[tap.hi as usize]);
                let value = left + (right - left) * tap.weight;
                *cell = value > 0.0 || value.is_nan();
            }
        }
        Ok(cover)
    }

    /// Hides what is closer than `margin` of the frame's short side as well, and one cell at least: a mask's edge crosses cells.
    pub fn grow(&mut self, margin: f32) {
        let by = ((margin * self.cols.min(self.rows) as f32).ceil() as usize).max(1);
        let (rows, cols) = (self.rows, self.cols);
        self.spread(by, (rows, cols), (cols, 1));
        self.spread(by, (cols, rows), (1, cols));
    }

    /// Hides up to `by` cells before and behind each hidden one, along so many lines of so many cells, which lie so far apart.
    fn spread(&mut self, by: usize, (lines, len): (usize, usize), (line_step, step): (usize, usize)) {
        let before = self.cells.clone();
        for line in 0..lines {
            let at = |i: usize| line * line_step + i * step;
            spread_along(&before, &mut self.cells, (0..len).map(at), by);
            spread_along(&before, &mut self.cells, (0..len).rev().map(at), by);
        }
    }

    /// Hides a box of the frame, given as shares of its sides from its top left corner, whatever it touches.
    pub fn add(&mut self, [left, top, right, bottom]: [f32; 4]) {
        let span = |low: f32, high: f32, count: usize| {
            let edge = |share: f32| (share * count as f32).clamp(0.0, count as f32);
            edge(low).floor() as usize..edge(high).ceil() as usize
        };
        let (across, down) = (span(left, right, self.cols), span(top, bottom, self.rows));
        for row in down {
            self.cells[row * self.cols..][across.clone()].fill(true);
        }
    }

    /// Width and height of the frame.
    pub fn frame_px(&self) -> (u32, u32) {
        self.frame_px
    }

    /// Share of the frame's pixels.
    pub fn share(&self) -> f64 {
        let (width, height) = self.frame_px;
        let hidden: u64 = self.lines().map(|(lines, runs)| runs.map(|run| run.len() as u64).sum::<u64>() * lines.len() as u64).sum();
        hidden as f64 / (u64::from(width) * u64::from(height)).max(1) as f64
    }

    /// Whether a pixel is hidden; one outside of the frame is not.
    pub fn hides(&self, x: u32, y: u32) -> bool {
        let cell = |at: u32, side: u32, count: usize| {
            // The last cell that begins at or before it.
            let guess = (u64::from(at) * count as u64 / u64::from(side)) as usize;
            guess + usize::from(edge(guess + 1, side, count) <= at as usize)
        };
        let (width, height) = self.frame_px;
        x < width && y < height && self.cells[cell(y, height, self.rows) * self.cols + cell(x, width, self.cols)]
    }

    /// For each row of cells, its lines of pixels and the runs of hidden pixels in them.
    pub(super) fn lines(&self) -> impl Iterator<Item = (std::ops::Range<usize>, impl Iterator<Item = std::ops::Range<usize>> + Clone)> {
        let (width, height) = self.frame_px;
        self.cells.chunks_exact(self.cols.max(1)).enumerate().map(move |(row, cells)| {
            let mut next = 0;
            let runs = cells.chunk_by(|a, b| a == b).filter_map(move |run| {
                let first = next;
                next += run.len();
                run[0].then(|| edge(first, width, self.cols)..edge(next, width, self.cols))
            });
            (edge(row, height, self.rows)..edge(row + 1, height, self.rows), runs)
        })
    }
}

/// Hides up to `by` cells behind each that was hidden before, in the order of `places`.
fn spread_along(before: &[bool], cells: &mut [bool], places: impl Iterator<Item = usize>, by: usize) {
    let mut left = 0;
    for place in places {
        if before[place] {
            left = by;
        } else if left > 0 {
            cells[place] = true;
            left -= 1;
        }
    }
}

/// The pixel at which a cell begins.
fn edge(cell: usize, side: u32, count: usize) -> usize {
    (cell as u64 * u64::from(side) / count.max(1) as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Placement;

    fn pixels(cover: &Cover) -> Vec<(u32, u32)> {
        let (width, height) = cover.frame_px();
        (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).filter(|&(x, y)| cover.hides(x, y)).collect()
    }

    #[test]
    fn runs_shares_and_single_pixels_tell_the_same() {
        for frame_px in [(1, 1), (7, 3), (64, 48), (121, 500), (1280, 720), (719, 1283), (5, 9000)] {
            assert_eq!((Cover::none(frame_px).share(), Cover::whole(frame_px).share()), (0.0, 1.0), "{frame_px:?}");
            let mut cover = Cover::none(frame_px);
            for (at, cell) in cover.cells.iter_mut().enumerate() {
                *cell = at * at % 7 < 3;
            }
            let mut seen = vec![false; (frame_px.0 * frame_px.1) as usize];
            for (lines, runs) in cover.lines() {
                for y in lines {
                    runs.clone().for_each(|run| seen[y * frame_px.0 as usize..][run].fill(true));
                }
            }
            let hidden = pixels(&cover);
            assert_eq!(hidden.len(), seen.iter().filter(|seen| **seen).count(), "{frame_px:?}");
            assert!(hidden.iter().all(|&(x, y)| seen[(y * frame_px.0 + x) as usize]));
            assert!((cover.share() - hidden.len() as f64 / seen.len() as f64).abs() < 1e-12);
            assert!(!cover.hides(frame_px.0, 0) && !cover.hides(0, frame_px.1));
        }
        assert_eq!(Cover::whole((0, 0)).share(), 0.0);
    }

    #[test]
    fn a_cover_grows_by_its_margin_to_every_side() {
        let mut cover = Cover::none((640, 480));
        cover.add([0.5, 0.5, 0.501, 0.501]);
        let before = pixels(&cover);
        cover.grow(0.05);
        let after = pixels(&cover);
        // 24 pixels are 5 % of 480; cells have 4.
        let near = |&(x, y): &(u32, u32)| before.iter().any(|&(bx, by)| x.abs_diff(bx) <= 24 && y.abs_diff(by) <= 24);
        assert_eq!(after.len(), (4 + 48) * (4 + 48));
        assert!(after.iter().all(near));
        let mut whole = after.len();
        for margin in [0.0, f32::NAN, -1.0] {
            cover.grow(margin);
            assert!(pixels(&cover).len() > whole, "a cell at least");
            whole = pixels(&cover).len();
        }
        cover.grow(f32::INFINITY);
        assert_eq!(cover.share(), 1.0);
    }

    #[test]
    fn evidence_lies_over_its_patches_and_what_is_no_number_hides() {
        let placement = Placement { frame_px: (640, 320), scaled_px: (64, 32), input_px: (64, 32), patch_px: 16 };
        let mut patches = vec![-1.0; 2 * 4];
        assert_eq!(Cover::of(&patches, &placement).unwrap().share(), 0.0);
        patches[6] = f32::NAN;
        let cover = Cover::of(&patches, &placement).unwrap();
        assert!(cover.hides(400, 240) && !cover.hides(80, 80));
        patches[6] = 1.0;
        let cover = Cover::of(&patches, &placement).unwrap();
        // Its centre, and half of the way to its neighbours.
        assert!(cover.hides(400, 240) && cover.hides(400, 310) && cover.hides(340, 240) && !cover.hides(310, 240));
        assert!(Cover::of(&patches[1..], &placement).unwrap_err().to_string().contains("expected 2×4 values, found 7"));
    }
}
