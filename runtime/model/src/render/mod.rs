//! Masks as people and programs take them: overlays, label pictures, reports.
//!
//! ```
//! use edge_seg_model::{LabelMap, render::encode_mask};
//! let png = encode_mask(&LabelMap { width: 2, height: 1, labels: vec![0, 1] }, 1)?;
//! assert!(png.starts_with(b"\x89PNG"));
//! # Ok::<(), edge_seg_model::Error>(())
//! ```

mod mask_png;
mod overlay;
mod palette;
mod report;

pub use mask_png::encode_mask;
pub use overlay::{Legend, LegendEntry, OverlayOptions, Panel, draw_overlay, draw_overlay_in, draw_overlay_on, printable};
pub use palette::class_colour;
pub use report::{ClassReport, HiddenReport, JSON_VERSION, JsonVersion, MaskReport, MaskStyle, Milliseconds, SegmentReport};
