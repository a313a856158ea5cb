use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use edge_seg_model::hide::Hide;
use edge_seg_model::propagation::{Propagation, PropagationOptions};
use edge_seg_model::{Refinement, Session};

use super::governor::GovernorOptions;
use super::switches::HideSwitches;
use crate::source::Pace;
use crate::things::ThingOptions;
use crate::{Error, Result};

/// How video is segmented.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LiveOptions {
    /// What happens when frames come faster than they can be segmented.
    pub pace: Pace,
    /// Which frames the encoder runs on.
    pub keys: KeyFrames,
    /// How masks get to the frames between, and how they are smoothed.
    pub carry: PropagationOptions,
    /// Whether another scene makes a key frame of its own, and what was smoothed is forgotten there.
    pub scene_cuts: bool,
    /// Lowers rate and size while the board is hot, and the rate alone while something is hidden; none lets it run as it is.
    pub governor: Option<GovernorOptions>,
    /// Cuts the masks of words into things that are followed; none leaves them as they are.
    pub things: Option<ThingOptions>,
    /// How long an end waits for the source to be let go, after the frame that is being segmented. A source that blocks in a read for longer, such as a
    /// pipe that nobody writes to, is left behind, and let go when the read returns.
    pub patience: Duration,
    /// What no frame that leaves the session shows.
    pub hide: Option<Hide>,
    /// What else none shows, while it is switched on. It is hidden as `hide` is, where there is that.
    pub hide_switches: Option<Arc<HideSwitches>>,
}

impl LiveOptions {
    /// # Errors
    /// [`Error::Option`](edge_seg_model::Error::Option) if key frames are never due, no temperature is hot, masks would have to be refined that labels are
    /// carried to, or what is to be hidden is another model's.
    pub(super) fn check(&self, session: &Session) -> Result<()> {
        match self.keys {
            KeyFrames::Every(0) => return Err(Error::option("keys", "every 1st frame or more", 0)),
            KeyFrames::Auto { share } if !(share > 0.0 && share <= 1.0) => {
                return Err(Error::option("keys", "a share of the time above 0 and up to 1", share));
            }
            _ => {}
        }
        self.governor.as_ref().map_or(Ok(()), GovernorOptions::check)?;
        self.things.as_ref().map_or(Ok(()), ThingOptions::check)?;
        self.hide.as_ref().map_or(Ok(()), |hide| hide.check(session))?;
        self.hide_switches.as_ref().map_or(Ok(()), |switches| switches.check(session))?;
        if self.carry.carry == Propagation::Labels && session.refinement() == Refinement::Guided {
            let expected = "scores or still, for masks that are refined frame by frame";
            return Err(Error::option("carry", expected, "labels"));
        }
        Ok(())
    }

    /// The same with another [`pace`](Self::pace).
    pub fn with_pace(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// The same with another [`keys`](Self::keys).
    pub fn with_keys(self, keys: KeyFrames) -> Self {
        Self { keys, ..self }
    }

    /// The same with another [`carry`](Self::carry).
    pub fn with_carry(self, carry: PropagationOptions) -> Self {
        Self { carry, ..self }
    }

    /// The same with another [`scene_cuts`](Self::scene_cuts).
    pub fn with_scene_cuts(self, scene_cuts: bool) -> Self {
        Self { scene_cuts, ..self }
    }

    /// The same with another [`governor`](Self::governor).
    pub fn with_governor(self, governor: impl Into<Option<GovernorOptions>>) -> Self {
        Self { governor: governor.into(), ..self }
    }

    /// The same with other [`things`](Self::things).
    pub fn with_things(self, things: impl Into<Option<ThingOptions>>) -> Self {
        Self { things: things.into(), ..self }
    }

    /// The same with another [`patience`](Self::patience).
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The same with another [`hide`](Self::hide).
    pub fn with_hide(self, hide: impl Into<Option<Hide>>) -> Self {
        Self { hide: hide.into(), ..self }
    }

    /// The same with other [`hide_switches`](Self::hide_switches).
    pub fn with_hide_switches(self, hide_switches: impl Into<Option<Arc<HideSwitches>>>) -> Self {
        Self { hide_switches: hide_switches.into(), ..self }
    }
}

impl Default for LiveOptions {
    /// Every frame is a key frame, nothing is smoothed, nobody governs, no things are followed.
    fn default() -> Self {
        let (keys, carry) = (KeyFrames::Every(1), PropagationOptions::default());
        let patience = Duration::from_secs(2);
        let (governor, things, hide, hide_switches) = (None, None, None, None);
        Self { pace: Pace::Auto, keys, carry, scene_cuts: true, governor, things, patience, hide, hide_switches }
    }
}

/// Which frames the encoder runs on.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
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

impl fmt::Display for KeyFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(interval) => write!(f, "{interval}"),
            Self::Auto { share } => write!(f, "auto:{share}"),
        }
    }
}
