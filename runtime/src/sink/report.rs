use serde::Serialize;

use crate::{Extent, Segmentation, Timings};

/// What is told of a picture, as one JSON line.
#[derive(Debug, Serialize)]
pub struct SegmentReport {
    /// The picture.
    pub input: String,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
    /// Every class that was asked for, in their order.
    pub classes: Vec<ClassReport>,
    /// Share of the pixels that belong to no class.
    pub background_share: f64,
    /// Time of each stage.
    pub milliseconds: Milliseconds,
    /// What ran the encoders.
    pub backend: &'static str,
    /// Which kernels scored and drew.
    pub kernels: &'static str,
}

/// What is told of a class.
#[derive(Debug, Serialize)]
pub struct ClassReport {
    /// Its label in the mask.
    pub label: usize,
    /// Its name.
    pub name: String,
    /// Score of its best patch, in 0..1.
    pub score: f32,
    /// Pixels of its mask.
    pub pixels: u64,
    /// Their share of the picture.
    pub share: f64,
    /// Left, top, width, height of the box around them, in pixels; null without any.
    #[serde(rename = "box")]
    pub bounds_px: Option<[u32; 4]>,
}

/// Milliseconds spent in each stage.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Milliseconds {
    /// Reading and decoding.
    pub read: f64,
    /// Resize and normalise.
    pub prepare: f64,
    /// Making the encoder's plan for a new input size.
    pub plan: f64,
    /// Image encoder.
    pub encode: f64,
    /// Pixel-tag scores.
    pub score: f64,
    /// Upsampling to labels.
    pub mask: f64,
}

impl Milliseconds {
    /// Rounds to microseconds.
    pub fn new(read: std::time::Duration, timings: &Timings) -> Self {
        let ms = |d: std::time::Duration| (d.as_secs_f64() * 1e6).round() / 1e3;
        Self {
            read: ms(read),
            prepare: ms(timings.prepare),
            plan: ms(timings.plan),
            encode: ms(timings.encode),
            score: ms(timings.score),
            mask: ms(timings.mask),
        }
    }
}

impl ClassReport {
    /// One report for each of `names`, from a segmentation by these classes.
    pub fn list(names: &[String], found: &Segmentation) -> (Vec<Self>, f64) {
        let pixels = found.labels.pixels() as f64;
        let extents = found.labels.extents(names.len());
        let share = |extent: &Extent| extent.pixels as f64 / pixels;
        let list = names
            .iter()
            .zip(found.scores.scores())
            .zip(&extents[1..])
            .enumerate()
            .map(|(i, ((name, &score), extent))| Self {
                label: i + 1,
                name: name.clone(),
                score,
                pixels: extent.pixels,
                share: share(extent),
                bounds_px: extent.bounds_px,
            })
            .collect();
        (list, share(&extents[0]))
    }
}
