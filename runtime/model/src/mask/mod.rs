//! From scores to a label for every pixel.

mod label_map;
mod refine;
pub mod region;

pub use label_map::{Extent, LabelMap, Painter};
