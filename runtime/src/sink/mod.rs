//! Where masks go.

mod live;
mod mask_png;
mod overlay;
mod palette;
mod recorder;
mod report;
mod video;

pub use live::{JsonLines, LiveSink, MaskFolder, OverlayVideo};
pub use mask_png::encode_mask;
pub use overlay::{LegendEntry, OverlayOptions, draw_overlay, draw_overlay_in};
pub use palette::class_colour;
pub use recorder::{Recorder, RecorderStatus};
pub use report::{ClassReport, Milliseconds, SegmentReport};
pub use video::VideoWriter;
