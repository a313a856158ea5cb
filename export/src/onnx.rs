//! Writes a model folder's two towers as ONNX files that onnxruntime and tract both run.
//!
//! Inputs and outputs are those of `docs/model-folder.md`. The operators are of opset 17, the first with `LayerNormalization`;
//! the error-function GELU is spelled out in the form that both engines recognise and fuse.

mod graph;
mod heads;
mod image;
mod proto;
mod taps;
mod text;

pub use graph::Storage;
pub use proto::{Initializer, initializers};
pub use taps::{TapPoint, with_layers};

use crate::Result;
use crate::checkpoint::Model;

/// The image tower: `pixels` f32 `[1, 3, height, width]` and `positions` f32 `[1, 1 + P, D]` to `patches` f32 `[1, P, E]`
/// and `global` f32 `[1, E]`, neither normalised.
///
/// # Errors
/// None for a [`Model`] that [`Model::assemble`] made.
pub fn image_encoder(model: &Model, storage: Storage) -> Result<Vec<u8>> {
    image::write(model, storage)
}

/// The text tower: `ids` and `mask` i64 `[batch, tokens]` to `text` f32 `[batch, E]`, not normalised.
///
/// # Errors
/// None for a [`Model`] that [`Model::assemble`] made.
pub fn text_encoder(model: &Model, storage: Storage) -> Result<Vec<u8>> {
    text::write(model, storage)
}
