//! What was found of each class, in the forms that programs take masks in.

use std::sync::Arc;

use image::GrayImage;

use crate::mask::region::{class_counts, regions};
use crate::{Extent, LabelMap, Segmentation};

/// One class of a [`Segmentation`].
#[derive(Debug, Clone, Copy)]
pub struct FoundClass<'a> {
    found: &'a Segmentation,
    label: u16,
    extent: Extent,
}

impl Segmentation {
    /// Every class that was asked for, in their order, whether it has pixels or not.
    pub fn classes(&self) -> Vec<FoundClass<'_>> {
        let extents = self.labels.extents(self.names.len());
        (1..=u16::MAX).zip(&extents[1..]).map(|(label, &extent)| FoundClass { found: self, label, extent }).collect()
    }

    /// Names of the classes; label k is `names()[k - 1]`.
    pub fn names(&self) -> &Arc<[String]> {
        &self.names
    }

    /// The share of the pixels that belong to no class.
    pub fn background_share(&self) -> f64 {
        self.labels.extents(0)[0].pixels as f64 / self.labels.pixels().max(1) as f64
    }
}

impl<'a> FoundClass<'a> {
    /// Its name.
    pub fn name(&self) -> &'a str {
        &self.found.names[usize::from(self.label) - 1]
    }

    /// Its label in [`Segmentation::labels`].
    pub fn label(&self) -> u16 {
        self.label
    }

    /// The score of its best patch, in 0..1: how sure the model is that the picture shows it at all.
    pub fn score(&self) -> f32 {
        self.found.scores.scores().get(usize::from(self.label) - 1).copied().unwrap_or(0.0)
    }

    /// Pixels of its mask.
    pub fn pixels(&self) -> u64 {
        self.extent.pixels
    }

    /// Their share of the picture, in 0..1.
    pub fn share(&self) -> f64 {
        // A map of one's own may hold more labels than its size says.
        let labels = self.found.labels.labels.len() as u64;
        self.extent.pixels as f64 / self.found.labels.pixels().max(labels).max(1) as f64
    }

    /// The smallest box around its mask, in pixels: left, top, width, height; none without pixels.
    pub fn bounds_px(&self) -> Option<[u32; 4]> {
        self.extent.bounds_px
    }

    /// Its mask as a picture of the frame's size: 255 where it is, 0 elsewhere. Of a map that lacks labels it is empty.
    pub fn bitmap(&self) -> GrayImage {
        let LabelMap { width, height, labels } = &self.found.labels;
        let mask = labels.iter().map(|label| 255 * u8::from(*label == self.label)).collect();
        GrayImage::from_raw(*width, *height, mask).unwrap_or_default()
    }

    /// Its mask as compressed run lengths, the `counts` of COCO's tools for a picture of the frame's height and width.
    pub fn rle(&self) -> String {
        class_counts(&self.alone(), 1).pop().unwrap_or_default()
    }

    /// The outer outline of each connected region, corner by corner along pixel edges. Points within `tolerance_px` of the line between
    /// their neighbours are left out; holes are not in them.
    pub fn polygons(&self, tolerance_px: f64) -> Vec<Vec<[u32; 2]>> {
        let alone = self.alone();
        regions(&alone.labels, alone.width as usize, 1).iter().map(|(_, mask)| mask.outline(tolerance_px)).collect()
    }

    /// The map with this class as the only one, as label 1.
    fn alone(&self) -> LabelMap {
        let LabelMap { width, height, labels } = &self.found.labels;
        LabelMap { width: *width, height: *height, labels: labels.iter().map(|label| u16::from(*label == self.label)).collect() }
    }
}
