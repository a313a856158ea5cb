use image::RgbImage;
use rayon::prelude::*;

use super::Fault;
use super::decoders::on_decoders;

/// Which red, green and blue a luma is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Matrix {
    /// ITU-R BT.601: standard definition, JPEG, most webcams.
    Bt601,
    /// ITU-R BT.709: high definition.
    Bt709,
}

impl Matrix {
    /// What untagged video of this height is taken to be, by broadcasting convention.
    pub fn of_height(height_px: u32) -> Self {
        if height_px >= 720 { Self::Bt709 } else { Self::Bt601 }
    }

    /// Shares of red and blue in luma.
    fn weights(self) -> (f64, f64) {
        match self {
            Self::Bt601 => (0.299, 0.114),
            Self::Bt709 => (0.2126, 0.0722),
        }
    }
}

/// Which codes black and white have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// Luma 16 to 235, chroma 16 to 240.
    Limited,
    /// 0 to 255.
    Full,
}

/// How a raw frame's bytes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PixelFormat {
    /// Three bytes a pixel: red, green, blue.
    Rgb24,
    /// Three bytes a pixel: blue, green, red.
    Bgr24,
    /// Four bytes a pixel: red, green, blue, and one that is left out.
    Rgba,
    /// Four bytes a pixel: blue, green, red, and one that is left out.
    Bgra,
    /// Two pixels in four bytes: luma, blue difference, luma, red difference.
    Yuyv,
    /// Two pixels in four bytes: blue difference, luma, red difference, luma.
    Uyvy,
    /// Two pixels in four bytes: luma, red difference, luma, blue difference.
    Yvyu,
    /// Two pixels in four bytes: red difference, luma, blue difference, luma.
    Vyuy,
    /// A luma plane, then both chromas interleaved at half size, blue first.
    Nv12,
    /// As [`Self::Nv12`], red first.
    Nv21,
    /// A luma plane, then both chromas interleaved at half width, blue first.
    Nv16,
    /// As [`Self::Nv16`], red first.
    Nv61,
    /// A luma plane, then two chroma planes at half size, blue first.
    I420,
    /// As [`Self::I420`], red first.
    Yv12,
    /// A luma plane, then two chroma planes of a quarter's width.
    I411,
    /// A luma plane, then two chroma planes of half width.
    I422,
    /// Three planes of full size.
    I444,
    /// A luma plane alone.
    Grey,
}

impl PixelFormat {
    /// The range of what does not say otherwise. Grey pictures have always been in full range, as ffmpeg and GStreamer take them.
    pub(super) fn usual_range(self) -> Range {
        if self == Self::Grey { Range::Full } else { Range::Limited }
    }

    /// Which of a pixel's bytes are red, green and blue, and how many it has.
    fn channels(self) -> Option<([usize; 3], usize)> {
        match self {
            Self::Rgb24 => Some(([0, 1, 2], 3)),
            Self::Bgr24 => Some(([2, 1, 0], 3)),
            Self::Rgba => Some(([0, 1, 2], 4)),
            Self::Bgra => Some(([2, 1, 0], 4)),
            _ => None,
        }
    }

    /// Where luma, blue and red difference lie among the four bytes of two pixels.
    fn packed(self) -> Option<[usize; 3]> {
        match self {
            Self::Yuyv => Some([0, 1, 3]),
            Self::Uyvy => Some([1, 0, 2]),
            Self::Yvyu => Some([0, 3, 1]),
            Self::Vyuy => Some([1, 2, 0]),
            _ => None,
        }
    }

    /// Powers of two by which chroma has fewer columns and rows.
    fn shift(self) -> [usize; 2] {
        match self {
            Self::Nv12 | Self::Nv21 | Self::I420 | Self::Yv12 => [1, 1],
            Self::Nv16 | Self::Nv61 | Self::I422 | Self::Yuyv | Self::Uyvy | Self::Yvyu | Self::Vyuy => [1, 0],
            Self::I411 => [2, 0],
            _ => [0, 0],
        }
    }
}

/// Where the samples of a format lie in a frame of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The format.
    pub format: PixelFormat,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    bytes: usize,
    luma: [usize; 3],   // offset, step, stride
    chroma: [usize; 4], // offset of blue, offset of red, step, stride
    shift: [usize; 2],  // of columns, of rows
    /// Bits of a sample; those of more than 8 have two bytes, the lower first.
    bits: u32,
}

