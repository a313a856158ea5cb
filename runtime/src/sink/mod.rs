//! Where masks go.

mod live;
mod mask_png;
mod overlay;
mod palette;
mod report;
mod video;

pub use live::{JsonLines, LiveSink, MaskFolder, OverlayVideo};
pub use mask_png::encode_mask;
pub use overlay::{LegendEntry, OverlayOptions, draw_overlay};
pub use palette::class_colour;
pub use report::{ClassReport, Milliseconds, SegmentReport};
pub use video::VideoWriter;
