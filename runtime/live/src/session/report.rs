use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::frame::SegmentedFrame;
use super::governor::Governed;
use crate::rules::{Event, Tally, Watcher, brightness};
use crate::things::Thing;
use edge_seg_model::render::{ClassReport, HiddenReport, JsonVersion, MaskReport, MaskStyle, Milliseconds};

/// What is told of a frame, as one JSON line.
#[derive(Default, Serialize)]
#[non_exhaustive]
pub struct FrameReport {
    /// Of the fields.
    pub version: JsonVersion,
    /// The frame's number in its source.
    pub sequence: u64,
    /// Its time since the source started.
    pub timestamp_ms: f64,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
    /// Whether its masks come from its own embeddings; otherwise they are carried from the frame `key_sequence`.
    pub key: bool,
    /// The frame whose embeddings its masks come from.
    pub key_sequence: u64,
    /// How old what the masks are made of was on average when the frame was captured: the lag of key frames and smoothing together.
    pub evidence_age_ms: f64,
    /// Which set of words, counted from 1.
    pub words_version: u64,
    /// Every class that was asked for, in their order.
    pub classes: Vec<ClassReport>,
    /// Each thing that is seen, where things are followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub things: Option<Vec<Thing>>,
    /// What was counted in the zones and over the lines of the rules, where there are some and things are followed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tallies: Vec<Tally>,
    /// Time spent on following things.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub things_ms: Option<f64>,
    /// Share of the pixels that belong to no class.
    pub background_share: f64,
    /// Frames lost so far because a newer one came before they were taken.
    pub dropped: u64,
    /// Frames so far whose masks took longer than frames are apart.
    pub late: u64,
    /// From the frame's arrival to its masks.
    pub latency_ms: f64,
    /// Time spent on finding motion and carrying masks along.
    pub carry_ms: f64,
    /// Time of each stage.
    pub milliseconds: Milliseconds,
    /// What ran the encoder.
    pub backend: &'static str,
    /// What decoded the frame, where its source is encoded video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoder: Option<&'static str>,
    /// What is hidden of its picture, where something was asked to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<HiddenReport>,
    /// The profile that is on, where rules have some and it is the time of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// What rules found, where there are some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
    /// Names of the rules that looked at it.
    #[serde(skip)]
    pub rules: Arc<[String]>,
    /// The governor's state, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub governor: Option<Governed>,
}

impl std::fmt::Debug for FrameReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (classes, events) = (self.classes.len(), self.events.len());
        write!(f, "FrameReport {{ sequence: {}, {classes} classes, {events} events }}", self.sequence)
    }
}

impl FrameReport {
    /// The report of a frame.
    pub fn new(shown: &SegmentedFrame) -> Self {
        let (mut classes, background_share) = ClassReport::list(shown.words.bank.names(), &shown.found);
        let things = shown.things.as_ref();
        for (label, class) in (1u16..).zip(&mut classes) {
            class.count = things.and_then(|things| things.count(label));
        }
        let ms = Milliseconds::rounded;
        Self {
            version: JsonVersion,
            sequence: shown.frame.sequence,
            timestamp_ms: ms(shown.frame.timestamp),
            width: shown.frame.pixels.width(),
            height: shown.frame.pixels.height(),
            key: shown.key,
            key_sequence: shown.key_sequence,
            evidence_age_ms: ms(shown.evidence_age),
            words_version: shown.words.version,
            classes,
            things: things.map(|things| things.list.clone()),
            tallies: Vec::new(),
            things_ms: things.map(|things| ms(things.took)),
            background_share,
            dropped: shown.dropped,
            late: shown.late,
            latency_ms: ms(shown.latency),
            carry_ms: ms(shown.carrying),
            milliseconds: Milliseconds::new(std::time::Duration::ZERO, &shown.found.timings),
            backend: shown.found.backend,
            decoder: shown.decoder,
            hidden: shown.frame.hidden().map(HiddenReport::from),
            profile: None,
            events: Vec::new(),
            rules: Arc::default(),
            governor: shown.governor.as_deref().cloned(),
        }
    }

    /// Lets rules look at the frame, which this is the report of; what they find is told with it. `clock` is the wall's.
    pub fn observe(&mut self, watcher: &mut Watcher, shown: &SegmentedFrame, clock: SystemTime) {
        // A frame that is hidden whole says nothing of the light.
        if watcher.needs_light() && self.hidden.as_ref().is_none_or(|hidden| hidden.whole.is_none()) {
            watcher.light(brightness(&shown.frame.pixels));
        }
        if let Some(things) = &self.things {
            if shown.things.as_ref().is_some_and(|things| things.is_anew) {
                watcher.begin_anew(self.timestamp_ms);
            }
            watcher.count(things, &self.counted(), (self.width, self.height), self.timestamp_ms);
        }
        self.events = watcher.observe(&shown.found.labels, &self.classes, self.sequence, self.timestamp_ms, clock);
        self.tallies = watcher.tallies();
        self.profile = watcher.profile().map(|profile| profile.name.clone());
    }

    /// Names of the words whose things are counted.
    pub fn counted(&self) -> Vec<&str> {
        self.classes.iter().filter(|class| class.count.is_some()).map(|class| class.name.as_str()).collect()
    }

    /// The report of the frame that it was made of, with every class's and thing's mask.
    pub fn with_masks(mut self, shown: &SegmentedFrame, style: MaskStyle) -> Self {
        let masks = MaskReport::list(&shown.found.labels, self.classes.len(), style);
        for (class, mask) in self.classes.iter_mut().zip(masks) {
            class.segmentation = Some(mask);
        }
        self.things = shown.things.as_ref().map(|things| things.with_masks(style));
        self
    }
}
