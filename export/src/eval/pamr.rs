//! Pixel-adaptive mask refinement: masks are smoothed along, not across, the picture's edges.
//!
//! Araslanov and Roth, "Single-Stage Semantic Segmentation from Image Labels", CVPR 2020, section 4.1: with neighbours l of pixel i on
//! rings of several dilations, k(i, l) = -|x_i - x_l| / (w · σ_i), averaged over the colour channels, where σ_i is the standard deviation
//! of the channel over i and its neighbours and w = 0.1; α = softmax of k over l; and each iteration sets m_i = Σ_l α(i, l) · m_l.
//! Pixels beyond the border are those of the border.

use rayon::prelude::*;

/// How masks are refined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pamr {
    /// How often neighbours are mixed.
    pub iterations: usize,
    /// Distances of the rings of eight neighbours, in pixels.
    pub dilations: Vec<usize>,
}

impl Default for Pamr {
    /// As TCL and TTD are evaluated: 10 iterations, dilations 1, 2, 4, 8, 12, 24.
    fn default() -> Self {
        Self { iterations: 10, dilations: vec![1, 2, 4, 8, 12, 24] }
    }
}

const RING: [(isize, isize); 8] = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)];
const SHARPNESS: f32 = 0.1;
/// Keeps flat patches from dividing by nothing.
const FLAT: f32 = 1e-8;

impl Pamr {
    fn offsets(&self) -> Vec<(isize, isize)> {
        self.dilations.iter().flat_map(|&d| RING.map(|(dy, dx)| (dy * d as isize, dx * d as isize))).collect()
    }

    /// Refines masks `[planes, height, width]` by a picture of interleaved channels `[height, width, 3]` in any linear range.
    ///
    /// # Panics
    /// If a slice has not that length, or there is no dilation.
    pub fn refine(&self, picture: &[f32], planes: &mut [f32], height: usize, width: usize) {
        assert_eq!(picture.len(), height * width * 3, "picture");
        assert!(planes.len().is_multiple_of(height * width) && !self.dilations.is_empty(), "planes");
        let offsets = self.offsets();
        let weights = weights(picture, &offsets, height, width);
        let mut next = vec![0.0f32; height * width];
        for plane in planes.chunks_exact_mut(height * width) {
            for _ in 0..self.iterations {
                next.par_chunks_exact_mut(width).enumerate().for_each(|(y, out)| mix_row(&weights, &offsets, plane, out, y, height, width));
                plane.copy_from_slice(&next);
            }
        }
    }

    /// The same by the formula as it is written, one pixel after the other: what [`Self::refine`] is tested against.
    ///
    /// # Panics
    /// As [`Self::refine`].
    pub fn refine_plain(&self, picture: &[f32], planes: &mut [f32], height: usize, width: usize) {
        let offsets = self.offsets();
        let at = |y: usize, x: usize, o: (isize, isize)| {
            let clamp = |v: usize, d: isize, len: usize| (v as isize + d).clamp(0, len as isize - 1) as usize;
            clamp(y, o.0, height) * width + clamp(x, o.1, width)
        };
        let mut alpha = vec![0.0f32; height * width * offsets.len()];
        for y in 0..height {
            for x in 0..width {
                let mut kernel = vec![0.0f32; offsets.len()];
                for channel in 0..3 {
                    let own = picture[(y * width + x) * 3 + channel];
                    let near: Vec<f32> = offsets.iter().map(|o| picture[at(y, x, *o) * 3 + channel]).collect();
                    // The centre belongs to every ring.
                    let all: Vec<f32> = near.iter().copied().chain(std::iter::repeat_n(own, self.dilations.len())).collect();
                    let mean = all.iter().sum::<f32>() / all.len() as f32;
                    let deviation = (all.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / (all.len() - 1) as f32).sqrt();
                    kernel.iter_mut().zip(near).for_each(|(k, v)| *k -= (own - v).abs() / (FLAT + SHARPNESS * deviation) / 3.0);
                }
                let most = kernel.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let total: f32 = kernel.iter().map(|k| (k - most).exp()).sum();
                for (a, k) in alpha[(y * width + x) * offsets.len()..].iter_mut().zip(kernel) {
                    *a = (k - most).exp() / total;
                }
            }
        }
        for plane in planes.chunks_exact_mut(height * width) {
            for _ in 0..self.iterations {
                let before = plane.to_vec();
                for y in 0..height {
                    for x in 0..width {
                        let pixel = y * width + x;
                        plane[pixel] =
                            offsets.iter().enumerate().map(|(l, o)| alpha[pixel * offsets.len() + l] * before[at(y, x, *o)]).sum();
                    }
                }
            }
        }
    }
}

