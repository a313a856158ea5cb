//! Writes a model folder's two towers as ONNX files that onnxruntime and tract both run.
//!
//! Inputs and outputs are those of `docs/model-folder.md`. The operators are of opset 17, the first with `LayerNormalization`;
//! the error-function GELU is spelled out in the form that both engines recognise and fuse.

mod block;
pub(crate) mod foreign;
mod graph;
mod grid;
mod heads;
mod image;
mod proto;
mod rotary;
mod taps;
mod text;

pub use graph::Layers;
pub use proto::{Initializer, initializers};
pub use taps::{TapPoint, with_layers};

use crate::Result;
use crate::checkpoint::Model;
pub use crate::quantize::Storage;

/// The image tower: `pixels` f32 `[1, 3, height, width]` and `positions` f32 `[1, 1 + P, D]` to `patches` f32 `[1, P, E]`
/// and `global` f32 `[1, E]`, neither normalised.
///
/// # Errors
/// None for a [`Model`] that [`Model::assemble`] made.
pub fn image_encoder(model: &Model, layers: impl Into<Layers>) -> Result<Vec<u8>> {
    Ok(image::write(model, &layers.into())?.0)
}

/// The text tower: `ids` and `mask` i64 `[batch, tokens]` to `text` f32 `[batch, E]`, not normalised.
///
/// # Errors
/// None for a [`Model`] that [`Model::assemble`] made.
pub fn text_encoder(model: &Model, layers: impl Into<Layers>) -> Result<Vec<u8>> {
    Ok(text::write(model, &layers.into())?.0)
}

/// The weights that the products of one tower's encoder multiply with, as [`Layers::floats`] names them, in the order of the graph.
///
/// # Errors
/// As [`image_encoder`].
pub fn products(model: &Model, tower: Tower) -> Result<Vec<String>> {
    let layers = Storage::F16.into();
    Ok(match tower {
        Tower::Image => image::write(model, &layers)?.1,
        Tower::Text => text::write(model, &layers)?.1,
    })
}

/// One of a model's two encoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tower {
    /// Of pictures.
    Image,
    /// Of words.
    Text,
}
