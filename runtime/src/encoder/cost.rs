//! How much work an encoder is, counted on its graph.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::Cost;

use super::fail;
use crate::Result;
use crate::bundle::Bundle;

/// Multiplications, each with its addition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Multiplications {
    /// Of floats.
    pub floats: u64,
    /// Of 8-bit integers, summed in 32 bits.
    pub integers: u64,
}

/// Counts what a bundle's image encoder multiplies for a grid of `rows` by `cols` patches.
///
/// # Errors
/// [`crate::Error::Encoder`] if the engine refuses the ONNX file.
pub fn multiplications(bundle: &Bundle, (rows, cols): (usize, usize)) -> Result<Multiplications> {
    let image = &bundle.manifest().image;
    let blob = bundle.blob(&image.blob)?;
    let count = || -> TractResult<Multiplications> {
        let pixels = f32::fact([1, 3, rows * image.patch_px, cols * image.patch_px]);
        let positions = f32::fact([1, 1 + rows * cols, image.positions.width]);
        let model = tract_onnx::onnx().model_for_read(&mut &*blob)?;
        let model = model.with_input_fact(0, pixels.into())?.with_input_fact(1, positions.into())?.into_typed()?;
        let mut total = Multiplications::default();
        for node in model.nodes() {
            for (cost, count) in node.op.cost(&model.node_input_facts(node.id)?)? {
                match cost {
                    Cost::FMA(kind) if kind.is_float() => total.floats += u64::try_from(count.to_i64()?)?,
                    Cost::FMA(_) => total.integers += u64::try_from(count.to_i64()?)?,
                    _ => {}
                }
            }
        }
        Ok(total)
    };
    count().map_err(fail("image"))
}
