use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use super::VideoWriter;
use crate::session::{FrameReport, SegmentedFrame};
use crate::{Error, Result};
use edge_seg_bundle::files::replace_file;
use edge_seg_model::render::{LegendEntry, OverlayOptions, draw_overlay_in, encode_mask};

/// Where the frames of a running session go. All sinks are called on one thread, one after the other, so whatever may wait for
/// somebody else (a network, a display) keeps a thread of its own behind a bounded queue.
pub trait LiveSink: Send {
    /// Takes one frame. A sink may keep the frame for a while; its memory is used again once nobody holds it.
    ///
    /// # Errors
    /// Whatever is to end the session. A fault that may pass is the sink's own business.
    fn take(&mut self, shown: &Arc<SegmentedFrame>, report: &Arc<FrameReport>) -> Result<()>;

    /// Ends files and lets go of everything, within a second.
    ///
    /// # Errors
    /// What kept it from finishing.
    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// One line of JSON for each frame.
pub struct JsonLines<W: Write + Send>(pub W);

impl<W: Write + Send> LiveSink for JsonLines<W> {
    fn take(&mut self, _: &Arc<SegmentedFrame>, report: &Arc<FrameReport>) -> Result<()> {
        let mut line = serde_json::to_vec(&**report).map_err(|e| Error::io("JSON lines")(e.into()))?;
        line.push(b'\n');
        self.0.write_all(&line).and_then(|()| self.0.flush()).map_err(Error::io("JSON lines"))
    }
}

/// Each frame's labels as SEQUENCE.mask.png in a folder.
pub struct MaskFolder(PathBuf);

impl MaskFolder {
    /// Makes the folder if it is missing.
    ///
    /// # Errors
    /// [`Io`](edge_seg_model::Error::Io) if it cannot be made.
    pub fn create(folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        Ok(Self(folder))
    }
}

impl LiveSink for MaskFolder {
    fn take(&mut self, shown: &Arc<SegmentedFrame>, report: &Arc<FrameReport>) -> Result<()> {
        let path = self.0.join(format!("{:08}.mask.png", report.sequence));
        Ok(replace_file(&path, &encode_mask(&shown.found.labels, report.classes.len())?)?)
    }
}

/// The video with its masks.
pub struct OverlayVideo {
    video: VideoWriter,
    options: OverlayOptions,
}

impl OverlayVideo {
    /// Draws into a video.
    pub fn new(video: VideoWriter, options: OverlayOptions) -> Self {
        Self { video, options }
    }
}

impl LiveSink for OverlayVideo {
    fn take(&mut self, shown: &Arc<SegmentedFrame>, report: &Arc<FrameReport>) -> Result<()> {
        let legend: Vec<_> = report.classes.iter().map(|c| LegendEntry { label: c.label, name: c.name.clone(), score: c.score }).collect();
        let colours = shown.words.colours();
        let picture = draw_overlay_in(&shown.frame.pixels, &shown.found.labels, &legend, &colours, self.options);
        self.video.write(&picture, shown.frame.timestamp, shown.rate)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.video.finish()
    }
}
