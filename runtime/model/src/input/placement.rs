//! Where a frame lies in the encoder's input.

use edge_seg_bundle::{Fit, ImageManifest};
use edge_seg_kernels::Tap;

use crate::{Error, Result};

/// Attention is quadratic in the patches; an extreme panorama is scaled down to stay below this many.
pub const MAX_PATCHES: usize = 4096;

/// A square of 65536 pixels a side.
const MAX_FRAME_PIXELS: u64 = 1 << 32;

/// Where a frame lies in the encoder's input: the inverse of resize and letterbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Placement {
    /// The frame's own width and height.
    pub frame_px: (u32, u32),
    /// Width and height of the frame inside the input, from its top left corner.
    pub scaled_px: (u32, u32),
    /// Width and height of the input: whole patches.
    pub input_px: (u32, u32),
    /// Side of a patch.
    pub patch_px: u32,
}

impl Placement {
    /// Where a frame lies that was prepared elsewhere: widths and heights of the frame, of its part of the input, and of the input.
    pub fn of(frame_px: (u32, u32), scaled_px: (u32, u32), input_px: (u32, u32), patch_px: u32) -> Self {
        Self { frame_px, scaled_px, input_px, patch_px }
    }

    /// Finds the input size for a frame of `frame_px` (width, height).
    ///
    /// # Errors
    /// [`Error::Option`] if `side_px` is not between one patch and 8192.
    pub fn new(frame_px: (u32, u32), image: &ImageManifest, side_px: usize) -> Result<Self> {
        let patch = image.patch_px as u32;
        if !(image.patch_px..=8192).contains(&side_px) {
            return Err(Error::Option {
                option: "size_px".into(),
                expected: format!("{} to 8192 pixels", image.patch_px),
                found: side_px.to_string(),
            });
        }
        let (width, height) = (f64::from(frame_px.0), f64::from(frame_px.1));
        let patches = |side: f64| ((side / f64::from(patch)).round() as u32).clamp(1, MAX_PATCHES as u32);
        Ok(match image.fit {
            Fit::Grid => {
                let scale = side_px as f64 / width.min(height);
                let (mut cols, mut rows) = (patches(width * scale), patches(height * scale));
                let excess = f64::from(cols) * f64::from(rows) / MAX_PATCHES as f64;
                if excess > 1.0 {
                    let shrink = excess.sqrt();
                    cols = ((f64::from(cols) / shrink) as u32).max(1);
                    rows = ((f64::from(rows) / shrink) as u32).clamp(1, MAX_PATCHES as u32 / cols);
                    cols = cols.min(MAX_PATCHES as u32 / rows);
                }
                let input_px = (cols * patch, rows * patch);
                Self { frame_px, scaled_px: input_px, input_px, patch_px: patch }
            }
            Fit::Squash => {
                let side = patches(side_px as f64).min((MAX_PATCHES as f64).sqrt() as u32) * patch;
                Self { frame_px, scaled_px: (side, side), input_px: (side, side), patch_px: patch }
            }
            Fit::Letterbox => {
                let side = patches(side_px as f64).min((MAX_PATCHES as f64).sqrt() as u32) * patch;
                let scale = f64::from(side) / width.max(height);
                let scaled = |length: f64| ((length * scale).round() as u32).clamp(1, side);
                Self { frame_px, scaled_px: (scaled(width), scaled(height)), input_px: (side, side), patch_px: patch }
            }
        })
    }

    /// Rows and columns of the whole patch grid.
    pub fn grid(&self) -> (usize, usize) {
        let patches = |side_px: u32| side_px.checked_div(self.patch_px).unwrap_or(0) as usize;
        (patches(self.input_px.1), patches(self.input_px.0))
    }

    /// Whether scores of so many rows and columns can be drawn at the frame's own pixels.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the grid is another one, or the frame has no pixels or more than any.
    pub(crate) fn check(&self, rows: usize, cols: usize) -> Result<()> {
        let (covered_rows, covered_cols) = self.covered();
        let (width, height) = self.frame_px;
        let drawable = (1..=MAX_FRAME_PIXELS).contains(&(u64::from(width) * u64::from(height)));
        if drawable && rows * cols > 0 && (rows, cols) == (covered_rows, covered_cols) {
            return Ok(());
        }
        Err(Error::Tensor {
            what: "scores".into(),
            expected: format!("a grid of {covered_rows}×{covered_cols}, and a frame with pixels"),
            found: format!("{rows}×{cols}, and {width}×{height} pixels"),
        })
    }

    /// Whether one batch can hold both inputs.
    pub(crate) fn same_shape(&self, other: &Self) -> bool {
        self.input_px == other.input_px && self.patch_px == other.patch_px
    }

    /// Rows and columns of patches that show any of the frame; the rest is padding.
    pub fn covered(&self) -> (usize, usize) {
        let patches = |side_px: u32| if self.patch_px == 0 { 0 } else { side_px.div_ceil(self.patch_px) as usize };
        (patches(self.scaled_px.1), patches(self.scaled_px.0))
    }

    /// The pixels of the frame that a patch shows any of: left, top, width, height; none for a patch that shows nothing of it.
    pub fn patch_px_box(&self, row: usize, col: usize) -> Option<[u32; 4]> {
        let (rows, cols) = self.covered();
        if row >= rows || col >= cols {
            return None;
        }
        let span = |at: usize, scaled: u32, frame: u32| {
            let pixel = |edge: u64| edge.min(u64::from(scaled)) as f64 * f64::from(frame) / f64::from(scaled.max(1));
            let (first, end) = (at as u64 * u64::from(self.patch_px), (at as u64 + 1) * u64::from(self.patch_px));
            let (first, end) = (pixel(first).floor() as u32, pixel(end).ceil() as u32);
            (first, end.min(frame) - first)
        };
        let ((left, width), (top, height)) = (span(col, self.scaled_px.0, self.frame_px.0), span(row, self.scaled_px.1, self.frame_px.1));
        Some([left, top, width, height])
    }

