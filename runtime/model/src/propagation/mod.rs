//! Mask propagation: the scores of an encoded frame, carried along by the motion of the picture.

mod motion;
mod propagator;

pub use motion::Movement;
pub use propagator::{Propagation, PropagationOptions, Propagator};
