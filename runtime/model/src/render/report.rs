use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::hide::{Hidden, Whole};
use crate::mask::region::{class_counts, class_outlines};
use crate::{Extent, LabelMap, Segmentation, Timings};

/// Raised when a field of what is told as JSON changes or goes. One that is added leaves it. `docs/json.md` has them all.
pub const JSON_VERSION: u32 = 1;

/// [`JSON_VERSION`], as the field of what is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JsonVersion;

impl Serialize for JsonVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(JSON_VERSION)
    }
}

/// What is told of a picture, as one JSON line.
#[derive(Debug, Serialize)]
pub struct SegmentReport {
    /// Of the fields.
    pub version: JsonVersion,
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
    /// What is hidden in the overlay, where something was asked to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<HiddenReport>,
}

/// What is told of what is hidden in a picture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HiddenReport {
    /// Share of the pixels.
    pub share: f64,
    /// How old the masks were that it was hidden by.
    pub age_ms: f64,
    /// Why all of it is hidden, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole: Option<Whole>,
}

impl From<&Hidden> for HiddenReport {
    fn from(hidden: &Hidden) -> Self {
        Self { share: hidden.share, age_ms: Milliseconds::rounded(hidden.age), whole: hidden.whole }
    }
}

/// What is told of a class.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
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
    /// How many things of it there are, where they are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
    /// Left, top, width, height of the box around them, in pixels; null without any.
    #[serde(rename = "box")]
    pub bounds_px: Option<[u32; 4]>,
    /// The mask itself, where it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segmentation: Option<MaskReport>,
}

/// A class's mask, as COCO's files have it in `segmentation`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum MaskReport {
    /// Compressed run lengths: exact.
    Rle {
        /// Height and width of the picture.
        size: [u32; 2],
        /// As COCO's `maskApi.c` writes them.
        counts: String,
    },
    /// Outlines of its connected regions, x and y in turn, in pixels; holes hang on seams.
    Polygons(Vec<Vec<f64>>),
}

/// How masks are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MaskStyle {
    /// As run lengths.
    Rle,
    /// As outlines.
    Polygons,
}

/// Points this near to the line between their neighbours are left out: no pixel's centre changes sides by it.
const OUTLINE_TOLERANCE_PX: f64 = 0.25;

impl MaskReport {
    /// The mask of every class but the background. `[classes]`
    pub fn list(map: &LabelMap, classes: usize, style: MaskStyle) -> Vec<Self> {
        match style {
            MaskStyle::Rle => {
                let size = [map.height, map.width];
                class_counts(map, classes).into_iter().map(|counts| Self::Rle { size, counts }).collect()
            }
            MaskStyle::Polygons => {
                let outlines = class_outlines(map, classes, 1, OUTLINE_TOLERANCE_PX);
                let hundredths = |value: f64| (100.0 * value).round() / 100.0;
                let flat =
                    |regions: Vec<Vec<[f64; 2]>>| regions.into_iter().map(|r| r.into_iter().flatten().map(hundredths).collect()).collect();
                outlines.into_iter().map(|regions| Self::Polygons(flat(regions))).collect()
            }
        }
    }
}

/// Milliseconds spent in each stage.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[non_exhaustive]
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
    /// A time in milliseconds, to the microsecond.
    pub fn rounded(time: Duration) -> f64 {
        (time.as_secs_f64() * 1e6).round() / 1e3
    }

    /// The times of a picture's stages, to the microsecond.
    pub fn new(read: Duration, timings: &Timings) -> Self {
        let ms = Self::rounded;
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
    /// What is told of a class by its label, its name, its score and where it lies in a picture of so many pixels.
    pub fn new(label: usize, name: impl Into<String>, score: f32, extent: Extent, of_pixels: u64) -> Self {
        let Extent { pixels, bounds_px } = extent;
        let share = pixels as f64 / of_pixels.max(1) as f64;
        Self { label, name: name.into(), score, pixels, share, count: None, bounds_px, segmentation: None }
    }

    /// One report for each of `names`, from a segmentation by these classes.
    pub fn list(names: &[String], found: &Segmentation) -> (Vec<Self>, f64) {
        let pixels = found.labels.pixels();
        let extents = found.labels.extents(names.len());
        let list = names
            .iter()
            .zip(found.scores.scores())
            .zip(&extents[1..])
            .enumerate()
            .map(|(i, ((name, &score), extent))| Self::new(i + 1, name, score, *extent, pixels))
            .collect();
        (list, extents[0].pixels as f64 / pixels.max(1) as f64)
    }
}
