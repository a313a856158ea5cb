//! Masks of labels as files of COCO have them: polygons of several parts, and run lengths, compressed or not.

use std::collections::HashMap;

use edge_seg_model::region::{Mask, compress_runs};
use serde::Deserialize;

use super::classes::NOTHING;
use super::label_picture::{LabelPicture, MAX_PIXELS};

/// The masks of one picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Shapes {
    width: u32,
    height: u32,
    /// Category and mask, in the order in which they are drawn.
    shapes: Vec<(u32, Segmentation)>,
}

// Numbers of a file are compared as they were read.
impl Eq for Shapes {}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "expected polygons [[x, y, ...], ...], or run lengths {size, counts}")]
pub(super) enum Segmentation {
    Polygons(Vec<Vec<f64>>),
    Runs {
        size: [u32; 2],
        counts: Counts,
    },
    /// Places of pixels, row by row.
    #[serde(skip)]
    Pixels(Vec<usize>),
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "expected counts as a text or a list of numbers")]
pub(super) enum Counts {
    Text(String),
    Numbers(Vec<u64>),
}

impl Segmentation {
    /// About how large it is.
    pub(super) fn area_px(&self) -> f64 {
        match self {
            Self::Polygons(parts) => parts.iter().map(|part| shoelace(part)).sum(),
            Self::Pixels(pixels) => pixels.len() as f64,
            Self::Runs { counts: Counts::Numbers(runs), .. } => runs.iter().skip(1).step_by(2).map(|run| *run as f64).sum(),
            // What is broken or too large is told when it is drawn.
            Self::Runs { size: [height, width], .. } if u64::from(*height) * u64::from(*width) > MAX_PIXELS => 0.0,
            Self::Runs { size: [height, width], counts: Counts::Text(text) } => {
                Mask::from_counts(text, *width as usize, *height as usize).map_or(0.0, |mask| mask.area() as f64)
            }
        }
    }
}

/// A polygon's area, by the shoelace formula.
fn shoelace(points: &[f64]) -> f64 {
    let corners: Vec<&[f64]> = points.chunks_exact(2).collect();
    let twice: f64 = corners.iter().zip(corners.iter().cycle().skip(1)).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum();
    twice.abs() / 2.0
}

impl Shapes {
    /// Of a picture of this width and height: categories and masks, in the order in which they are drawn.
    pub(super) fn new((width, height): (u32, u32), shapes: Vec<(u32, Segmentation)>) -> Self {
        Self { width, height, shapes }
    }

    /// Width and height in pixels.
    pub(super) fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// What the category of each pixel stands for, 0 where there is none.
    ///
    /// # Errors
    /// What is wrong with a mask.
    pub(super) fn draw(&self, categories: &HashMap<u32, u32>) -> Result<LabelPicture, String> {
        let (width, height) = (self.width as usize, self.height as usize);
        let mut values = vec![categories.get(&NOTHING).copied().unwrap_or(0); width * height];
        for (category, segmentation) in &self.shapes {
            let category = categories.get(category).unwrap_or(category);
            match segmentation {
                Segmentation::Polygons(parts) => {
                    for part in parts {
                        fill(part, width, height, |at| values[at] = *category)?;
                    }
                }
                Segmentation::Pixels(pixels) => {
                    let of = "pixels of another picture's size";
                    pixels.iter().try_for_each(|at| values.get_mut(*at).map(|value| *value = *category)).ok_or(of)?;
                }
                Segmentation::Runs { size, counts } => {
                    if *size != [self.height, self.width] {
                        return Err(format!("run lengths of {}×{} pixels", size[1], size[0]));
                    }
                    match counts {
                        // A mask of nothing.
                        Counts::Text(text) if *text == compress_runs(&[values.len() as u64]) => {}
                        Counts::Text(text) => {
                            let mask = Mask::from_counts(text, width, height).ok_or("run lengths that are not those of the picture")?;
                            let [left, top, wide, high] = mask.bounds_px().map(|v| v as usize);
                            for y in top..top + high {
                                (left..left + wide).filter(|x| mask.contains(*x, y)).for_each(|x| values[y * width + x] = *category);
                            }
                        }
                        Counts::Numbers(runs) => {
                            let total = runs.iter().try_fold(0u64, |sum, run| sum.checked_add(*run));
                            if total != Some(values.len() as u64) {
                                return Err("run lengths that are not those of the picture".into());
                            }
                            let mut at = 0;
                            for (i, run) in runs.iter().enumerate() {
                                if i % 2 == 1 {
                                    (at..at + *run as usize).for_each(|p| values[p % height * width + p / height] = *category);
                                }
                                at += *run as usize;
                            }
                        }
                    }
                }
            }
        }
        Ok(LabelPicture { width: self.width, height: self.height, values })
    }
}

