//! From a frame to the encoder's input.

mod placement;
mod prepare;

pub use placement::{MAX_PATCHES, Placement};
pub(crate) use prepare::resize;
pub use prepare::{Input, prepare};