/// α by neighbour, `[offsets, height, width]`.
fn weights(picture: &[f32], offsets: &[(isize, isize)], height: usize, width: usize) -> Vec<f32> {
    let area = height * width;
    let rows: Vec<Vec<f32>> = (0..height)
        .into_par_iter()
        .map(|y| {
            let mut kernel = vec![0.0f32; offsets.len() * width]; // [offsets, width]
            for x in 0..width {
                let own = &picture[(y * width + x) * 3..][..3];
                let rings = (offsets.len() / RING.len()) as f32;
                let (mut sums, mut squares) = ([0.0f32; 3], [0.0f32; 3]);
                // Differences to the centre: their deviation is the values', and they lose no digits.
                for (l, o) in offsets.iter().enumerate() {
                    let near = &picture[neighbour(y, x, *o, height, width) * 3..][..3];
                    for channel in 0..3 {
                        let difference = near[channel] - own[channel];
                        sums[channel] += difference;
                        squares[channel] += difference * difference;
                    }
                    kernel[l * width + x] = 0.0;
                }
                let count = offsets.len() as f32 + rings;
                let scale: [f32; 3] = std::array::from_fn(|c| {
                    let variance = ((squares[c] - sums[c] * sums[c] / count) / (count - 1.0)).max(0.0);
                    1.0 / (FLAT + SHARPNESS * variance.sqrt()) / 3.0
                });
                let mut most = f32::NEG_INFINITY;
                for (l, o) in offsets.iter().enumerate() {
                    let near = &picture[neighbour(y, x, *o, height, width) * 3..][..3];
                    let k = -(0..3).map(|c| (near[c] - own[c]).abs() * scale[c]).sum::<f32>();
                    kernel[l * width + x] = k;
                    most = most.max(k);
                }
                let mut total = 0.0;
                for l in 0..offsets.len() {
                    let e = (kernel[l * width + x] - most).exp();
                    kernel[l * width + x] = e;
                    total += e;
                }
                for l in 0..offsets.len() {
                    kernel[l * width + x] /= total;
                }
            }
            kernel
        })
        .collect();
    let mut all = vec![0.0f32; offsets.len() * area];
    for (y, row) in rows.iter().enumerate() {
        for (l, line) in row.chunks_exact(width).enumerate() {
            all[l * area + y * width..][..width].copy_from_slice(line);
        }
    }
    all
}

fn neighbour(y: usize, x: usize, (dy, dx): (isize, isize), height: usize, width: usize) -> usize {
    let clamp = |v: usize, d: isize, len: usize| v.saturating_add_signed(d).min(len - 1);
    clamp(y, dy, height) * width + clamp(x, dx, width)
}

fn mix_row(weights: &[f32], offsets: &[(isize, isize)], plane: &[f32], out: &mut [f32], y: usize, height: usize, width: usize) {
    out.fill(0.0);
    for (l, &(dy, dx)) in offsets.iter().enumerate() {
        let alpha = &weights[(l * height + y) * width..][..width];
        let source = &plane[y.saturating_add_signed(dy).min(height - 1) * width..][..width];
        // Between these columns the neighbour lies inside, so that the loop has no clamp in it.
        let first = (-dx).max(0).min(width as isize) as usize;
        let last = (width as isize - dx.max(0)).max(first as isize) as usize;
        out[..first].iter_mut().zip(alpha).for_each(|(o, a)| *o += a * source[0]);
        let shifted = &source[first.saturating_add_signed(dx).min(width)..];
        for ((o, a), s) in out[first..last].iter_mut().zip(&alpha[first..last]).zip(shifted) {
            *o += a * s;
        }
        out[last..].iter_mut().zip(&alpha[last..]).for_each(|(o, a)| *o += a * source[width - 1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize, mut seed: u32) -> Vec<f32> {
        (0..len)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 8) as f32 / (1 << 24) as f32
            })
            .collect()
    }

    #[test]
    fn rows_side_by_side_are_the_formula_pixel_by_pixel() {
        for (height, width) in [(1, 1), (1, 9), (7, 3), (20, 31)] {
            let picture = noise(height * width * 3, 7);
            let pamr = Pamr { iterations: 3, dilations: vec![1, 2, 12] };
            let (mut fast, mut plain) = (noise(2 * height * width, 9), noise(2 * height * width, 9));
            pamr.refine(&picture, &mut fast, height, width);
            pamr.refine_plain(&picture, &mut plain, height, width);
            let worst = fast.iter().zip(&plain).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-4, "{height}×{width}: {worst}");
        }
    }

    #[test]
    fn a_mask_keeps_to_the_edges_of_the_picture() {
        // A dark and a bright half; the mask is wrong by two columns.
        let (height, width) = (16, 24);
        let picture: Vec<f32> = (0..height * width).flat_map(|i| [if i % width < 12 { 0.1 } else { 0.9 }; 3]).collect();
        let mut mask: Vec<f32> = (0..height * width).map(|i| if i % width < 14 { 1.0 } else { 0.0 }).collect();
        Pamr { iterations: 40, dilations: vec![1, 2, 4] }.refine(&picture, &mut mask, height, width);
        let row = &mask[8 * width..][..width];
        assert!(row[..12].iter().all(|m| *m > 0.95), "{row:?}");
        assert!(row[12] < 0.5 && row[14] < 0.5, "{row:?}");
    }

    #[test]
    fn what_is_the_same_everywhere_stays() {
        let mut mask = vec![0.25; 30];
        Pamr::default().refine(&noise(90, 3), &mut mask, 5, 6);
        assert!(mask.iter().all(|m| (m - 0.25).abs() < 1e-5));
    }
}
