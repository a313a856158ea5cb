//! The engine's tensors and errors as this crate's.

use tract_onnx::prelude::*;

use crate::{Error, Result};

/// An album of panoramas must not fill the memory with plans.
pub(super) const MAX_PLANS: usize = 8;

pub(super) fn fail(encoder: &'static str) -> impl FnOnce(TractError) -> Error {
    move |e| Error::Encoder { encoder, source: format!("{e:#}").into() }
}

pub(super) fn floats(outputs: &[TValue], index: usize, shape: &[usize]) -> Result<Vec<f32>> {
    let wrong = |found: String| Error::Tensor { what: format!("encoder output {index}"), expected: format!("f32 {shape:?}"), found };
    let tensor = outputs.get(index).ok_or_else(|| wrong(format!("{} outputs", outputs.len())))?;
    if tensor.shape() != shape {
        return Err(wrong(format!("{:?} {:?}", tensor.datum_type(), tensor.shape())));
    }
    let view = tensor.to_plain_array_view::<f32>().map_err(|e| wrong(format!("{e:#}")))?;
    Ok(view.iter().copied().collect())
}

/// Keeps the top left part of a grid of rows of `dim` numbers.
pub(super) fn crop(mut patches: Vec<f32>, cols: usize, keep_rows: usize, keep_cols: usize, dim: usize) -> Vec<f32> {
    if keep_cols < cols {
        for row in 0..keep_rows {
            patches.copy_within(row * cols * dim..(row * cols + keep_cols) * dim, row * keep_cols * dim);
        }
    }
    patches.truncate(keep_rows * keep_cols * dim);
    patches
}
