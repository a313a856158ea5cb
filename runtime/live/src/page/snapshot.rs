use std::sync::Arc;

use serde_json::{Value, json};

use crate::session::{FrameReport, SegmentedFrame};

/// A frame as it was taken.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Counts the frames that the hub took from 1, over every start of the source.
    pub count: u64,
    pub fps: f64,
    pub shown: Arc<SegmentedFrame>,
    pub report: Arc<FrameReport>,
}

impl Snapshot {
    pub fn json(&self) -> Value {
        json!({ "count": self.count, "frames_per_second": self.fps, "report": &*self.report })
    }
}
