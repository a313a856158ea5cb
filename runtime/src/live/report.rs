use serde::Serialize;

use super::Shown;
use crate::LabelMap;
use crate::rules::Event;
use crate::sink::{ClassReport, MaskReport, MaskStyle, Milliseconds};

/// What is told of a frame, as one JSON line.
#[derive(Debug, Default, Serialize)]
pub struct FrameReport {
    /// The frame's number in its source.
    pub sequence: u64,
    /// Its time since the source started.
    pub timestamp_ms: f64,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
    /// Whether the encoder ran for it; otherwise its masks are scored from the embeddings of the last frame that was encoded.
    pub key: bool,
    /// Which set of words, counted from 1.
    pub words_version: u64,
    /// Every class that was asked for, in their order.
    pub classes: Vec<ClassReport>,
    /// Share of the pixels that belong to no class.
    pub background_share: f64,
    /// Frames lost so far because a newer one came before they were taken.
    pub dropped: u64,
    /// From the frame's arrival to its masks.
    pub latency_ms: f64,
    /// Time of each stage.
    pub milliseconds: Milliseconds,
    /// What ran the encoder.
    pub backend: &'static str,
    /// What rules found, where there are some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
}

impl FrameReport {
    /// The report of a frame.
    pub fn new(shown: &Shown) -> Self {
        let (classes, background_share) = ClassReport::list(shown.words.bank.names(), &shown.found);
        let ms = |d: std::time::Duration| (d.as_secs_f64() * 1e6).round() / 1e3;
        Self {
            sequence: shown.frame.sequence,
            timestamp_ms: ms(shown.frame.timestamp),
            width: shown.frame.pixels.width(),
            height: shown.frame.pixels.height(),
            key: shown.key,
            words_version: shown.words.version,
            classes,
            background_share,
            dropped: shown.dropped,
            latency_ms: ms(shown.latency),
            milliseconds: Milliseconds::new(std::time::Duration::ZERO, &shown.found.timings),
            backend: shown.found.backend,
            events: Vec::new(),
        }
    }

    /// The report with every class's mask.
    pub fn with_masks(mut self, labels: &LabelMap, style: MaskStyle) -> Self {
        let masks = MaskReport::list(labels, self.classes.len(), style);
        for (class, mask) in self.classes.iter_mut().zip(masks) {
            class.segmentation = Some(mask);
        }
        self
    }
}
