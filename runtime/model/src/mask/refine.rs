//! Edge-aware refinement of masks at low resolution: the scores are brought to a finer grid and smoothed along the picture's own colours
//! by the guided filter (He, Sun and Tang 2010, with a guide of three channels, Eq. 19 to 21), before the largest is upsampled to pixels.

use edge_seg_kernels::{Columns, Planes, Scratch, Tap, kernels};
use image::RgbImage;
use rayon::prelude::*;

use crate::input::{Placement, resize};
use crate::{Error, Result, ScoreGrid};
use edge_seg_bundle::Interpolation;

/// Cells of the finer grid along the side of a patch.
pub(crate) const CELLS: usize = 4;
/// Half the filter's window, in cells: a window sees one patch to each side.
const RADIUS: usize = 4;
/// Variance of colour, in 0..1, below which the picture is flat and scores are only smoothed.
const EPSILON: f32 = 1e-3;

/// Refined scores of the classes that win somewhere.
pub(crate) struct Refined {
    /// The label of each plane.
    pub(crate) labels: Vec<u16>,
    /// `[labels, rows · CELLS, cols · CELLS]`
    pub(crate) planes: Vec<f32>,
}

/// Refines the scores that win anywhere by themselves; no other class can gain a pixel.
///
/// # Errors
/// [`Error::Tensor`] if the scores are empty or the picture has no pixels.
pub(crate) fn refine(scores: &ScoreGrid, placement: &Placement, picture: &RgbImage) -> Result<Refined> {
    let (rows, cols) = (scores.rows(), scores.cols());
    let (fine_rows, fine_cols) = (rows * CELLS, cols * CELLS);
    let classes = 1 + scores.scores().len();
    let planes = Planes::new(scores.planes(), classes, rows, cols).ok_or_else(|| Error::Tensor {
        what: "scores".into(),
        expected: "at least one patch".into(),
        found: format!("{rows}×{cols}"),
    })?;
    let (row_taps, col_taps) = (Tap::line(rows, fine_rows), Tap::line(cols, fine_cols));
    let mut winners = vec![0u16; fine_rows * fine_cols];
    kernels().upsample_argmax(&planes, &row_taps, &Columns::new(col_taps.clone()), &mut Scratch::default(), &mut winners);
    winners.sort_unstable();
    winners.dedup();
    let labels = winners;
    let guide = Guide::new(picture, placement, fine_rows, fine_cols)?;
    let mut refined = vec![0.0; labels.len() * fine_rows * fine_cols];
    refined.par_chunks_mut(fine_rows * fine_cols).zip(&labels).for_each(|(fine, &label)| {
        let plane = &scores.planes()[usize::from(label) * rows * cols..][..rows * cols];
        for (fine, row) in fine.chunks_exact_mut(fine_cols).zip(&row_taps) {
            for (value, col) in fine.iter_mut().zip(&col_taps) {
                let at = |row: u32, col: u32| plane[row as usize * cols + col as usize];
                let blend = |tap: &Tap, lo: f32, hi: f32| lo * (1.0 - tap.weight) + hi * tap.weight;
                *value = blend(row, blend(col, at(row.lo, col.lo), at(row.lo, col.hi)), blend(col, at(row.hi, col.lo), at(row.hi, col.hi)));
            }
        }
        guide.filter(fine);
    });
    Ok(Refined { labels, planes: refined })
}

/// The picture on the fine grid, with what the filter needs of it for every plane.
struct Guide {
    rows: usize,
    cols: usize,
    channels: [Vec<f32>; 3],
    means: [Vec<f32>; 3],
    /// The inverse of each window's covariance plus `EPSILON`: rr, rg, rb, gg, gb, bb.
    inverse: [Vec<f32>; 6],
}

const PAIRS: [(usize, usize); 6] = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)];

