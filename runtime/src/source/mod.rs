//! Where frames come from.

mod picture;

pub use picture::{expand_inputs, is_picture, read_picture};
