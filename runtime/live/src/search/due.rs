//! Which frames of a session on video go into an index.

use std::time::{Duration, SystemTime};

use crate::session::SegmentedFrame;
use crate::{Error, Result};

/// The last frame of one camera that was taken.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Due {
    last: Option<Duration>,
    key: Option<u64>,
}

impl Due {
    /// Whether a frame's embeddings are not taken yet, and the last ones were taken `interval` ago or longer.
    ///
    /// # Errors
    /// [`Option`](edge_seg_model::Error::Option) if something of it is hidden: its embeddings tell of that too.
    pub fn is_due(&self, shown: &SegmentedFrame, interval: Duration) -> Result<bool> {
        if shown.frame.hidden().is_some() {
            let expected = "frames of which nothing is hidden, since their embeddings are of all that was there";
            return Err(Error::option("index", expected, "one of a session that hides words"));
        }
        let at = shown.frame.timestamp;
        // A source that begins again, begins with an earlier time.
        let waited = self.last.is_none_or(|last| at < last || at - last >= interval);
        Ok(waited && self.key != Some(shown.key_sequence))
    }

    /// The frame was taken.
    pub fn took(&mut self, shown: &SegmentedFrame) {
        (self.last, self.key) = (Some(shown.frame.timestamp), Some(shown.key_sequence));
    }
}

/// When a frame came, by the wall's clock.
pub(super) fn came(shown: &SegmentedFrame) -> SystemTime {
    SystemTime::now().checked_sub(shown.latency).unwrap_or_else(SystemTime::now)
}