impl Guide {
    fn new(picture: &RgbImage, placement: &Placement, rows: usize, cols: usize) -> Result<Self> {
        let cells = |scaled_px: u32, most: usize| (scaled_px as usize * CELLS).div_ceil(placement.patch_px as usize).clamp(1, most);
        let (width, height) = (cells(placement.scaled_px.0, cols), cells(placement.scaled_px.1, rows));
        let small = resize(picture, width as u32, height as u32, Interpolation::Bilinear)?;
        let channel = |c: usize| -> Vec<f32> {
            // Cells beyond the picture, in a letterbox, continue its border.
            let cell = |row: usize, col: usize| f32::from(small[(row.min(height - 1) * width + col.min(width - 1)) * 3 + c]) / 255.0;
            (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))).map(|(row, col)| cell(row, col)).collect()
        };
        let channels = [channel(0), channel(1), channel(2)];
        let mean = |values: &[f32]| box_mean(values, rows, cols);
        let means = channels.each_ref().map(|channel| mean(channel));
        let covariance = PAIRS.map(|(a, b)| {
            let products: Vec<f32> = channels[a].iter().zip(&channels[b]).map(|(a, b)| a * b).collect();
            let mut found = mean(&products);
            let of_means = means[a].iter().zip(&means[b]);
            found.iter_mut().zip(of_means).for_each(|(value, (x, y))| *value += if a == b { EPSILON } else { 0.0 } - x * y);
            found
        });
        let mut inverse = covariance;
        for at in 0..rows * cols {
            let inverted = invert(inverse.each_ref().map(|values| values[at]));
            inverse.iter_mut().zip(inverted).for_each(|(values, value)| values[at] = value);
        }
        Ok(Self { rows, cols, channels, means, inverse })
    }

    /// Replaces a plane by what is linear in the guide around each cell and closest to it.
    fn filter(&self, plane: &mut [f32]) {
        let (low, high) = plane.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)));
        // A plane that is level everywhere (a threshold) stays as it is; "never" would swallow every sum.
        if high - low <= f32::EPSILON * high.abs() || low < -1e6 || !high.is_finite() {
            return;
        }
        let mean = |values: &[f32]| box_mean(values, self.rows, self.cols);
        let mean_plane = mean(plane);
        let covariance = [0, 1, 2].map(|c| {
            let products: Vec<f32> = self.channels[c].iter().zip(&*plane).map(|(a, b)| a * b).collect();
            let mut found = mean(&products);
            found.iter_mut().zip(self.means[c].iter().zip(&mean_plane)).for_each(|(value, (x, y))| *value -= x * y);
            found
        });
        let mut slopes = [0, 1, 2].map(|_| vec![0.0; plane.len()]);
        let mut offset = mean_plane;
        for at in 0..plane.len() {
            let [rr, rg, rb, gg, gb, bb] = self.inverse.each_ref().map(|values| values[at]);
            let [r, g, b] = covariance.each_ref().map(|values| values[at]);
            let slope = [rr * r + rg * g + rb * b, rg * r + gg * g + gb * b, rb * r + gb * g + bb * b];
            for (c, slope) in slope.into_iter().enumerate() {
                slopes[c][at] = slope;
                offset[at] -= slope * self.means[c][at];
            }
        }
        plane.copy_from_slice(&mean(&offset));
        for (channel, slopes) in self.channels.iter().zip(&slopes) {
            plane.iter_mut().zip(channel.iter().zip(mean(slopes))).for_each(|(value, (guide, slope))| *value += slope * guide);
        }
    }
}

/// The inverse of a symmetric, positive definite matrix: rr, rg, rb, gg, gb, bb.
fn invert([rr, rg, rb, gg, gb, bb]: [f32; 6]) -> [f32; 6] {
    let cofactors = [gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb, rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg];
    let determinant = rr * cofactors[0] + rg * cofactors[1] + rb * cofactors[2];
    cofactors.map(|cofactor| cofactor / determinant)
}

