use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::Cover;

/// What is put in place of what is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum HideBy {
    /// One dark grey: nothing but the place is left.
    #[default]
    Fill,
    /// Squares of their mean colour, a sixteenth of the picture's short side or larger, so that there are no more than 48 of them.
    Pixelate,
    /// The same means, with soft passages between.
    Blur,
}

impl HideBy {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fill => "fill",
            Self::Pixelate => "pixelate",
            Self::Blur => "blur",
        }
    }
}

/// What is filled in.
const GREY: u8 = 40;
/// Squares along a picture's short side.
const SHORT: u32 = 16;
/// Most squares that stand for what is hidden: far too few for a face.
const MOST: f64 = 48.0;
/// Smallest side of a square in pixels.
const LEAST_PX: usize = 4;
/// Pixels along a square's side that its mean is taken of.
const SAMPLES: usize = 8;

/// Takes what is covered out of a picture.
pub(super) fn hide(picture: &mut RgbImage, cover: &Cover, by: HideBy) {
    let width = picture.width() as usize;
    if by == HideBy::Fill {
        return each_run(picture, cover, |pixels, _, _| pixels.fill(GREY));
    }
    let share = cover.share();
    if share == 0.0 {
        return;
    }
    let squares = Squares::of(picture, share);
    if by == HideBy::Pixelate {
        return each_run(picture, cover, |mut pixels, x, y| {
            let mut x = x;
            while !pixels.is_empty() {
                let end = (x / squares.side + 1) * squares.side;
                let now = pixels.split_off_mut(..pixels.len().min(3 * (end - x))).unwrap_or_default();
                now.as_chunks_mut::<3>().0.fill(squares.mean(x / squares.side, y / squares.side));
                x = end;
            }
        });
    }
    let mut line = Vec::new();
    let mut drawn = None;
    each_run(picture, cover, |pixels, x, y| {
        // Passages are soft enough for two lines to be alike.
        if drawn.replace(y / 2) != Some(y / 2) {
            squares.blurred(y, width, &mut line);
        }
        pixels.copy_from_slice(&line[3 * x..][..pixels.len()]);
    });
}

/// Each run of covered pixels in a line, with the place of its first one.
fn each_run(picture: &mut RgbImage, cover: &Cover, mut change: impl FnMut(&mut [u8], usize, usize)) {
    let width = picture.width() as usize;
    let pixels: &mut [u8] = picture;
    for (lines, runs) in cover.lines() {
        for y in lines {
            let line = &mut pixels[3 * y * width..][..3 * width];
            runs.clone().for_each(|run| change(&mut line[3 * run.start..3 * run.end], run.start, y));
        }
    }
}

/// A picture's mean colours in squares.
struct Squares {
    side: usize,
    cols: usize,
    rows: usize,
    means: Vec<[u8; 3]>, // [rows, cols]
}