/// Longest side of a frame; a stream that claims more is refused before memory is taken for it.
const MAX_SIDE_PX: u32 = 16384;

impl Layout {
    /// The layout of frames of this size.
    ///
    /// # Errors
    /// [`Fault::Stream`] if the size is nothing, too large, or odd where the format packs pixels in pairs.
    pub fn new(format: PixelFormat, width: u32, height: u32) -> Result<Self, Fault> {
        Self::with_lines(format, width, height, 8, None)
    }

    /// As [`Self::new`], with samples of more than 8 bits for planes, each in two bytes of which the lower comes first.
    pub(super) fn deep(format: PixelFormat, width: u32, height: u32, bits: u32) -> Result<Self, Fault> {
        Self::with_lines(format, width, height, bits, None)
    }

    /// As [`Self::new`], with lines of `line_bytes` in the first plane, as drivers pad them; 0 stands for lines without padding.
    /// Chroma planes are padded in proportion, as the kernel's `bytesperline` has it.
    ///
    /// # Errors
    /// As [`Self::new`], and if a line is shorter than its pixels.
    pub fn padded(format: PixelFormat, width: u32, height: u32, line_bytes: usize) -> Result<Self, Fault> {
        Self::with_lines(format, width, height, 8, Some(line_bytes).filter(|&bytes| bytes > 0))
    }

    fn with_lines(format: PixelFormat, width: u32, height: u32, bits: u32, line_bytes: Option<usize>) -> Result<Self, Fault> {
        let wrong = |expected: &str| Err(Fault::stream("frame size", expected, format!("{width}×{height}")));
        if width == 0 || height == 0 || width > MAX_SIDE_PX || height > MAX_SIDE_PX {
            return wrong("sides of 1 to 16384 pixels");
        }
        if format.packed().is_some() && width % 2 == 1 {
            return wrong("an even width, for pixels that are packed in pairs");
        }
        let sample = if bits > 8 { 2 } else { 1 };
        let step = match format.channels() {
            Some((_, bytes)) => bytes,
            None if format.packed().is_some() => 2,
            None => sample,
        };
        let (w, h) = (width as usize, height as usize);
        let tight = step * w;
        let line = line_bytes.unwrap_or(tight);
        if line < tight || line > 16 * MAX_SIDE_PX as usize {
            return Err(Fault::stream("frame layout", format!("lines of {tight} bytes or more"), format!("{line}")));
        }
        let [sx, sy] = format.shift();
        let (area, columns, rows) = (line * h, w.div_ceil(1 << sx), h.div_ceil(1 << sy));
        // Of a plane of one chroma.
        let plane_line = if line_bytes.is_some() { line.div_ceil(1 << sx) } else { columns * sample };
        let plane = plane_line * rows;
        let (bytes, luma_at, chroma) = match format {
            PixelFormat::Nv12 | PixelFormat::Nv16 => (area + 2 * plane, 0, [area, area + 1, 2, 2 * plane_line]),
            PixelFormat::Nv21 | PixelFormat::Nv61 => (area + 2 * plane, 0, [area + 1, area, 2, 2 * plane_line]),
            PixelFormat::Yv12 => (area + 2 * plane, 0, [area + plane, area, sample, plane_line]),
            PixelFormat::I420 | PixelFormat::I411 | PixelFormat::I422 | PixelFormat::I444 => {
                (area + 2 * plane, 0, [area, area + plane, sample, plane_line])
            }
            _ => match format.packed() {
                Some([y, u, v]) => (area, y, [u, v, 4, line]),
                None => (area, 0, [0; 4]),
            },
        };
        Ok(Self { format, width, height, bytes, luma: [luma_at, step, line], chroma, shift: [sx, sy], bits })
    }

