use std::fmt;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use image::RgbImage;

use super::VideoWriter;
use crate::session::{FrameReport, SegmentedFrame};
use crate::{Error, Result};
use edge_seg_bundle::files::{replace_file, sweep_parts};
use edge_seg_model::render::{Legend, LegendEntry, OverlayOptions, draw_overlay_in, encode_mask};

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

impl<W: Write + Send> fmt::Debug for JsonLines<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JsonLines(..)")
    }
}

impl<W: Write + Send> LiveSink for JsonLines<W> {
    fn take(&mut self, _: &Arc<SegmentedFrame>, report: &Arc<FrameReport>) -> Result<()> {
        let mut line = serde_json::to_vec(&**report).map_err(|e| Error::io("JSON lines")(e.into()))?;
        line.push(b'\n');
        self.0.write_all(&line).and_then(|()| self.0.flush()).map_err(Error::io("JSON lines"))
    }
}

/// Each frame's labels as SEQUENCE.mask.png in a folder.
#[derive(Debug)]
pub struct MaskFolder(PathBuf);

impl MaskFolder {
    /// Makes the folder if it is missing.
    ///
    /// # Errors
    /// [`Io`](edge_seg_model::Error::Io) if it cannot be made.
    pub fn create(folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        sweep_parts(&folder);
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
    legend: Legend,
    /// Where to go on if the encoder ends in the middle.
    next: Option<Next>,
}

impl fmt::Debug for OverlayVideo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OverlayVideo({:?})", self.video)
    }
}

/// Further files of an overlay.
struct Next {
    place: PathBuf,
    number: u32,
    /// Not before this another one is begun.
    at: Instant,
}

/// How long it takes until another encoder is started.
const PAUSE: Duration = Duration::from_secs(10);

impl OverlayVideo {
    /// Draws into a video.
    pub fn new(video: VideoWriter, options: OverlayOptions) -> Self {
        Self { video, options, legend: Legend::default(), next: None }
    }

    /// Draws into a file; if its encoder ends in the middle, as on a full disk, goes on into further ones, `NAME-2` and so on.
    ///
    /// # Errors
    /// As [`VideoWriter::create`].
    pub fn create(place: &Path, options: OverlayOptions) -> Result<Self> {
        let next = Next { place: place.into(), number: 1, at: Instant::now() };
        Ok(Self { video: VideoWriter::create(place)?, options, legend: Legend::default(), next: Some(next) })
    }

    /// Lists other words than those that were found.
    pub fn with_legend(mut self, legend: Legend) -> Self {
        (self.legend, self.options.legend) = (legend, legend != Legend::None);
        self
    }

    /// Begins the next file if it is time.
    fn go_on(&mut self) -> Result<()> {
        let Some(next) = self.next.as_mut().filter(|next| Instant::now() >= next.at) else { return Ok(()) };
        next.at = Instant::now() + PAUSE;
        let mut name = next.place.file_stem().unwrap_or_default().to_owned();
        name.push(format!("-{}.", next.number + 1));
        name.push(next.place.extension().unwrap_or_default());
        let video = VideoWriter::create(&next.place.with_file_name(name))?;
        next.number += 1;
        std::mem::replace(&mut self.video, video).finish()
    }
}

impl LiveSink for OverlayVideo {
    fn take(&mut self, shown: &Arc<SegmentedFrame>, report: &Arc<FrameReport>) -> Result<()> {
        if self.video.is_broken() {
            // What is wrong with the file before was told when it broke.
            let went_on = self.go_on();
            if self.video.is_broken() {
                went_on?;
            }
        }
        let picture = drawn(shown, report, self.options, self.legend);
        self.video.write(&picture, shown.frame.timestamp, shown.rate)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.video.finish()
    }
}

/// A frame with its masks.
pub(super) fn drawn(shown: &SegmentedFrame, report: &FrameReport, options: OverlayOptions, legend: Legend) -> RgbImage {
    let entries = LegendEntry::list(&report.classes, legend);
    // As many as there may be, so that the pictures keep their size.
    let options = options.with_room_for(report.classes.len());
    draw_overlay_in(&shown.frame.pixels, &shown.found.labels, &entries, &shown.words.colours(), options)
}

/// A sink whose faults end nothing: they are told and counted, and the next frame is tried again.
pub struct Tolerant {
    name: &'static str,
    sink: Box<dyn LiveSink>,
    failed: Arc<AtomicU64>,
    /// Faults since it last worked.
    in_a_row: u64,
}

impl fmt::Debug for Tolerant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tolerant {{ {}, {} faults in a row }}", self.name, self.in_a_row)
    }
}

impl Tolerant {
    /// A sink under its option's name, and where its faults are counted.
    pub fn new(name: &'static str, sink: impl LiveSink + 'static, failed: Arc<AtomicU64>) -> Self {
        Self { name, sink: Box::new(sink), failed, in_a_row: 0 }
    }
}

impl LiveSink for Tolerant {
    fn take(&mut self, shown: &Arc<SegmentedFrame>, report: &Arc<FrameReport>) -> Result<()> {
        match self.sink.take(shown, report) {
            Ok(()) if self.in_a_row > 0 => {
                tracing::info!("{} works again after {} failed frames", self.name, self.in_a_row);
                self.in_a_row = 0;
            }
            Ok(()) => {}
            // Whoever reads it has seen enough.
            Err(Error::Model(edge_seg_model::Error::Io { path, source })) if source.kind() == ErrorKind::BrokenPipe => {
                return Err(Error::io(path)(source));
            }
            Err(e) => {
                self.in_a_row += 1;
                self.failed.fetch_add(1, Ordering::Relaxed);
                if self.in_a_row.is_power_of_two() {
                    tracing::error!("{}: {e}; the run goes on, and this is tried again ({} so far)", self.name, self.in_a_row);
                }
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let finished = self.sink.finish();
        match self.failed.load(Ordering::Relaxed) {
            0 => finished,
            failed => {
                if let Err(e) = finished {
                    tracing::error!("{}: {e}", self.name);
                }
                Err(Error::Sink { place: self.name.into(), found: format!("{failed} frames could not be written") })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Full(u32);

    impl LiveSink for Full {
        fn take(&mut self, _: &Arc<SegmentedFrame>, _: &Arc<FrameReport>) -> Result<()> {
            self.0 += 1;
            let kind = if self.0 == 5 { ErrorKind::BrokenPipe } else { ErrorKind::StorageFull };
            if self.0.is_multiple_of(3) { Ok(()) } else { Err(Error::io("x")(kind.into())) }
        }
    }

    #[test]
    fn faults_of_a_tolerant_sink_are_counted_and_a_reader_that_leaves_is_none() {
        let session = Arc::new(edge_seg_model::Session::built_in_with(&edge_seg_model::Options::default().with_size_px(32)).unwrap());
        let source = crate::source::open_source("test:?size=32x32&frames=5&fps=100", &Default::default()).unwrap();
        let options = crate::session::LiveOptions { pace: crate::source::Pace::Every, ..Default::default() };
        let failed = Arc::<AtomicU64>::default();
        let sink = Tolerant::new("--events", Full(0), failed.clone());
        let mut live = crate::Live::start(session, source, "sky", options).unwrap().with_sink(sink);
        let shown: Vec<bool> = (&mut live).map(|frame| frame.is_ok()).collect();
        assert_eq!(failed.load(Ordering::Relaxed), 3);
        assert_eq!(shown, [true, true, true, true, false]);
    }
}
