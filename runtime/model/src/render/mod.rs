//! Masks as people and programs take them: overlays, label pictures, reports.

mod mask_png;
mod overlay;
mod palette;
mod report;

pub use mask_png::encode_mask;
pub use overlay::{LegendEntry, OverlayOptions, Panel, draw_overlay, draw_overlay_in, draw_overlay_on, printable};
pub use palette::class_colour;
pub use report::{ClassReport, MaskReport, MaskStyle, Milliseconds, SegmentReport};
