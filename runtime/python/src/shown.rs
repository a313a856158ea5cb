use std::sync::Arc;

use edge_seg::hide::ShownFrame;
use edge_seg::image::RgbImage;
use edge_seg::live::SegmentedFrame;

/// The frame that masks are of.
#[derive(Clone)]
pub enum Picture {
    Still(Arc<ShownFrame>),
    Live(Arc<SegmentedFrame>),
}

impl Picture {
    pub fn frame(&self) -> &ShownFrame {
        match self {
            Self::Still(frame) => frame,
            Self::Live(shown) => &shown.frame,
        }
    }

    pub fn pixels(&self) -> &RgbImage {
        &self.frame().pixels
    }

    /// What is hidden of the frame, of a picture that says so.
    pub fn cover(&self) -> Option<&edge_seg::hide::Hidden> {
        self.frame().hidden()
    }

    /// Colours of the labels from 1, where somebody chose them.
    pub fn colours(&self) -> Vec<[u8; 3]> {
        match self {
            Self::Still(_) => Vec::new(),
            Self::Live(shown) => shown.words.colours(),
        }
    }
}