    /// Bytes of a frame.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Turns luma and chroma into RGB: the inverse of ITU-R BT.601-7 section 2.5 and BT.709-6 section 3, in 16-bit fixed point.
#[derive(Debug, Clone, Copy)]
pub struct YuvDecoder {
    luma: i32,
    black: i32,
    red: i32,
    green: [i32; 2],
    blue: i32,
}

impl YuvDecoder {
    /// A decoder for one matrix and range.
    pub fn new(matrix: Matrix, range: Range) -> Self {
        let (kr, kb) = matrix.weights();
        let kg = 1.0 - kr - kb;
        let (luma, chroma, black) = match range {
            Range::Limited => (255.0 / 219.0, 255.0 / 224.0, 16),
            Range::Full => (1.0, 1.0, 0),
        };
        let fixed = |x: f64| (x * 65536.0).round() as i32;
        Self {
            luma: fixed(luma),
            black,
            red: fixed(chroma * 2.0 * (1.0 - kr)),
            green: [fixed(-chroma * 2.0 * (1.0 - kb) * kb / kg), fixed(-chroma * 2.0 * (1.0 - kr) * kr / kg)],
            blue: fixed(chroma * 2.0 * (1.0 - kb)),
        }
    }

    fn rgb(&self, y: u8, u: u8, v: u8) -> [u8; 3] {
        let y = (i32::from(y) - self.black) * self.luma + 32768;
        let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
        [y + self.red * v, y + self.green[0] * u + self.green[1] * v, y + self.blue * u].map(|c| (c >> 16).clamp(0, 255) as u8)
    }

