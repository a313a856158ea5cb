//! Brings a frame to the encoder's input, and remembers where its pixels went.

use fast_image_resize as fir;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use image::RgbImage;

use super::Placement;
use crate::{Error, Result};
use edge_seg_bundle::{ImageManifest, Interpolation};

/// The encoder's input and where the frame lies in it.
#[derive(Clone)]
pub struct Input {
    /// Normalised channels. `[3, height, width]`
    pub pixels: Vec<f32>,
    /// Where the frame lies.
    pub placement: Placement,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Input {{ {:?} }}", self.placement)
    }
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
    use edge_seg_bundle::Fit;

    use super::super::placement::tests::manifest;
    use super::*;

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
