//! How much work an encoder is, counted on the layers that are run.

use edge_seg_board::boards::Macs;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::Cost;

use super::parse::{guarded, parse};
use crate::Result;
use edge_seg_bundle::Bundle;

/// Counts what a bundle's image encoder multiplies for a grid of `rows` by `cols` patches.
///
/// # Errors
/// [`crate::Error::Encoder`] if the engine refuses the ONNX file.
pub fn count_macs(bundle: &Bundle, (rows, cols): (usize, usize)) -> Result<Macs> {
    let image = &bundle.manifest().image;
    let model = parse("image", bundle, &image.blob, &["pixels", "positions"], false)?;
    let count = || -> TractResult<Macs> {
        let pixels = f32::fact([1, 3, rows * image.patch_px, cols * image.patch_px]);
        let positions = f32::fact([1, 1 + rows * cols, image.positions.width]);
        let model = model.with_input_fact(0, pixels.into())?.with_input_fact(1, positions.into())?.into_typed()?;
        let mut total = Macs::default();
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
    guarded("image", bundle.place(), count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second difference of a count over the number of tokens: zero for what grows with that number alone.
    fn bend(count: impl Fn(Macs) -> u64) -> f64 {
        let bundle = Bundle::built_in().unwrap();
        let [a, b, c] = [4, 8, 12].map(|side| ((1 + side * side) as f64, count(count_macs(&bundle, (side, side)).unwrap()) as f64));
        let slope = |(x0, y0): (f64, f64), (x1, y1): (f64, f64)| (y1 - y0) / (x1 - x0);
        (slope(b, c) - slope(a, b)) / (c.0 - a.0)
    }

    #[test]
    fn attention_in_integers_is_counted_as_integers() {
        let manifest = Bundle::built_in().unwrap().manifest().clone();
        assert_eq!(manifest.variant, "int8-dynamic");
        assert_eq!(bend(|work| work.floats), 0.0, "floats grow with the patches' number alone");
        // Each block multiplies two matrices of tokens by tokens by its width.
        let (blocks, width) = (bend(|work| work.integers) / (2.0 * manifest.image.positions.width as f64), 12.0);
        assert_eq!(blocks, width, "found {blocks} blocks");
    }
}
