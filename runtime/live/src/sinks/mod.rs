//! Where masks go.

pub mod display;
mod events;
mod live;
#[cfg(feature = "service")]
pub mod mqtt;
mod recorder;
mod video;
#[cfg(feature = "service")]
pub mod webhook;

pub use events::{EventLog, Snapshots};
pub use live::{JsonLines, LiveSink, MaskFolder, OverlayVideo};
pub use recorder::{RecordedFile, Recorder, RecorderStatus};
pub use video::VideoWriter;
