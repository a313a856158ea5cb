use std::time::Duration;

use image::RgbImage;

/// A picture on its way through the pipeline.
#[derive(Debug, Clone)]
pub struct Frame {
    /// 8-bit RGB, upright.
    pub pixels: RgbImage,
    /// Counts the frames of a source from 0.
    pub sequence: u64,
    /// When it was captured, since the source started.
    pub timestamp: Duration,
}

impl Frame {
    /// A picture that stands alone.
    pub fn still(pixels: RgbImage) -> Self {
        Self { pixels, sequence: 0, timestamp: Duration::ZERO }
    }
}
