use std::sync::Arc;
use std::time::Duration;

use edge_seg_model::hide::ShownFrame;
use edge_seg_model::{Encoded, Segmentation};

use super::governor::Governed;
use crate::source::Rate;
use crate::things::Things;
use crate::words::WordSet;

/// A frame with its masks.
#[derive(Debug)]
#[non_exhaustive]
pub struct SegmentedFrame {
    /// The frame, without what is to be hidden.
    pub frame: ShownFrame,
    /// Its masks.
    pub found: Segmentation,
    /// The things that they show, where things are followed.
    pub things: Option<Things>,
    /// The words that they are of.
    pub words: Arc<WordSet>,
    /// Whether its masks come from its own embeddings.
    pub key: bool,
    /// The frame that its masks come from.
    pub key_sequence: u64,
    /// That frame's embeddings.
    pub encoded: Arc<Encoded>,
    /// That frame itself, where it was encoded beside the others ([`KeyFrames::Auto`](super::KeyFrames::Auto)) in a session that hides
    /// nothing.
    pub key_frame: Option<Arc<ShownFrame>>,
    /// How old what the masks are made of was on average when the frame was captured: the lag of key frames and smoothing together.
    pub evidence_age: Duration,
    /// Time spent on finding motion and carrying masks along.
    pub carrying: Duration,
    /// Which version of what is switched on is hidden of it ([`HideSwitches`](super::HideSwitches)).
    pub hide_version: u64,
    /// From the frame's arrival to its masks.
    pub latency: Duration,
    /// Frames lost so far because a newer one came before they were taken.
    pub dropped: u64,
    /// Frames so far whose masks took longer than frames are apart.
    pub late: u64,
    /// The governor's state, if there is one.
    pub governor: Option<Arc<Governed>>,
    /// The source's nominal rate, if it has one.
    pub rate: Option<Rate>,
    /// What decoded it, where its source is encoded video.
    pub decoder: Option<&'static str>,
}