    #[doc(hidden)]
    /// For each of `out` pixels across the frame, the two covered patch columns around it and their weight. `[out]`
    pub fn column_taps(&self, out: usize) -> Vec<Tap> {
        let [_, columns] = self.cell_taps([0, out], 1);
        columns
    }

    #[doc(hidden)]
    /// As [`Self::column_taps`], down the frame. `[out]`
    pub fn row_taps(&self, out: usize) -> Vec<Tap> {
        let [rows, _] = self.cell_taps([out, 0], 1);
        rows
    }

    /// The taps of so many rows and columns of pixels on a grid that has `cells` by `cells` cells in each covered patch.
    pub(crate) fn cell_taps(&self, [rows, columns]: [usize; 2], cells: usize) -> [Vec<Tap>; 2] {
        let cell_px = f64::from(self.patch_px) / cells as f64;
        let covered = self.covered();
        [taps(rows, self.scaled_px.1, cell_px, covered.0 * cells), taps(columns, self.scaled_px.0, cell_px, covered.1 * cells)]
    }
}

/// Bilinear with half-pixel centres and clamped borders, as `align_corners=False` has it.
fn taps(out: usize, scaled_px: u32, cell_px: f64, cells: usize) -> Vec<Tap> {
    let step = f64::from(scaled_px) / (out as f64 * cell_px);
    (0..out).map(|i| Tap::at((i as f64 + 0.5) * step - 0.5, cells)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use edge_seg_bundle::Positions;

    use super::*;

    /// An image manifest of patches of 16 px, 224 px a side, normalised around a half.
    pub(crate) fn manifest(fit: Fit) -> ImageManifest {
        let mut image = ImageManifest::new("", 16, 224, Positions::new("", 14, 14, 4));
        (image.fit, image.mean, image.std) = (fit, [0.5; 3], [0.5; 3]);
        image
    }

    #[test]
    fn a_grid_keeps_the_aspect_in_whole_patches() {
        let placed = |w, h| Placement::new((w, h), &manifest(Fit::Grid), 224).unwrap();
        assert_eq!(placed(640, 480).input_px, (304, 224));
        assert_eq!(placed(480, 640).input_px, (224, 304));
        assert_eq!(placed(1, 1).input_px, (224, 224));
        let strip = placed(60_000, 3);
        let (rows, cols) = strip.grid();
        assert!(rows * cols <= MAX_PATCHES && rows >= 1, "{strip:?}");
    }

    #[test]
    fn a_letterbox_covers_part_of_a_square() {
        let placed = Placement::new((640, 320), &manifest(Fit::Letterbox), 224).unwrap();
        assert_eq!((placed.input_px, placed.scaled_px), ((224, 224), (224, 112)));
        assert_eq!((placed.grid(), placed.covered()), ((14, 14), (7, 14)));
    }

    #[test]
    fn patches_cover_the_frame_and_nothing_beyond() {
        for (fit, frame) in [(Fit::Grid, (640, 480)), (Fit::Letterbox, (640, 320)), (Fit::Grid, (1, 1)), (Fit::Letterbox, (33, 1000))] {
            let placed = Placement::new(frame, &manifest(fit), 224).unwrap();
            let (rows, cols) = placed.covered();
            let mut seen = vec![false; (frame.0 * frame.1) as usize];
            for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
                let [left, top, width, height] = placed.patch_px_box(row, col).unwrap();
                assert!(width > 0 && height > 0 && left + width <= frame.0 && top + height <= frame.1);
                (top..top + height).for_each(|y| (left..left + width).for_each(|x| seen[(y * frame.0 + x) as usize] = true));
            }
            assert!(seen.iter().all(|seen| *seen), "{fit:?} {frame:?}");
            assert_eq!(placed.patch_px_box(rows, 0), None);
        }
        let placed = Placement::new((640, 320), &manifest(Fit::Letterbox), 224).unwrap();
        assert_eq!(placed.patch_px_box(0, 1), Some([45, 0, 47, 46]), "16 of 224 are 45.7 of 640");
    }

    #[test]
    fn a_squashed_picture_fills_a_square() {
        let placed = Placement::new((640, 320), &manifest(Fit::Squash), 224).unwrap();
        assert_eq!((placed.input_px, placed.scaled_px), ((224, 224), (224, 224)));
        assert_eq!((placed.grid(), placed.covered()), ((14, 14), (14, 14)));
    }

    #[test]
    fn pixels_come_from_the_patches_that_show_them() {
        let placed = Placement::new((640, 320), &manifest(Fit::Letterbox), 224).unwrap();
        // Frame rows are 112/320 input pixels apart; patch centres lie 16 input pixels apart from 8.
        for (y, tap) in placed.row_taps(320).iter().enumerate() {
            let exact = ((y as f32 + 0.5) * 112.0 / 320.0 / 16.0 - 0.5).clamp(0.0, 6.0);
            assert!((tap.lo as f32 + tap.weight - exact).abs() < 1e-4 && tap.hi <= 6, "{y}: {tap:?}");
        }
    }
}