impl Squares {
    /// Squares so large that `share` of the picture has no more than are allowed.
    fn of(picture: &RgbImage, share: f64) -> Self {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let mut side = (picture.width().min(picture.height()).div_ceil(SHORT) as usize).max(LEAST_PX);
        // In few steps, so that squares stand still while something comes closer.
        while share * width as f64 * height as f64 / (side * side) as f64 > MOST {
            side *= 2;
        }
        let (cols, rows) = (width.div_ceil(side), height.div_ceil(side));
        let step = side.div_ceil(SAMPLES);
        let pixels = picture.as_raw();
        let mean = |col: usize, row: usize| {
            let (mut sum, mut count) = ([0u32; 3], 0);
            for y in (row * side..((row + 1) * side).min(height)).step_by(step) {
                let line = &pixels[3 * (y * width + col * side)..3 * (y * width + ((col + 1) * side).min(width))];
                for pixel in line.chunks_exact(3).step_by(step) {
                    sum.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += u32::from(*value));
                    count += 1;
                }
            }
            sum.map(|sum| (sum / count.max(1)) as u8)
        };
        let means = (0..rows).flat_map(|row| (0..cols).map(move |col| (col, row))).map(|(col, row)| mean(col, row)).collect();
        Self { side, cols, rows, means }
    }

    fn mean(&self, col: usize, row: usize) -> [u8; 3] {
        self.means[row * self.cols + col]
    }

    /// A line of pixels between the means, which stand for the centres of their squares.
    fn blurred(&self, y: usize, width: usize, line: &mut Vec<u8>) {
        let (above, below, v) = self.around(y, self.rows);
        // With 8 bits behind the point, and 16 once they are weighted along the line.
        let down = |col: usize| {
            let (above, below) = (self.mean(col, above), self.mean(col, below));
            [0, 1, 2].map(|c| i32::from(above[c]) * (256 - v) + i32::from(below[c]) * v)
        };
        line.resize(3 * width, 0);
        let half = self.side / 2;
        let (first, rest) = line.split_at_mut(3 * half.min(width));
        let plain = |pixels: &mut [u8], colour: [i32; 3]| pixels.as_chunks_mut::<3>().0.fill(colour.map(|c| (c >> 8) as u8));
        plain(first, down(0));
        for (col, pixels) in rest.chunks_mut(3 * self.side).enumerate() {
            let (left, right) = (down(col), down((col + 1).min(self.cols - 1)));
            let step = [0, 1, 2].map(|c| ((right[c] - left[c]) << 8) / self.side as i32);
            let mut value = left.map(|c| c << 8);
            for pixel in pixels.as_chunks_mut::<3>().0 {
                *pixel = value.map(|c| (c >> 16) as u8);
                value = [0, 1, 2].map(|c| value[c] + step[c]);
            }
        }
    }

    /// The two squares around a place, and the weight of the second one in 256 parts.
    fn around(&self, at: usize, count: usize) -> (usize, usize, i32) {
        let behind = at.saturating_sub(self.side / 2);
        let (low, part) = ((behind / self.side).min(count - 1), 256 * (behind % self.side) / self.side);
        (low, (low + 1).min(count - 1), part as i32)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// No two pixels are alike within a square.
    fn noise(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let n = (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503)).wrapping_mul(2_246_822_519);
            image::Rgb([n as u8, (n >> 8) as u8, (n >> 16) as u8])
        })
    }

    #[test]
    fn what_is_covered_is_gone_and_nothing_else_is_touched() {
        for (width, height) in [(1, 1), (3, 50), (64, 48), (121, 133), (640, 360), (1280, 720)] {
            let before = noise(width, height);
            for by in [HideBy::Fill, HideBy::Pixelate, HideBy::Blur] {
                let mut cover = Cover::none((width, height));
                cover.add([0.3, 0.4, 0.6, 0.9]);
                let mut after = before.clone();
                hide(&mut after, &cover, by);
                let (mut same, mut hidden) = (0, 0);
                for (x, y, pixel) in after.enumerate_pixels() {
                    if cover.hides(x, y) {
                        hidden += 1;
                        same += u32::from(pixel == before.get_pixel(x, y));
                    } else {
                        assert_eq!(pixel, before.get_pixel(x, y), "{by:?} {width}×{height}: {x}, {y}");
                    }
                }
                assert!(hidden > 0 && (width * height == 1 || same * 20 <= hidden), "{by:?} {width}×{height}: {same} of {hidden} are left");
            }
        }
    }

    #[test]
    fn few_squares_stand_for_whatever_is_hidden() {
        let cover = Cover::whole((640, 360));
        let mut after = noise(640, 360);
        hide(&mut after, &cover, HideBy::Pixelate);
        let colours: HashSet<_> = after.pixels().collect();
        assert!((4..=48).contains(&colours.len()), "{} colours", colours.len());
    }

    #[test]
    fn a_blur_of_one_colour_is_that_colour_and_means_are_where_their_squares_are() {
        let one = RgbImage::from_pixel(200, 130, image::Rgb([7, 130, 255]));
        for by in [HideBy::Pixelate, HideBy::Blur] {
            let mut after = one.clone();
            hide(&mut after, &Cover::whole((200, 130)), by);
            assert!(
                after.pixels().all(|pixel| pixel.0.iter().zip([7, 130, 255]).all(|(found, want): (&u8, u8)| found.abs_diff(want) <= 1))
            );
        }
        // Left half black, right half white: a passage from the one to the other, without a step of more than a square's.
        let mut after = RgbImage::from_fn(640, 360, |x, _| image::Rgb([if x < 320 { 0 } else { 255 }; 3]));
        hide(&mut after, &Cover::whole((640, 360)), HideBy::Blur);
        let line: Vec<u8> = (0..640).map(|x| after.get_pixel(x, 200).0[0]).collect();
        assert!(
            line[0] == 0 && line[639] >= 254 && line.windows(2).all(|w| (0..=8).contains(&(i32::from(w[1]) - i32::from(w[0])))),
            "{line:?}"
        );
    }
}
