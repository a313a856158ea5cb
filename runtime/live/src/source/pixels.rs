use image::RgbImage;
use rayon::prelude::*;

use super::Fault;

/// Which red, green and blue a luma is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
pub enum PixelFormat {
    /// Three bytes a pixel.
    Rgb24,
    /// Two pixels in four bytes: luma, blue difference, luma, red difference.
    Yuyv,
    /// A luma plane, then both chromas interleaved at half size.
    Nv12,
    /// A luma plane, then two chroma planes at half size.
    I420,
    /// A luma plane, then two chroma planes of half width.
    I422,
    /// Three planes of full size.
    I444,
    /// A luma plane alone.
    Grey,
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
    luma: [usize; 2],   // step, stride
    chroma: [usize; 4], // offset of blue, offset of red, step, stride
    shift: [usize; 2],  // of columns, of rows
}

/// Longest side of a frame; a stream that claims more is refused before memory is taken for it.
const MAX_SIDE_PX: u32 = 16384;

impl Layout {
    /// The layout of frames of this size.
    ///
    /// # Errors
    /// [`Fault::Stream`] if the size is nothing, too large, or odd where the format packs pixels in pairs.
    pub fn new(format: PixelFormat, width: u32, height: u32) -> Result<Self, Fault> {
        let wrong = |expected: &str| Err(Fault::stream("frame size", expected, format!("{width}×{height}")));
        if width == 0 || height == 0 || width > MAX_SIDE_PX || height > MAX_SIDE_PX {
            return wrong("sides of 1 to 16384 pixels");
        }
        if format == PixelFormat::Yuyv && width % 2 == 1 {
            return wrong("an even width, for YUYV");
        }
        let (w, h) = (width as usize, height as usize);
        let (cw, ch, area) = (w.div_ceil(2), h.div_ceil(2), w * h);
        let (bytes, luma, chroma, shift) = match format {
            PixelFormat::Rgb24 => (3 * area, [3, 3 * w], [1, 2, 3, 3 * w], [0, 0]),
            PixelFormat::Yuyv => (2 * area, [2, 2 * w], [1, 3, 4, 2 * w], [1, 0]),
            PixelFormat::Nv12 => (area + 2 * cw * ch, [1, w], [area, area + 1, 2, 2 * cw], [1, 1]),
            PixelFormat::I420 => (area + 2 * cw * ch, [1, w], [area, area + cw * ch, 1, cw], [1, 1]),
            PixelFormat::I422 => (area + 2 * cw * h, [1, w], [area, area + cw * h, 1, cw], [1, 0]),
            PixelFormat::I444 => (3 * area, [1, w], [area, 2 * area, 1, w], [0, 0]),
            PixelFormat::Grey => (area, [1, w], [0, 0, 0, 0], [0, 0]),
        };
        Ok(Self { format, width, height, bytes, luma, chroma, shift })
    }

