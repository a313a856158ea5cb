//! Things: the masks of words that can be counted, cut into instances that keep their numbers from frame to frame.
//!
//! A word's mask is cut into connected parts. The motion of the picture says where each thing of the frame before should be, so a part is
//! known by the things that should be there: parts of one thing are joined over gaps, and a part that several things are in is cut among
//! them. What is nobody's is matched with things that were lost, by place and embedding, and begins a new one otherwise: what is still seen
//! comes first and what was lost then, as in ByteTrack (Zhang et al. 2022).
//!
//! ```
//! use edge_seg_live::things::{Countable, Follower, ThingOptions};
//! # fn main() -> edge_seg_live::Result<()> {
//! let options = ThingOptions::new(Countable::parse("person, red car")?);
//! assert!(options.countable.holds("Person") && !options.countable.holds("sky"));
//! let follower = Follower::new(options)?; // `follow` takes each frame's masks
//! assert_eq!(follower.total("person"), 0);
//! # Ok(())
//! # }
//! ```

mod cells;
mod follower;
mod parts;

pub use follower::{Follower, Sight};

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::{Error, Result};
use edge_seg_model::render::{MaskReport, MaskStyle};
use edge_seg_model::{LabelMap, same_name};
use parts::Run;

/// Which words have things that can be counted. Nobody but the person knows: sky and sand have none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Countable {
    /// Every word.
    All,
    /// These words.
    Words(Vec<String>),
}

impl Countable {
    /// Reads `all`, or words separated by commas.
    ///
    /// # Errors
    /// [`Option`](edge_seg_model::Error::Option) if there is no word.
    pub fn parse(text: &str) -> Result<Self> {
        text.parse().map_err(|found| Error::option("things", EXPECTED, found))
    }

    /// Whether things of this word are counted.
    pub fn holds(&self, word: &str) -> bool {
        match self {
            Self::All => true,
            Self::Words(words) => words.iter().any(|w| same_name(w, word)),
        }
    }
}

const EXPECTED: &str = "all, or words separated by commas";

impl FromStr for Countable {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let words: Vec<String> = text.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect();
        match words[..] {
            [] => Err(format!("{text:?}")),
            [ref one] if one == "all" => Ok(Self::All),
            _ => Ok(Self::Words(words)),
        }
    }
}

impl fmt::Display for Countable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Words(words) => f.write_str(&words.join(", ")),
        }
    }
}

/// What counts as a thing.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ThingOptions {
    /// The words whose things are counted.
    pub countable: Countable,
    /// A thing covers at least this share of the picture's pixels, 0 to 1.
    pub least_share: f64,
    /// How long a thing that is not seen keeps its number.
    pub patience: Duration,
}

impl Default for ThingOptions {
    /// Things of every word.
    fn default() -> Self {
        Self::new(Countable::All)
    }
}

impl ThingOptions {
    /// Things of these words, of half a thousandth of the picture or more, whose numbers last two seconds out of sight.
    pub fn new(countable: Countable) -> Self {
        Self { countable, least_share: LEAST_SHARE, patience: PATIENCE }
    }

    /// The same with another [`least_share`](Self::least_share).
    pub fn with_least_share(self, least_share: f64) -> Self {
        Self { least_share, ..self }
    }

    /// The same with another [`patience`](Self::patience).
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    pub(crate) fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.least_share) {
            return Err(Error::option("things least_share", "0 to 1", self.least_share));
        }
        Ok(())
    }
}

/// As a share of the picture.
pub const LEAST_SHARE: f64 = 0.0005;
/// As long as somebody is hidden who walks past somebody else.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// A thing in a frame.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Thing {
    /// Its number, from 1, which no other thing of the session gets.
    pub id: u64,
    /// Its word.
    #[serde(serialize_with = "text")]
    pub word: Arc<str>,
    /// That word's label in the mask.
    pub label: u16,
    /// Score of its best patch, in 0..1.
    pub score: f32,
    /// Left, top, width, height of the box around its pixels.
    #[serde(rename = "box")]
    pub bounds_px: [u32; 4],
    /// The mean of its pixels' centres, x and y in pixels.
    #[serde(rename = "centroid")]
    pub centroid_px: [f32; 2],
    /// Its pixels.
    pub pixels: u64,
    /// How long ago it was first seen.
    pub age_ms: f64,
    /// Its mask, where masks are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segmentation: Option<MaskReport>,
}

fn text<S: Serializer>(text: &str, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

impl Thing {
    /// Where it stands: the middle of its box's lowest row of pixels, x and y in pixels. So it is within the picture, as the centroid is.
    pub fn foot_px(&self) -> [f32; 2] {
        let [left, top, width, height] = self.bounds_px.map(|v| v as f32);
        [left + width / 2.0, top + height - 0.5]
    }
}

/// A frame's things.
#[derive(Clone, Default)]
pub struct Things {
    /// Each thing that is seen, by number.
    pub list: Vec<Thing>,
    /// Whether each class is counted. `[classes]`
    pub counted: Vec<bool>,
    /// How long finding them took.
    pub took: Duration,
    frame_px: (u32, u32),
    runs: Vec<Run>,
    /// Whether nothing was followed hither from the frame before: another scene, or frames of another size.
    pub(crate) is_anew: bool,
}

impl fmt::Debug for Things {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Things {{ {} of {} classes, {:?} }}", self.list.len(), self.counted.len(), self.took)
    }
}

impl Things {
    /// How many things of a word there are; none if it is not counted.
    pub fn count(&self, label: u16) -> Option<usize> {
        let counted = self.counted.get(usize::from(label).checked_sub(1)?)?;
        counted.then(|| self.list.iter().filter(|thing| thing.label == label).count())
    }

    /// Width and height of the frame.
    pub fn frame_px(&self) -> (u32, u32) {
        self.frame_px
    }

    /// A map whose labels are the things: k for the k-th of the list, 0 for what is none.
    pub fn map(&self) -> LabelMap {
        let (width, height) = self.frame_px;
        let mut labels = vec![0u16; width as usize * height as usize];
        for run in &self.runs {
            let line = run.row as usize * width as usize;
            let label = u16::try_from(run.part + 1).unwrap_or(0);
            labels[line + run.first as usize..line + run.end as usize].fill(label);
        }
        LabelMap { width, height, labels }
    }

    /// The list with each thing's mask.
    pub fn with_masks(&self, style: MaskStyle) -> Vec<Thing> {
        let masks = MaskReport::list(&self.map(), self.list.len(), style);
        self.list.iter().cloned().zip(masks).map(|(thing, mask)| Thing { segmentation: Some(mask), ..thing }).collect()
    }
}
