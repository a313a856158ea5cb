use std::time::Duration;

use image::{DynamicImage, RgbImage};

use crate::{Error, Result};

/// A picture on its way through the pipeline.
#[derive(Clone)]
#[non_exhaustive]
pub struct Frame {
    /// 8-bit RGB, upright.
    pub pixels: RgbImage,
    /// Counts the frames of a source from 0.
    pub sequence: u64,
    /// When it was captured, since the source started.
    pub timestamp: Duration,
}

/// Which bytes make a pixel, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Channels {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red, as OpenCV has it.
    Bgr,
    /// Red, green, blue, and one that is left out.
    Rgba,
    /// Blue, green, red, and one that is left out.
    Bgra,
    /// One byte of brightness.
    Grey,
}

impl Channels {
    fn bytes(self) -> usize {
        match self {
            Self::Rgb | Self::Bgr => 3,
            Self::Rgba | Self::Bgra => 4,
            Self::Grey => 1,
        }
    }
}

/// Longest side of a raw picture; a caller that claims more has mixed up its numbers.
const MAX_SIDE_PX: u32 = 1 << 16;

impl Frame {
    /// A picture of a video: its number, from 0, and its time since the source started.
    pub fn new(pixels: RgbImage, sequence: u64, timestamp: Duration) -> Self {
        Self { pixels, sequence, timestamp }
    }

    /// A single picture.
    pub fn still(pixels: RgbImage) -> Self {
        Self { pixels, sequence: 0, timestamp: Duration::ZERO }
    }

    /// A picture from the bytes of a camera or another library: lines of `line_bytes` each, of which the pixels come first; the last line
    /// may end with them. Luma and chroma (YUYV, NV12) go through `source::YuvDecoder`.
    ///
    /// ```
    /// # use edge_seg_model::{Channels, Frame};
    /// // Two pixels of blue, green, red, and a line padded to 8 bytes.
    /// let frame = Frame::from_raw(Channels::Bgr, (2, 1), 8, &[255, 0, 0, 0, 0, 255, 9, 9])?;
    /// assert_eq!(frame.pixels.as_raw(), &[0, 0, 255, 255, 0, 0]);
    /// # Ok::<(), edge_seg_model::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Tensor`] if there are no pixels, lines are shorter than their pixels, or bytes are missing.
    pub fn from_raw(channels: Channels, (width, height): (u32, u32), line_bytes: usize, bytes: &[u8]) -> Result<Self> {
        let wrong = |expected: String, found: String| Err(Error::Tensor { what: "raw picture".into(), expected, found });
        if !(1..=MAX_SIDE_PX).contains(&width) || !(1..=MAX_SIDE_PX).contains(&height) {
            return wrong(format!("sides of 1 to {MAX_SIDE_PX} pixels"), format!("{width}×{height}"));
        }
        let line = channels.bytes() * width as usize;
        if line_bytes < line {
            return wrong(format!("lines of {line} bytes or more"), format!("{line_bytes}"));
        }
        let needed = (height as usize - 1).saturating_mul(line_bytes).saturating_add(line);
        if bytes.len() < needed {
            return wrong(format!("{needed} bytes"), format!("{}", bytes.len()));
        }
        let mut pixels = RgbImage::new(width, height);
        for (out, line_of) in pixels.chunks_exact_mut(3 * width as usize).zip(bytes.chunks(line_bytes)) {
            if channels == Channels::Rgb {
                out.copy_from_slice(&line_of[..line]);
                continue;
            }
            for (out, pixel) in out.chunks_exact_mut(3).zip(line_of.chunks_exact(channels.bytes())) {
                out.copy_from_slice(&match channels {
                    Channels::Rgb | Channels::Rgba => [pixel[0], pixel[1], pixel[2]],
                    Channels::Bgr | Channels::Bgra => [pixel[2], pixel[1], pixel[0]],
                    Channels::Grey => [pixel[0]; 3],
                });
            }
        }
        Ok(Self::still(pixels))
    }
}

impl From<RgbImage> for Frame {
    fn from(pixels: RgbImage) -> Self {
        Self::still(pixels)
    }
}

impl From<DynamicImage> for Frame {
    /// Transparency is laid over white.
    fn from(picture: DynamicImage) -> Self {
        Self::still(over_white(picture, Alpha::Straight))
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (width, height) = self.pixels.dimensions();
        write!(f, "Frame {{ {width}×{height}, sequence: {}, timestamp: {:?} }}", self.sequence, self.timestamp)
    }
}

/// What the colours of a picture with transparency are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alpha {
    /// Those of the thing itself.
    Straight,
    /// Multiplied by their alpha.
    Premultiplied,
}

pub(crate) fn over_white(picture: DynamicImage, alpha: Alpha) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let rgba = picture.into_rgba8();
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, a] = rgba.get_pixel(x, y).0.map(u16::from);
        image::Rgb([r, g, b].map(|c| match alpha {
            Alpha::Straight => ((c * a + 255 * (255 - a) + 127) / 255) as u8,
            Alpha::Premultiplied => (c + 255 - a).min(255) as u8,
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_every_order_and_stride_are_the_same_picture() {
        let picture = RgbImage::from_fn(5, 3, |x, y| image::Rgb([x as u8 * 50, y as u8 * 80, 7]));
        for (channels, order) in
            [(Channels::Rgb, &[0, 1, 2][..]), (Channels::Bgr, &[2, 1, 0]), (Channels::Rgba, &[0, 1, 2, 0]), (Channels::Bgra, &[2, 1, 0, 0])]
        {
            let line = order.len() * 5;
            for stride in [line, line + 1, 64] {
                let mut bytes = vec![99; stride * 3];
                for (x, y, pixel) in picture.enumerate_pixels() {
                    order.iter().enumerate().for_each(|(at, c)| bytes[y as usize * stride + x as usize * order.len() + at] = pixel.0[*c]);
                }
                let whole = Frame::from_raw(channels, (5, 3), stride, &bytes).unwrap();
                assert_eq!(whole.pixels, picture, "{channels:?} {stride}");
                let cut = &bytes[..2 * stride + line];
                assert_eq!(Frame::from_raw(channels, (5, 3), stride, cut).unwrap().pixels, picture, "no padding after the last line");
                let said = Frame::from_raw(channels, (5, 3), stride, &cut[1..]).unwrap_err().to_string();
                assert!(said.contains(&format!("expected {} bytes, found {}", cut.len(), cut.len() - 1)), "{said}");
            }
            assert!(Frame::from_raw(channels, (5, 3), line - 1, &[0; 999]).is_err());
        }
        assert_eq!(Frame::from_raw(Channels::Grey, (2, 1), 2, &[7, 8]).unwrap().pixels.as_raw(), &[7, 7, 7, 8, 8, 8]);
        assert!(Frame::from_raw(Channels::Rgb, (0, 0), 0, &[]).is_err());
        assert!(Frame::from_raw(Channels::Rgb, (u32::MAX, u32::MAX), usize::MAX, &[]).is_err());
        let clear = DynamicImage::ImageRgba8(image::RgbaImage::from_pixel(1, 1, image::Rgba([0, 0, 0, 0])));
        assert_eq!(Frame::from(clear).pixels.get_pixel(0, 0).0, [255; 3]);
    }
}
