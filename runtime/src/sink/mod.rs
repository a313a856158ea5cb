//! Where masks go.

pub mod display;
mod events;
mod live;
mod mask_png;
#[cfg(feature = "service")]
pub mod mqtt;
mod overlay;
mod palette;
mod recorder;
mod report;
mod video;
#[cfg(feature = "service")]
pub mod webhook;

pub use events::{EventLog, Snapshots};
pub use live::{JsonLines, LiveSink, MaskFolder, OverlayVideo};
pub use mask_png::encode_mask;
pub use overlay::{LegendEntry, OverlayOptions, draw_overlay, draw_overlay_in, draw_overlay_on};
pub use palette::class_colour;
pub use recorder::{RecordedFile, Recorder, RecorderStatus};
pub use report::{ClassReport, MaskReport, MaskStyle, Milliseconds, SegmentReport};
pub use video::VideoWriter;
