//! Where masks go: [`LiveSink`] takes a running session's frames, and here are those that the program has.
//!
//! ```
//! use edge_seg_live::{Live, session::LiveOptions, sinks::JsonLines, source::open_source};
//! # fn main() -> edge_seg_live::Result<()> {
//! # let options = edge_seg_model::Options::default().with_size_px(64);
//! # let session = edge_seg_model::Session::built_in_with(&options)?;
//! let camera = open_source("test:?size=64x48&fps=30&frames=2", &Default::default())?;
//! let mut live = Live::start(session, camera, "sky", LiveOptions::default())?.with_sink(JsonLines(std::io::sink()));
//! for shown in &mut live {
//!     shown?;
//! }
//! assert_eq!(live.report().expect("a frame was told").classes[0].name, "sky");
//! # live.stop()
//! # }
//! ```

pub mod display;
mod events;
mod live;
#[cfg(feature = "service")]
pub mod mqtt;
mod recorder;
mod stream;
mod video;
#[cfg(feature = "service")]
pub mod webhook;

pub use events::{EventLog, Snapshots};
pub use live::{JsonLines, LiveSink, MaskFolder, OverlayVideo, Tolerant};
pub use recorder::{RecordedFile, Recorder, RecorderStatus};
pub use stream::OverlayStream;
pub use video::VideoWriter;
