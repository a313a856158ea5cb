//! Products with fixed weights, packed once.

use super::Prefetch;
use super::Workspace;
use crate::dispatch::Kernels;
use crate::operands::{Activation, Aligned, Epilogue, TileF32, padded};

/// A layer `x · weight + bias`, packed for one set of kernels.
#[derive(Debug, Clone)]
pub struct Linear {
    inputs: usize,
    outputs: usize,
    panel: usize,
    weights: Aligned<f32>, // [panels, inputs, panel], filled up with zeros
    bias: Aligned<f32>,    // [panels, panel]
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
        let (outputs, panel) = (self.outputs.max(1), self.panel);
        assert!(
            rows.len().is_multiple_of(outputs) && first + rows.len() / outputs <= self.inputs,
            "set_rows: expected whole rows of {outputs} up to {}, found {} values from {first} on",
            self.inputs,
            rows.len()
        );
        for (index, panels) in self.weights.chunks_exact_mut(self.inputs * panel).enumerate() {
            let (column, columns) = (index * panel, panel.min(outputs - index * panel));
            for (row, slots) in rows.chunks_exact(outputs).zip(panels[first * panel..].chunks_exact_mut(panel)) {
                slots[..columns].copy_from_slice(&row[column..][..columns]);
            }
        }
    }
}

impl Kernels {
    /// A layer whose weights are zero until [`Linear::set_rows`] sets them.
    ///
    /// # Shapes
    /// - `bias`: `[outputs]`
    ///
    /// # Panics
    /// There are no inputs, or `bias` has not a number for each output.
    pub fn empty_linear(&self, inputs: usize, outputs: usize, bias: Option<&[f32]>) -> Linear {
        assert!(
            inputs > 0 && bias.is_none_or(|bias| bias.len() == outputs),
            "empty_linear: expected inputs, and {outputs} numbers in the bias"
        );
        let panel = self.panel();
        let wide = outputs.next_multiple_of(panel);
        let bias = bias.map_or_else(|| Aligned::zeros(wide), |bias| padded(bias, panel));
        Linear { inputs, outputs, panel, weights: Aligned::zeros(inputs * wide), bias }
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
        workspace: &mut Workspace,
    ) {
        let Linear { inputs, outputs, panel, .. } = *layer;
        let rows = x.len() / inputs;
        let fits = x.len() == rows * inputs && out.len() == rows * outputs && panel == self.panel();
        assert!(fits && residual.is_none_or(|r| r.len() == out.len()), "linear: expected {rows} rows of {inputs} and {outputs} values");
        if out.is_empty() {
            return;
        }
        let tile = self.tile_rows();
        let products = &mut workspace.products;
        products.grow(rows * panel);
        for (index, (weights, bias)) in layer.weights.chunks_exact(inputs * panel).zip(layer.bias.chunks_exact(panel)).enumerate() {
            let column = index * panel;
            for (part, weights) in weights.chunks(self.depth() * panel).enumerate() {
                let (from, depth) = (part * self.depth(), weights.len() / panel);
                let mut prefetch =
                    Prefetch::new(&layer.weights[index * inputs * panel + from * panel..], weights.len(), rows.div_ceil(tile));
                for row in (0..rows).step_by(tile) {
                    prefetch.fetch();
                    let count = tile.min(rows - row);
                    let rows = &x[row * inputs + from..];
                    let tile = TileF32 { rows, rows_ld: inputs, count, depth, weights, weights_ld: panel, columns: panel, add: part > 0 };
                    let products = &mut products[row * panel..][..count * panel];
                    self.gemm_f32(&tile, products, panel);
                    if from + depth == inputs {
                        let residual = residual.map(|residual| &residual[row * outputs..][..count * outputs]);
                        let columns = panel.min(outputs - column);
                        let epilogue = Epilogue { bias, activation, residual, outputs, column, columns };
                        self.epilogue(products, &epilogue, &mut out[row * outputs..][..count * outputs]);
                    }
                }
            }
        }
    }
}
