use edge_seg_bundle::date::utc;
use serde::Serialize;

use super::{Damage, Sighting};

/// A sighting as JSON tells it.
#[derive(Debug, Serialize)]
pub struct Answer<'a> {
    /// Which of the words.
    pub word: &'a str,
    /// Its score in the best frame, 0 to 1.
    pub score: f32,
    /// The camera's name, or the file.
    pub camera: &'a str,
    /// Time of the first frame, RFC 3339 in UTC.
    pub from: String,
    /// Of the best.
    pub best: String,
    /// Of the last.
    pub to: String,
    /// Seconds since the source began, of the best frame.
    pub at_s: f64,
    /// How many frames there are.
    pub frames: usize,
    /// Left, top, width and height of it in the best frame.
    pub box_px: [u32; 4],
    /// That frame's width and height.
    pub frame_px: [u32; 2],
    /// The small picture: a file's name, or all of it as an address.
    pub thumbnail: Option<String>,
}

impl<'a> Answer<'a> {
    /// What is told of a sighting of a word.
    pub fn new(word: &'a str, sighting: &'a Sighting, thumbnail: Option<String>) -> Self {
        Self {
            word,
            score: sighting.score,
            camera: &sighting.origin,
            from: utc(sighting.from),
            best: utc(sighting.best),
            to: utc(sighting.to),
            at_s: sighting.at.as_secs_f64(),
            frames: sighting.frames,
            box_px: sighting.box_px,
            frame_px: sighting.frame_px.into(),
            thumbnail,
        }
    }
}

/// What an index has lost by damage, as JSON tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// Places in its file.
    pub places: usize,
    /// Bytes that had been written there.
    pub bytes: u64,
    /// Frames, where the index still tells of each place how many.
    pub frames: Option<u64>,
}

impl Lost {
    /// None if nothing is damaged.
    pub fn of(damage: &[Damage]) -> Option<Self> {
        let (bytes, frames) = (damage.iter().map(|one| one.bytes).sum(), damage.iter().map(|one| one.frames).sum());
        (!damage.is_empty()).then_some(Self { places: damage.len(), bytes, frames })
    }
}