    /// As [`Self::new`], with lines of `line_bytes` in the first plane, as drivers pad them; 0 stands for lines without padding.
    /// Chroma planes are padded in proportion, as the kernel's `bytesperline` has it.
    ///
    /// # Errors
    /// As [`Self::new`], and if a line is shorter than its pixels.
    pub fn padded(format: PixelFormat, width: u32, height: u32, line_bytes: usize) -> Result<Self, Fault> {
        let tight = Self::new(format, width, height)?;
        let stride = tight.luma[1];
        if line_bytes == 0 || line_bytes == stride {
            return Ok(tight);
        }
        if line_bytes < stride || line_bytes > 16 * MAX_SIDE_PX as usize {
            return Err(Fault::stream("frame layout", format!("lines of {stride} bytes or more"), format!("{line_bytes}")));
        }
        let (h, area) = (height as usize, line_bytes * height as usize);
        let [u_at, v_at, c_step, _] = tight.chroma;
        let lines = |shift: usize| h.div_ceil(1 << shift);
        let (bytes, chroma) = match format {
            PixelFormat::Rgb24 | PixelFormat::Yuyv => (area, [u_at, v_at, c_step, line_bytes]),
            PixelFormat::Grey => (area, tight.chroma),
            PixelFormat::Nv12 => (area + line_bytes * lines(1), [area, area + 1, 2, line_bytes]),
            PixelFormat::I420 | PixelFormat::I422 | PixelFormat::I444 => {
                let (line, lines) = (line_bytes.div_ceil(1 << tight.shift[0]), lines(tight.shift[1]));
                (area + 2 * line * lines, [area, area + line * lines, 1, line])
            }
        };
        Ok(Self { bytes, luma: [tight.luma[0], line_bytes], chroma, ..tight })
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
        if layout.format == PixelFormat::Rgb24 {
            let line = 3 * layout.width as usize;
            let lines = bytes.chunks(layout.luma[1]);
            picture.chunks_exact_mut(line).zip(lines).for_each(|(out, bytes)| out.copy_from_slice(&bytes[..line]));
            return Ok(());
        }
        let ([step, stride], [u_at, v_at, c_step, c_stride], [sx, sy]) = (layout.luma, layout.chroma, layout.shift);
        picture.par_chunks_mut(3 * layout.width as usize).enumerate().for_each(|(row, out)| {
            let luma = &bytes[row * stride..];
            if layout.format == PixelFormat::Grey {
                out.chunks_exact_mut(3).zip(luma).for_each(|(pixel, &y)| pixel.copy_from_slice(&self.rgb(y, 128, 128)));
                return;
            }
            let (u, v) = (&bytes[u_at + (row >> sy) * c_stride..], &bytes[v_at + (row >> sy) * c_stride..]);
            for (x, pixel) in out.chunks_exact_mut(3).enumerate() {
                let c = (x >> sx) * c_step;
                pixel.copy_from_slice(&self.rgb(luma[x * step], u[c], v[c]));
            }
        });
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
        let plane =
            |c: usize, w: usize, h: usize, step: usize| (0..h).flat_map(move |_| (0..w).map(move |x| (x * step, c))).collect::<Vec<_>>();
        let fill = |samples: Vec<(usize, usize)>| samples.into_iter().map(|(x, c)| at(x)[c]).collect::<Vec<u8>>();
        match format {
            PixelFormat::Yuyv => (0..w * h / 2)
                .flat_map(|pair| {
                    let x = 2 * pair % w;
                    [at(x)[0], at(x)[1], at(x + 1)[0], at(x)[2]]
                })
                .collect(),
            PixelFormat::Nv12 => {
                let chroma = (0..w * h / 4).flat_map(|i| [at(2 * i % w)[1], at(2 * i % w)[2]]);
                fill(plane(0, w, h, 1)).into_iter().chain(chroma).collect()
            }
            PixelFormat::I420 => [fill(plane(0, w, h, 1)), fill(plane(1, w / 2, h / 2, 2)), fill(plane(2, w / 2, h / 2, 2))].concat(),
            PixelFormat::I422 => [fill(plane(0, w, h, 1)), fill(plane(1, w / 2, h, 2)), fill(plane(2, w / 2, h, 2))].concat(),
            PixelFormat::I444 => [fill(plane(0, w, h, 1)), fill(plane(1, w, h, 1)), fill(plane(2, w, h, 1))].concat(),
            PixelFormat::Rgb24 => (0..w * h).flat_map(|i| at(i % w)).collect(),
            PixelFormat::Grey => fill(plane(0, w, h, 1)),
        }
    }

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
        for format in [PixelFormat::Yuyv, PixelFormat::Nv12, PixelFormat::I420, PixelFormat::I422, PixelFormat::I444] {
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
        check(PixelFormat::Rgb24, Matrix::Bt601, Range::Full, |bar| CHART[bar].0);
    }

    #[test]
    fn padded_lines_show_the_same_picture() {
        use PixelFormat::{Grey, I420, I422, I444, Nv12, Rgb24, Yuyv};
        let (width, height) = (6, 4);
        for (format, pad) in [(Rgb24, 5), (Yuyv, 4), (Nv12, 10), (I420, 10), (I422, 10), (I444, 7), (Grey, 3)] {
            let tight = Layout::new(format, width, height).unwrap();
            let bytes: Vec<u8> = (0..tight.bytes()).map(|i| (i * 37 % 256) as u8).collect();
            let padded = Layout::padded(format, width, height, tight.luma[1] + pad).unwrap();
            let mut wide = vec![99; padded.bytes() + 8];
            let (w, h) = (width as usize, height as usize);
            for row in 0..h {
                let line = tight.luma[1];
                wide[row * padded.luma[1]..][..line].copy_from_slice(&bytes[row * line..][..line]);
            }
            let [sx, sy] = tight.shift;
            if !matches!(format, Rgb24 | Yuyv | Grey) {
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
            assert!(Layout::padded(format, width, height, tight.luma[1] - 1).is_err());
        }
    }

    #[test]
    fn odd_sizes_fit_their_chroma() {
        for format in [PixelFormat::Nv12, PixelFormat::I420, PixelFormat::I422] {
            for (width, height) in [(1, 1), (3, 5), (5, 3)] {
                let layout = Layout::new(format, width, height).unwrap();
                let mut picture = RgbImage::default();
                let bytes = vec![128; layout.bytes()];
                YuvDecoder::new(Matrix::Bt601, Range::Full).decode(&layout, &bytes, &mut picture).unwrap();
                assert!(picture.pixels().all(|p| p.0 == [128; 3]));
                assert!(YuvDecoder::new(Matrix::Bt601, Range::Full).decode(&layout, &bytes[1..], &mut picture).is_err());
            }
        }
        assert!(Layout::new(PixelFormat::Yuyv, 3, 2).is_err());
        assert!(Layout::new(PixelFormat::I420, 0, 2).is_err());
        assert!(Layout::new(PixelFormat::I420, 70000, 2).is_err());
    }
}