/// Fills the pixels whose centres lie inside a polygon, by the even-odd rule; at least the one in its middle.
fn fill(points: &[f64], width: usize, height: usize, mut set: impl FnMut(usize)) -> Result<(), String> {
    if points.len() < 6 || points.len() % 2 == 1 || points.iter().any(|p| !p.is_finite()) {
        return Err(format!("a polygon of {} numbers, where three points or more are", points.len()));
    }
    let corners: Vec<[f64; 2]> = points.chunks_exact(2).map(|p| [p[0], p[1]]).collect();
    let inside = |value: f64, most: usize| (value.floor().max(0.0) as usize).min(most);
    let bound = |axis: usize, of: fn(f64, f64) -> f64| corners.iter().map(|c| c[axis]).reduce(of).unwrap_or_default();
    let (top, bottom) = (inside(bound(1, f64::min), height), inside(bound(1, f64::max) + 1.0, height));
    let (mut crossings, mut filled) = (Vec::new(), false);
    for y in top..bottom {
        let middle = y as f64 + 0.5;
        crossings.clear();
        for (a, b) in corners.iter().zip(corners.iter().cycle().skip(1)) {
            if (a[1] <= middle) != (b[1] <= middle) {
                crossings.push(a[0] + (middle - a[1]) * (b[0] - a[0]) / (b[1] - a[1]));
            }
        }
        crossings.sort_by(f64::total_cmp);
        for ends in crossings.chunks_exact(2) {
            for x in inside((ends[0] + 0.5).max(0.0), width)..inside((ends[1] + 0.5).max(0.0), width) {
                set(y * width + x);
                filled = true;
            }
        }
    }
    let middle = [bound(0, f64::min) + bound(0, f64::max), bound(1, f64::min) + bound(1, f64::max)].map(|sum| sum / 2.0);
    if !filled && (0.0..=width as f64).contains(&middle[0]) && (0.0..=height as f64).contains(&middle[1]) && width * height > 0 {
        set(inside(middle[1], height - 1) * width + inside(middle[0], width - 1));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(shapes: Vec<(u32, Segmentation)>) -> Result<Vec<String>, String> {
        let drawn = Shapes { width: 6, height: 4, shapes }.draw(&HashMap::new())?;
        Ok(drawn.values.chunks(6).map(|row| row.iter().map(u32::to_string).collect()).collect())
    }

    #[test]
    fn polygons_and_run_lengths_are_drawn() {
        // A ring by its seam, a part of its own, and a polygon that holds no pixel's centre.
        let ring = vec![0.0, 0.0, 4.0, 0.0, 4.0, 4.0, 0.0, 4.0, 0.0, 1.0, 1.0, 1.0, 1.0, 3.0, 3.0, 3.0, 3.0, 1.0, 0.0, 1.0];
        let part = vec![5.0, 0.0, 6.0, 0.0, 6.0, 1.0, 5.0, 1.0];
        let point = vec![5.1, 3.1, 5.2, 3.1, 5.2, 3.2];
        let found = draw(vec![(1, Segmentation::Polygons(vec![ring, part])), (2, Segmentation::Polygons(vec![point]))]).unwrap();
        assert_eq!(found, ["111101", "100100", "100100", "111102"]);
        let runs = |counts| Segmentation::Runs { size: [4, 6], counts };
        let found = draw(vec![(3, runs(Counts::Numbers(vec![2, 3, 19])))]);
        assert_eq!(found.unwrap(), ["030000", "000000", "300000", "300000"].map(String::from).to_vec(), "columns first");
        let labels: Vec<u16> = (0..24).map(|i| u16::from(i % 5 == 0)).collect();
        for (_, mask) in edge_seg_model::region::regions(&labels, 6, 1) {
            let found = draw(vec![(4, runs(Counts::Text(mask.counts(6, 4))))]).unwrap().concat();
            assert!(found.chars().enumerate().all(|(i, c)| (c == '4') == mask.contains(i % 6, i / 6)), "{found}");
        }
        // Nothing, as pycocotools writes it.
        for nothing in [Counts::Text("h0".into()), Counts::Numbers(vec![24])] {
            assert_eq!(draw(vec![(1, runs(nothing))]).unwrap(), ["000000"; 4].map(String::from).to_vec());
        }
        for broken in [vec![2, 3], vec![24, u64::MAX]] {
            assert!(draw(vec![(1, runs(Counts::Numbers(broken)))]).is_err());
        }
        assert!(draw(vec![(1, Segmentation::Polygons(vec![vec![1.0, 2.0]]))]).is_err());
        assert!(draw(vec![(1, Segmentation::Polygons(vec![vec![f64::NAN; 6]]))]).is_err());
    }
}
