//! Layers in 16-bit floats: half the weights' memory, and twice the numbers in a register.
//!
//! Operands are rounded to 11 bits. Products are summed in 16 bits for 64 numbers of a row, each by one fused instruction, and
//! those sums in 32 bits. So a result differs from the exact one by at most `66 · 2⁻¹¹ · Σ|x · w|`, besides what 32 bits round
//! and what is too small beside the largest: each row, and each layer's weights, are brought by a power of two to where a chunk's sum
//! neither overflows nor vanishes, and numbers 2⁻¹⁷ times the largest and below lose bits.

use super::Prefetch;
use crate::dispatch::Kernels;
use crate::operands::{Activation, Aligned, Epilogue, STEP_F16 as STEP, TileF16, padded, to_f16};

/// Rows are brought below `2^ROWS`, weights below `2^WEIGHTS`: 64 products then stay below 2¹⁵.
const ROWS: i32 = 5;
const WEIGHTS: i32 = 4;

/// A layer `x · weight + bias` in 16-bit floats, packed for one set of kernels.
#[derive(Debug, Clone)]
pub struct LinearF16 {
    inputs: usize,
    outputs: usize,
    panel: usize,
    weights: Aligned<u16>, // [panels, wide, panel], filled up with zeros
    bias: Aligned<f32>,    // [panels, panel]
    /// What brings the weights back to numbers.
    scale: f32,
}

impl LinearF16 {
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
}

/// Rows of numbers as 16-bit floats, each with a power of two that brings them back.
#[derive(Debug, Clone, Default)]
pub struct RowsF16 {
    count: usize,
    dim: usize,
    values: Aligned<u16>,   // [count, wide]
    scales: Vec<f32>,       // [count]
    factors: Vec<f32>,      // [count], with the layer's
    products: Aligned<f32>, // [count, panel]
}

/// The power of two that brings numbers up to `largest` below `2^below`, and the one that brings them back.
fn powers(largest: f32, below: i32) -> (f32, f32) {
    let exponent = (largest.to_bits() >> 23) as i32 - 127;
    match exponent {
        128 => (0.0, f32::NAN),
        // What is smaller than this is as good as zero.
        ..-100 => (0.0, 0.0),
        _ => (2f32.powi(below - 1 - exponent), 2f32.powi(exponent - below + 1)),
    }
}

impl Kernels {
    /// Packs a layer.
    ///
    /// # Shapes
    /// - `weight`: `[inputs, outputs]`, finite
    /// - `bias`: `[outputs]`
    ///
    /// # Panics
    /// The lengths do not fit those shapes.
    pub fn pack_linear_f16(&self, weight: &[f32], inputs: usize, outputs: usize, bias: Option<&[f32]>) -> LinearF16 {
        assert!(
            inputs > 0 && weight.len() == inputs * outputs && bias.is_none_or(|bias| bias.len() == outputs),
            "pack_linear_f16: expected {inputs} x {outputs} weights, found {}",
            weight.len()
        );
        let panel = self.panel();
        let (wide, columns) = (inputs.next_multiple_of(STEP), outputs.next_multiple_of(panel));
        let (factor, scale) = powers(self.largest_magnitude(weight), WEIGHTS);
        let mut weights = Aligned::zeros(wide * columns);
        for (row, values) in weight.chunks_exact(outputs.max(1)).enumerate() {
            for (part, panels) in values.chunks(panel).zip(weights.chunks_exact_mut(wide * panel)) {
                let slots = &mut panels[row * panel..][..part.len()];
                slots.iter_mut().zip(part).for_each(|(slot, value)| *slot = to_f16(value * factor));
            }
        }
        let bias = bias.map_or_else(|| Aligned::zeros(columns), |bias| padded(bias, panel));
        LinearF16 { inputs, outputs, panel, weights, bias, scale }
    }

    /// Rounds each row of `x`, `[rows, dim]`. Rows with NaN or infinity stay known as such.
    ///
    /// # Panics
    /// `x` does not hold whole rows of `dim` values, or this set has no 16-bit floats.
    pub fn round_rows_f16(&self, x: &[f32], dim: usize, rows: &mut RowsF16) {
        assert!(dim > 0 && x.len().is_multiple_of(dim), "round_rows_f16: expected whole rows of {dim} values, found {}", x.len());
        let wide = dim.next_multiple_of(STEP);
        (rows.count, rows.dim) = (x.len() / dim, dim);
        rows.values.grow(rows.count * wide);
        rows.scales.clear();
        for (row, halves) in x.chunks_exact(dim).zip(rows.values.chunks_exact_mut(wide)) {
            let (factor, scale) = powers(self.largest_magnitude(row), ROWS);
            rows.scales.push(scale);
            let (halves, rest) = halves.split_at_mut(dim);
            // Weights are zero behind a row's end, but what lies there may be another layer's infinity.
            rest.fill(0);
            if factor == 0.0 {
                halves.fill(0);
            } else {
                self.round_row_f16(row, factor, halves);
            }
        }
    }

    /// `out = activation(x · weight + bias) + residual`, where `x` was rounded by [`round_rows_f16`](Self::round_rows_f16).
    ///
    /// # Shapes
    /// - `x`: `[rows, inputs]`
    /// - `residual`, `out`: `[rows, outputs]`
    ///
    /// # Panics
    /// The lengths do not fit those shapes, another set of kernels packed the layer, or this set has no 16-bit floats.
    pub fn linear_f16(&self, layer: &LinearF16, x: &mut RowsF16, activation: Activation, residual: Option<&[f32]>, out: &mut [f32]) {
        let LinearF16 { inputs, outputs, panel, .. } = *layer;
        let RowsF16 { count: rows, dim, ref values, ref scales, ref mut factors, ref mut products } = *x;
        let fits = dim == inputs && out.len() == rows * outputs && panel == self.panel();
        assert!(fits && residual.is_none_or(|r| r.len() == out.len()), "linear_f16: expected {rows} rows of {inputs} and {outputs} values");
        if out.is_empty() {
            return;
        }
        factors.clear();
        factors.extend(scales.iter().map(|scale| scale * layer.scale));
        products.grow(rows * panel);
        let (wide, tile, depth) = (inputs.next_multiple_of(STEP), self.tile_rows_f16(), 2 * self.depth());
        for (index, (weights, bias)) in layer.weights.chunks_exact(wide * panel).zip(layer.bias.chunks_exact(panel)).enumerate() {
            let column = index * panel;
            for (part, weights) in weights.chunks(depth * panel).enumerate() {
                let (from, depth) = (part * depth, weights.len() / panel);
                let mut prefetch = Prefetch::new(&layer.weights[index * wide * panel + from * panel..], weights.len(), rows.div_ceil(tile));
                for row in (0..rows).step_by(tile) {
                    prefetch.fetch();
                    let count = tile.min(rows - row);
                    let products = &mut products[row * panel..][..count * panel];
                    let scales = &factors[row..][..count];
                    let tile = TileF16 { rows: &values[row * wide + from..], rows_ld: wide, count, depth, weights, scales, add: part > 0 };
                    self.gemm_f16(&tile, products);
                    if from + depth == wide {
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
