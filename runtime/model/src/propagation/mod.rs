//! Mask propagation: the scores of an encoded frame, carried along by the motion of the picture.
//!
//! ```
//! use edge_seg_model::propagation::{PropagationOptions, Propagator};
//! let mut propagator = Propagator::new(PropagationOptions::default());
//! let first = propagator.follow(&image::RgbImage::new(64, 48));
//! assert!(first.cut && !propagator.has_key(), "nothing to carry yet");
//! ```

mod motion;
mod propagator;

pub use motion::Movement;
pub use propagator::{Motion, Propagation, PropagationOptions, Propagator};