/// The mean over each cell's window, cut at the borders. `[rows, cols]`
fn box_mean(values: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let mut across = vec![0.0; values.len()];
    for (row, out) in values.chunks_exact(cols).zip(across.chunks_exact_mut(cols)) {
        for (col, out) in out.iter_mut().enumerate() {
            let window = &row[col.saturating_sub(RADIUS)..cols.min(col + RADIUS + 1)];
            *out = window.iter().sum::<f32>() / window.len() as f32;
        }
    }
    let mut down = vec![0.0; values.len()];
    for (row, out) in down.chunks_exact_mut(cols).enumerate() {
        let window = row.saturating_sub(RADIUS)..rows.min(row + RADIUS + 1);
        let share = 1.0 / window.len() as f32;
        for other in window {
            out.iter_mut().zip(&across[other * cols..][..cols]).for_each(|(out, value)| *out += value * share);
        }
    }
    down
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Background, Class, LabelMap, PatchGrid, Scoring, UnitRows, WordBank, score};
    use edge_seg_bundle::{ImageManifest, Positions};

    fn placement(width: u32, height: u32) -> Placement {
        let mut image = ImageManifest::new("", 16, 64, Positions::new("", 1, 1, 1));
        (image.interpolation, image.mean, image.std) = (Interpolation::Bilinear, [0.5; 3], [0.5; 3]);
        Placement::new((width, height), &image, 64).unwrap()
    }

    #[test]
    fn an_inverse_is_one() {
        let m = [2.0, 0.3, -0.4, 1.5, 0.2, 0.9];
        let n = invert(m);
        let full = |m: [f32; 6]| [[m[0], m[1], m[2]], [m[1], m[3], m[4]], [m[2], m[4], m[5]]];
        for (i, row) in full(m).iter().enumerate() {
            for j in 0..3 {
                let product: f32 = (0..3).map(|k| row[k] * full(n)[k][j]).sum();
                assert!((product - f32::from(u8::from(i == j))).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn means_are_cut_at_borders() {
        let found = box_mean(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0], 1, 12);
        assert_eq!((found[0], found[6], found[11]), (2.0, 6.0, 9.0));
    }

    /// A picture with an edge that lies across the patches' own borders, and scores that know it only by patch.
    #[test]
    fn borders_move_to_the_pictures_edge() {
        const EDGE: u32 = 36;
        let picture = RgbImage::from_fn(64, 64, |x, _| image::Rgb(if x < EDGE { [40, 60, 90] } else { [210, 180, 90] }));
        // Patches left of the third column belong to the first word; the third holds the edge and is half way.
        let patches: Vec<f32> = (0..16).flat_map(|i| [[1.0, 0.0], [1.0, 0.0], [0.3, 1.0], [0.0, 1.0]][i % 4]).collect();
        let grid = PatchGrid::new(4, 4, 2, patches, vec![1.0, 1.0]).unwrap();
        let words = UnitRows::normalise("words", 2, vec![1.0, 0.0, 0.0, 1.0]).unwrap();
        let bank = WordBank::new(&[Class::word("left"), Class::word("right")], 0, words).unwrap();
        let scores = score(&grid, &bank, Scoring { scale: 10.0, bias: Some(0.0) }, Background::None).unwrap();
        let wrong = |map: &LabelMap| map.labels.iter().enumerate().filter(|(i, label)| (**label == 1) != ((*i as u32) % 64 < EDGE)).count();
        let placement = placement(64, 64);
        let plain = LabelMap::from_scores(&scores, &placement).unwrap();
        let refined = LabelMap::refined(&scores, &placement, &picture).unwrap();
        assert!(wrong(&refined) * 2 < wrong(&plain), "{} wrong pixels, {} before", wrong(&refined), wrong(&plain));
        let flat = LabelMap::refined(&scores, &placement, &RgbImage::new(64, 64)).unwrap();
        assert!(flat.labels.iter().all(|label| (1..=2).contains(label)), "a flat picture has both words and no background");
    }

    #[test]
    fn a_letterbox_and_a_threshold_are_kept() {
        let patches: Vec<f32> = (0..16).flat_map(|i| if i % 4 < 2 { [1.0, 0.1] } else { [-0.2, 1.0] }).collect();
        let grid = PatchGrid::new(4, 4, 2, patches, vec![1.0, 1.0]).unwrap();
        let words = UnitRows::normalise("words", 2, vec![1.0, 0.0]).unwrap();
        let bank = WordBank::new(&[Class::word("left")], 0, words).unwrap();
        let scores = score(&grid, &bank, Scoring { scale: 10.0, bias: Some(-5.0) }, Background::Threshold(0.5)).unwrap();
        let placement = Placement { frame_px: (50, 41), scaled_px: (60, 50), input_px: (64, 64), patch_px: 16 };
        let map = LabelMap::refined(&scores, &placement, &RgbImage::new(50, 41)).unwrap();
        assert_eq!(map.labels.len(), 50 * 41);
        assert!(map.labels.contains(&0) && map.labels.contains(&1) && map.labels[0] == 1 && map.labels[49] == 0);
    }
}
