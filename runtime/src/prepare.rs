//! Brings a frame to the encoder's input, and remembers where its pixels went.

use fast_image_resize as fir;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use image::RgbImage;

use crate::bundle::{Fit, ImageManifest, Interpolation};
use crate::simd::Tap;
use crate::{Error, Result};

/// Attention is quadratic in the patches; an extreme panorama is scaled down to stay below this many.
pub const MAX_PATCHES: usize = 4096;

/// The encoder's input and where the frame lies in it.
#[derive(Debug, Clone)]
pub struct Input {
    /// Normalised channels. `[3, height, width]`
    pub pixels: Vec<f32>,
    /// Where the frame lies.
    pub placement: Placement,
}

/// Where a frame lies in the encoder's input: the inverse of resize and letterbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// Finds the input size for a frame of `frame_px` (width, height).
    ///
    /// # Errors
    /// [`Error::Option`] if `side_px` is not between one patch and 8192.
    pub fn new(frame_px: (u32, u32), image: &ImageManifest, side_px: usize) -> Result<Self> {
        let patch = image.patch_px as u32;
        if !(image.patch_px..=8192).contains(&side_px) {
            return Err(Error::Option {
                option: "--size".into(),
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
        ((self.input_px.1 / self.patch_px) as usize, (self.input_px.0 / self.patch_px) as usize)
    }

    /// Rows and columns of patches that show any of the frame; the rest is padding.
    pub fn covered(&self) -> (usize, usize) {
        (self.scaled_px.1.div_ceil(self.patch_px) as usize, self.scaled_px.0.div_ceil(self.patch_px) as usize)
    }

    /// For each of `out` pixels across the frame, the two covered patch columns around it and their weight. `[out]`
    pub fn column_taps(&self, out: usize) -> Vec<Tap> {
        let [_, columns] = self.cell_taps([0, out], 1);
        columns
    }

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

/// Resizes and normalises a frame: `(value / 255 - mean) / std` for each channel.
///
/// # Errors
/// [`Error::Option`] if `side_px` is out of range, [`Error::Tensor`] if the frame has no pixels.
pub fn prepare(frame: &RgbImage, image: &ImageManifest, side_px: usize) -> Result<Input> {
    if frame.width() == 0 || frame.height() == 0 {
        return Err(Error::Tensor {
            what: "frame".into(),
            expected: "at least 1×1 pixels".into(),
            found: format!("{}×{}", frame.width(), frame.height()),
        });
    }
    let placement = Placement::new(frame.dimensions(), image, side_px)?;
    let (width, height) = placement.scaled_px;
    let resized = resize(frame, width, height, image.interpolation)?;
    let (input_width, input_height) = (placement.input_px.0 as usize, placement.input_px.1 as usize);
    let plane = input_width * input_height;
    let mut pixels = vec![0.0; 3 * plane]; // the mean colour is 0 once normalised: letterbox padding needs no fill
    for (channel, out) in pixels.chunks_exact_mut(plane).enumerate() {
        let scale = 1.0 / (255.0 * image.std[channel]);
        let offset = -image.mean[channel] / image.std[channel];
        for (row, out) in resized.chunks_exact(width as usize * 3).zip(out.chunks_exact_mut(input_width)) {
            for (pixel, out) in row.chunks_exact(3).zip(out) {
                *out = f32::from(pixel[channel]) * scale + offset;
            }
        }
    }
    Ok(Input { pixels, placement })
}

pub(crate) fn resize(frame: &RgbImage, width: u32, height: u32, interpolation: Interpolation) -> Result<Vec<u8>> {
    let filter = match interpolation {
        Interpolation::Bilinear => fir::FilterType::Bilinear,
        Interpolation::Bicubic => fir::FilterType::CatmullRom,
    };
    let fail = |found: String| Error::Tensor { what: "resize".into(), expected: format!("{width}×{height} pixels"), found };
    let source = TypedImageRef::<U8x3>::from_buffer(frame.width(), frame.height(), frame.as_raw()).map_err(|e| fail(e.to_string()))?;
    let mut pixels = vec![0; width as usize * height as usize * 3];
    let mut target = TypedImage::<U8x3>::from_buffer(width, height, &mut pixels).map_err(|e| fail(e.to_string()))?;
    // Without the pixel type the crate's code is compiled for every one that it knows.
    fir::Resizer::new()
        .resize_typed(&source, &mut target, &fir::ResizeOptions::new().resize_alg(fir::ResizeAlg::Convolution(filter)))
        .map_err(|e| fail(e.to_string()))?;
    Ok(pixels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Positions;

    fn manifest(fit: Fit) -> ImageManifest {
        ImageManifest {
            blob: String::new(),
            patch_px: 16,
            input_px: 224,
            fit,
            interpolation: Interpolation::Bicubic,
            mean: [0.5; 3],
            std: [0.5; 3],
            positions: Positions { blob: String::new(), rows: 14, cols: 14, width: 4 },
            head: None,
        }
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

    #[test]
    fn channels_are_normalised_and_padding_is_the_mean() {
        let frame = RgbImage::from_pixel(64, 32, image::Rgb([255, 0, 128]));
        let input = prepare(&frame, &manifest(Fit::Letterbox), 32).unwrap();
        let plane = 32 * 32;
        for (channel, expected) in [1.0, -1.0, 128.0 / 127.5 - 1.0].into_iter().enumerate() {
            assert!((input.pixels[channel * plane] - expected).abs() < 1e-5);
            assert_eq!(input.pixels[(channel + 1) * plane - 1], 0.0, "the lower half is padding");
        }
        assert!(prepare(&RgbImage::new(0, 5), &manifest(Fit::Grid), 32).is_err());
    }
}
