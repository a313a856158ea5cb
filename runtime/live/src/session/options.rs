use edge_seg_model::propagation::PropagationOptions;

use super::governor::GovernorOptions;
use crate::source::Pace;

/// How video is segmented.
#[derive(Debug, Clone)]
pub struct LiveOptions {
    /// What happens when frames come faster than they can be segmented.
    pub pace: Pace,
    /// Which frames the encoder runs on.
    pub keys: KeyFrames,
    /// How masks get to the frames between, and how they are smoothed.
    pub carry: PropagationOptions,
    /// Whether another scene makes a key frame of its own, and what was smoothed is forgotten there.
    pub scene_cuts: bool,
    /// Lowers rate and size while the board is hot; none lets it run as it is.
    pub governor: Option<GovernorOptions>,
}

impl Default for LiveOptions {
    /// Every frame is a key frame, nothing is smoothed, nobody governs.
    fn default() -> Self {
        let (keys, carry) = (KeyFrames::Every(1), PropagationOptions::default());
        Self { pace: Pace::Auto, keys, carry, scene_cuts: true, governor: None }
    }
}

/// Which frames the encoder runs on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum KeyFrames {
    /// Every so many frames of the source, 1 or more. Frames wait for their encoder.
    Every(u64),
    /// As often as this share of the time allows, above 0 and up to 1. The encoder works beside, and every frame has its masks at once,
    /// carried from the last frame that it is through with.
    Auto {
        /// Share of the time in which the encoder works.
        share: f32,
    },
}