    /// Decodes a frame into a picture, which is given the frame's size. Chroma is taken from the nearest sample.
    ///
    /// # Errors
    /// [`Fault::Stream`] if the bytes are fewer than [`Layout::bytes`]; drivers may append more.
    pub fn decode(&self, layout: &Layout, bytes: &[u8], picture: &mut RgbImage) -> Result<(), Fault> {
        if bytes.len() < layout.bytes {
            return Err(Fault::stream("frame", format!("{} bytes", layout.bytes), format!("{} bytes", bytes.len())));
        }
        resize(picture, layout.width, layout.height);
        let [luma_at, step, stride] = layout.luma;
        if let Some((order, _)) = layout.format.channels() {
            let lines = picture.chunks_exact_mut(3 * layout.width as usize).zip(bytes.chunks(stride));
            for (out, bytes) in lines {
                for (pixel, bytes) in out.chunks_exact_mut(3).zip(bytes.chunks_exact(step)) {
                    pixel.copy_from_slice(&order.map(|at| bytes[at]));
                }
            }
            return Ok(());
        }
        let ([u_at, v_at, c_step, c_stride], [sx, sy]) = (layout.chroma, layout.shift);
        let down = layout.bits.saturating_sub(8);
        let sample = |bytes: &[u8], at: usize| match down {
            0 => bytes[at],
            // A value beyond its bits is taken as the largest.
            _ => (u16::from_le_bytes([bytes[at], bytes[at + 1]]) >> down).min(255) as u8,
        };
        let decode = |(row, out): (usize, &mut [u8])| {
            let luma = &bytes[row * stride + luma_at..];
            if layout.format == PixelFormat::Grey {
                for (x, pixel) in out.chunks_exact_mut(3).enumerate() {
                    pixel.copy_from_slice(&self.rgb(sample(luma, x * step), 128, 128));
                }
                return;
            }
            let (u, v) = (&bytes[u_at + (row >> sy) * c_stride..], &bytes[v_at + (row >> sy) * c_stride..]);
            for (x, pixel) in out.chunks_exact_mut(3).enumerate() {
                let c = (x >> sx) * c_step;
                pixel.copy_from_slice(&self.rgb(sample(luma, x * step), sample(u, c), sample(v, c)));
            }
        };
        on_decoders(|| picture.par_chunks_mut(3 * layout.width as usize).enumerate().for_each(decode));
        Ok(())
    }
}

/// Gives a picture a size, keeping its memory where that is enough.
pub(super) fn resize(picture: &mut RgbImage, width: u32, height: u32) {
    if picture.dimensions() != (width, height) {
        let mut bytes = std::mem::take(picture).into_raw();
        bytes.resize(3 * width as usize * height as usize, 0);
        *picture = RgbImage::from_raw(width, height, bytes).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Full-scale bars with their limited-range codes as the two recommendations give them.
    const CHART: [([u8; 3], [u8; 3], [u8; 3]); 8] = [
        ([255, 255, 255], [235, 128, 128], [235, 128, 128]),
        ([255, 255, 0], [210, 16, 146], [219, 16, 138]),
        ([0, 255, 255], [170, 166, 16], [188, 154, 16]),
        ([0, 255, 0], [145, 54, 34], [173, 42, 26]),
        ([255, 0, 255], [106, 202, 222], [78, 214, 230]),
        ([255, 0, 0], [81, 90, 240], [63, 102, 240]),
        ([0, 0, 255], [41, 240, 110], [32, 240, 118]),
        ([0, 0, 0], [16, 128, 128], [16, 128, 128]),
    ];
    const BAR_PX: usize = 4;

    /// The chart as bars of 4×4 pixels, in one format.
    fn chart(format: PixelFormat, code: impl Fn(usize) -> [u8; 3]) -> Vec<u8> {
        let (w, h) = (8 * BAR_PX, BAR_PX);
        let at = |x: usize| code(x / BAR_PX);
        let plane = |c: usize, across: usize, down: usize| (0..w).step_by(across).map(|x| at(x)[c]).collect::<Vec<u8>>().repeat(h / down);
        let pairs = |order: [usize; 4]| {
            let pair = |x: usize| order.map(|c| at(x)[c]);
            (0..w).step_by(2).flat_map(pair).collect::<Vec<u8>>().repeat(h)
        };
        let both = |first: usize, second: usize, down: usize| {
            let pair = |x: usize| [at(x)[first], at(x)[second]];
            [plane(0, 1, 1), (0..w).step_by(2).flat_map(pair).collect::<Vec<u8>>().repeat(h / down)].concat()
        };
        let pixels = |order: &[usize]| {
            let pixel = |x: usize| order.iter().map(move |&c| if c == 3 { 99 } else { CHART[x / BAR_PX].0[c] });
            (0..w).flat_map(pixel).collect::<Vec<u8>>().repeat(h)
        };
        match format {
            PixelFormat::Yuyv => pairs([0, 1, 0, 2]),
            PixelFormat::Uyvy => pairs([1, 0, 2, 0]),
            PixelFormat::Yvyu => pairs([0, 2, 0, 1]),
            PixelFormat::Vyuy => pairs([2, 0, 1, 0]),
            PixelFormat::Nv12 => both(1, 2, 2),
            PixelFormat::Nv21 => both(2, 1, 2),
            PixelFormat::Nv16 => both(1, 2, 1),
            PixelFormat::Nv61 => both(2, 1, 1),
            PixelFormat::I420 => [plane(0, 1, 1), plane(1, 2, 2), plane(2, 2, 2)].concat(),
            PixelFormat::Yv12 => [plane(0, 1, 1), plane(2, 2, 2), plane(1, 2, 2)].concat(),
            PixelFormat::I411 => [plane(0, 1, 1), plane(1, 4, 1), plane(2, 4, 1)].concat(),
            PixelFormat::I422 => [plane(0, 1, 1), plane(1, 2, 1), plane(2, 2, 1)].concat(),
            PixelFormat::I444 => [plane(0, 1, 1), plane(1, 1, 1), plane(2, 1, 1)].concat(),
            PixelFormat::Rgb24 => pixels(&[0, 1, 2]),
            PixelFormat::Bgr24 => pixels(&[2, 1, 0]),
            PixelFormat::Rgba => pixels(&[0, 1, 2, 3]),
            PixelFormat::Bgra => pixels(&[2, 1, 0, 3]),
            PixelFormat::Grey => plane(0, 1, 1),
        }
    }

    const YUV: [PixelFormat; 13] = {
        use PixelFormat::*;
        [Yuyv, Uyvy, Yvyu, Vyuy, Nv12, Nv21, Nv16, Nv61, I420, Yv12, I411, I422, I444]
    };
    const RGB: [PixelFormat; 4] = [PixelFormat::Rgb24, PixelFormat::Bgr24, PixelFormat::Rgba, PixelFormat::Bgra];

    fn check(format: PixelFormat, matrix: Matrix, range: Range, code: impl Fn(usize) -> [u8; 3]) {
        let layout = Layout::new(format, 8 * BAR_PX as u32, BAR_PX as u32).unwrap();
        let mut picture = RgbImage::new(3, 3);
        YuvDecoder::new(matrix, range).decode(&layout, &chart(format, code), &mut picture).unwrap();
        for (x, y, pixel) in picture.enumerate_pixels() {
            let want = CHART[x as usize / BAR_PX].0;
            let off = pixel.0.iter().zip(want).map(|(&a, b)| a.abs_diff(b)).max().unwrap();
            assert!(off <= 3, "{format:?} {matrix:?} {range:?} at {x},{y}: {:?} instead of {want:?}", pixel.0);
        }
    }

    #[test]
    fn colour_chart_in_each_format() {
        for format in YUV {
            check(format, Matrix::Bt601, Range::Limited, |bar| CHART[bar].1);
            check(format, Matrix::Bt709, Range::Limited, |bar| CHART[bar].2);
            for matrix in [Matrix::Bt601, Matrix::Bt709] {
                let (kr, kb) = matrix.weights();
                check(format, matrix, Range::Full, |bar| {
                    let [r, g, b] = CHART[bar].0.map(f64::from);
                    let y = kr * r + (1.0 - kr - kb) * g + kb * b;
                    [y, 128.0 + (b - y) / (2.0 * (1.0 - kb)), 128.0 + (r - y) / (2.0 * (1.0 - kr))].map(|c| c.round().min(255.0) as u8)
                });
            }
        }
        RGB.iter().for_each(|&format| check(format, Matrix::Bt601, Range::Full, |bar| CHART[bar].0));
    }

    #[test]
    fn padded_lines_show_the_same_picture() {
        let (width, height) = (8, 4);
        for format in YUV.into_iter().chain(RGB).chain([PixelFormat::Grey]) {
            let pad = 12;
            let tight = Layout::new(format, width, height).unwrap();
            let bytes: Vec<u8> = (0..tight.bytes()).map(|i| (i * 37 % 256) as u8).collect();
            let padded = Layout::padded(format, width, height, tight.luma[2] + pad).unwrap();
            let mut wide = vec![99; padded.bytes() + 8];
            let (w, h) = (width as usize, height as usize);
            for row in 0..h {
                let line = tight.luma[2];
                wide[row * padded.luma[2]..][..line].copy_from_slice(&bytes[row * line..][..line]);
            }
            let [sx, sy] = tight.shift;
            if tight.bytes() > tight.luma[2] * h {
                for (plane, row) in [0, 1].into_iter().flat_map(|p| (0..h.div_ceil(1 << sy)).map(move |r| (p, r))) {
                    for x in 0..w.div_ceil(1 << sx) {
                        let at = |layout: &Layout| layout.chroma[plane] + row * layout.chroma[3] + x * layout.chroma[2];
                        wide[at(&padded)] = bytes[at(&tight)];
                    }
                }
            }
            let decoder = YuvDecoder::new(Matrix::Bt601, Range::Full);
            let (mut a, mut b) = (RgbImage::default(), RgbImage::default());
            decoder.decode(&tight, &bytes, &mut a).unwrap();
            decoder.decode(&padded, &wide, &mut b).unwrap();
            assert_eq!(a, b, "{format:?}");
            assert!(Layout::padded(format, width, height, tight.luma[2] - 1).is_err());
        }
    }

    #[test]
    fn odd_sizes_fit_their_chroma() {
        for format in YUV.into_iter().filter(|format| format.packed().is_none()) {
            for (width, height) in [(1, 1), (3, 5), (5, 3)] {
                let layout = Layout::new(format, width, height).unwrap();
                let mut picture = RgbImage::default();
                let bytes = vec![128; layout.bytes()];
                YuvDecoder::new(Matrix::Bt601, Range::Full).decode(&layout, &bytes, &mut picture).unwrap();
                assert!(picture.pixels().all(|p| p.0 == [128; 3]));
                assert!(YuvDecoder::new(Matrix::Bt601, Range::Full).decode(&layout, &bytes[1..], &mut picture).is_err());
            }
        }
        assert!(Layout::new(PixelFormat::Yuyv, 3, 2).is_err() && Layout::new(PixelFormat::Uyvy, 3, 2).is_err());
        assert!(Layout::new(PixelFormat::I420, 0, 2).is_err());
        assert!(Layout::new(PixelFormat::I420, 70000, 2).is_err());
    }
}
