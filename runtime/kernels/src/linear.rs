//! Products with fixed weights, packed once.

use super::Kernels;
use super::aligned::Aligned;
use super::block::{Ahead, Block};
use super::finish::Finish;
use super::transformer::{Activation, LayerMemory};

/// A layer `x · weight + bias`, packed for one set of kernels.
#[derive(Debug, Clone)]
pub struct Linear {
    inputs: usize,
    outputs: usize,
    strip: usize,
    weights: Aligned<f32>, // [strips, inputs, strip], filled up with zeros
    bias: Aligned<f32>,    // [strips, strip]
}

impl Linear {
    /// Numbers in an input row.
    #[inline]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Numbers in an output row.
    #[inline]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Sets the weights from some row on.
    ///
    /// # Shapes
    /// - `rows`: `[some, outputs]`
    ///
    /// # Panics
    /// The layer has not so many rows, or `rows` does not hold whole ones.
    pub fn set_rows(&mut self, first: usize, rows: &[f32]) {
        let (outputs, strip) = (self.outputs.max(1), self.strip);
        assert!(
            rows.len().is_multiple_of(outputs) && first + rows.len() / outputs <= self.inputs,
            "set_rows: expected whole rows of {outputs} up to {}, found {} values from {first} on",
            self.inputs,
            rows.len()
        );
        for (index, strips) in self.weights.chunks_exact_mut(self.inputs * strip).enumerate() {
            let (column, columns) = (index * strip, strip.min(outputs - index * strip));
            for (row, slots) in rows.chunks_exact(outputs).zip(strips[first * strip..].chunks_exact_mut(strip)) {
                slots[..columns].copy_from_slice(&row[column..][..columns]);
            }
        }
    }
}

/// `values` and zeros behind them, up to a multiple of `strip`.
pub(crate) fn padded(values: &[f32], strip: usize) -> Aligned<f32> {
    let mut padded = Aligned::zeros(values.len().next_multiple_of(strip));
    padded[..values.len()].copy_from_slice(values);
    padded
}

impl Kernels {
    /// Packs a layer.
    ///
    /// # Shapes
    /// - `weight`: `[inputs, outputs]`
    /// - `bias`: `[outputs]`
    ///
    /// # Panics
    /// The lengths do not fit those shapes.
    pub fn pack_linear(&self, weight: &[f32], inputs: usize, outputs: usize, bias: Option<&[f32]>) -> Linear {
        assert!(weight.len() == inputs * outputs, "pack_linear: expected {inputs} x {outputs} weights, found {}", weight.len());
        let mut layer = self.empty_linear(inputs, outputs, bias);
        layer.set_rows(0, weight);
        layer
    }

    /// A layer whose weights are zero until [`Linear::set_rows`] sets them.
    ///
    /// # Panics
    /// There are no inputs, or `bias` has not a number for each output.
    pub fn empty_linear(&self, inputs: usize, outputs: usize, bias: Option<&[f32]>) -> Linear {
        assert!(
            inputs > 0 && bias.is_none_or(|bias| bias.len() == outputs),
            "empty_linear: expected inputs, and {outputs} numbers in the bias"
        );
        let strip = self.strip();
        let wide = outputs.next_multiple_of(strip);
        let bias = bias.map_or_else(|| Aligned::zeros(wide), |bias| padded(bias, strip));
        Linear { inputs, outputs, strip, weights: Aligned::zeros(inputs * wide), bias }
    }

    /// `out = activation(x · weight + bias) + residual`.
    ///
    /// # Shapes
    /// - `x`: `[rows, inputs]`
    /// - `residual`, `out`: `[rows, outputs]`
    ///
    /// # Panics
    /// The lengths do not fit those shapes, or another set of kernels packed the layer.
    pub fn linear(
        &self,
        layer: &Linear,
        x: &[f32],
        activation: Activation,
        residual: Option<&[f32]>,
        out: &mut [f32],
        memory: &mut LayerMemory,
    ) {
        let Linear { inputs, outputs, strip, .. } = *layer;
        let rows = x.len() / inputs;
        let fits = x.len() == rows * inputs && out.len() == rows * outputs && strip == self.strip();
        assert!(fits && residual.is_none_or(|r| r.len() == out.len()), "linear: expected {rows} rows of {inputs} and {outputs} values");
        if out.is_empty() {
            return;
        }
        let block = self.block_rows();
        let products = &mut memory.products;
        products.grow(rows * strip);
        for (index, (weights, bias)) in layer.weights.chunks_exact(inputs * strip).zip(layer.bias.chunks_exact(strip)).enumerate() {
            let column = index * strip;
            for (part, weights) in weights.chunks(self.depth() * strip).enumerate() {
                let (from, depth) = (part * self.depth(), weights.len() / strip);
                let mut ahead = Ahead::new(&layer.weights[index * inputs * strip + from * strip..], weights.len(), rows.div_ceil(block));
                for row in (0..rows).step_by(block) {
                    ahead.fetch();
                    let count = block.min(rows - row);
                    let rows = &x[row * inputs + from..];
                    let block = Block { rows, stride: inputs, count, depth, weights, pitch: strip, columns: strip, add: part > 0 };
                    let products = &mut products[row * strip..][..count * strip];
                    self.block_f32(&block, products, strip);
                    if from + depth == inputs {
                        let residual = residual.map(|residual| &residual[row * outputs..][..count * outputs]);
                        let columns = strip.min(outputs - column);
                        let finish = Finish { bias, activation, residual, outputs, column, columns };
                        self.finish(products, &finish, &mut out[row * outputs..][..count * outputs]);
                    }
                }
            }
        }
    }
}
