//! Which frames of a session on video go into an index.

use std::time::{Duration, SystemTime};

use crate::session::SegmentedFrame;
use crate::{Error, Result};
use edge_seg_model::hide::ShownFrame;

/// The key frame whose embeddings a frame has, if it is at hand: neither its picture nor its time may be another's.
pub(super) fn key_frame(shown: &SegmentedFrame) -> Option<&ShownFrame> {
    if shown.key { Some(&shown.frame) } else { shown.key_frame.as_deref() }
}

/// The last key frame of one camera that was taken.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Due {
    last: Option<Duration>,
    key: Option<u64>,
}

impl Due {
    /// Whether a frame's key frame is at hand and not taken yet, and came `interval` after the last one that was, or later.
    ///
    /// # Errors
    /// [`Option`](edge_seg_model::Error::Option) if something of it is hidden: its embeddings tell of that too.
    pub fn is_due(&self, shown: &SegmentedFrame, interval: Duration) -> Result<bool> {
        if shown.frame.hidden().is_some() {
            let expected = "frames of which nothing is hidden, since their embeddings are of all that was there";
            return Err(Error::option("index", expected, "one of a session that hides words"));
        }
        let Some(key) = key_frame(shown) else { return Ok(false) };
        let at = key.timestamp;
        // A source that begins again, begins with an earlier time.
        let waited = self.last.is_none_or(|last| at < last || at - last >= interval);
        Ok(waited && self.key != Some(shown.key_sequence))
    }

    /// The frame's key frame was taken.
    pub fn took(&mut self, shown: &SegmentedFrame) {
        (self.last, self.key) = (key_frame(shown).map(|key| key.timestamp), Some(shown.key_sequence));
    }
}

/// When a frame came, by the wall's clock.
pub(super) fn came(shown: &SegmentedFrame) -> SystemTime {
    SystemTime::now().checked_sub(shown.latency).unwrap_or_else(SystemTime::now)
}

/// When a frame's key frame was captured, by the time of the frame.
pub(super) fn of_key(time: SystemTime, shown: &SegmentedFrame) -> SystemTime {
    let age = key_frame(shown).and_then(|key| shown.frame.timestamp.checked_sub(key.timestamp)).unwrap_or_default();
    time.checked_sub(age).unwrap_or(time)
}
