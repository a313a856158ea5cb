//! Layers with 8-bit weights, computed in integers.
//!
//! Weights are symmetric with a scale for each output. Each input row is brought to unsigned bytes with a scale and a zero point of its
//! own, by the formula of ONNX's `DynamicQuantizeLinear`, which knows one range for all rows: a row's own range is never wider, so each
//! number errs by no more. With `s` that operator's scale, the two results differ by at most `s · Σ|w|` (twice that, where
//! rows are brought to 7 bits), besides rounding.

use super::Prefetch;
use crate::dispatch::Kernels;
use crate::operands::{Activation, Aligned, Epilogue, STEP_INT8 as STEP, Scales, TileInt8, padded};

/// A layer `x · weight + bias` with 8-bit weights, packed for one set of kernels.
#[derive(Debug, Clone)]
pub struct LinearInt8 {
    inputs: usize,
    outputs: usize,
    panel: usize,
    group: usize,
    weights: Aligned<i8>, // [panels, wide / group, panel, group], filled up with zeros
    scales: Aligned<f32>, // [panels, panel]
    sums: Aligned<i32>,   // [panels, panel], of the weights of a column
    bias: Aligned<f32>,   // [panels, panel]
}

impl LinearInt8 {
    /// Longest row of which a sum of products of bytes surely fits 32 bits.
    pub const MAX_INPUTS: usize = 1 << 16;

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

    /// Sets the weights from some row on, a multiple of 16. A row is set once.
    ///
    /// # Shapes
    /// - `rows`: `[some, outputs]`
    ///
    /// # Panics
    /// The layer has not so many rows, `rows` does not hold whole ones, or `first` is no multiple of 16.
    pub fn set_rows(&mut self, first: usize, rows: &[i8]) {
        let outputs = self.outputs.max(1);
        assert!(
            first.is_multiple_of(STEP) && rows.len().is_multiple_of(outputs) && first + rows.len() / outputs <= self.inputs,
            "set_rows: expected whole rows of {outputs} up to {}, found {} values from {first} on",
            self.inputs,
            rows.len()
        );
        match self.group {
            8 => self.interleave::<8>(first, rows),
            _ => self.interleave::<4>(first, rows),
        }
        for row in rows.chunks_exact(outputs) {
            self.sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += i32::from(*value));
        }
    }

    fn interleave<const GROUP: usize>(&mut self, first: usize, rows: &[i8]) {
        let (outputs, panel) = (self.outputs.max(1), self.panel);
        let wide = self.inputs.next_multiple_of(STEP);
        for (index, panels) in self.weights.chunks_exact_mut(wide * panel).enumerate() {
            let (column, columns) = (index * panel, panel.min(outputs - index * panel));
            for (rows, slots) in rows.chunks(GROUP * outputs).zip(panels[first * panel..].chunks_exact_mut(GROUP * panel)) {
                let slots = slots[..columns * GROUP].as_chunks_mut::<GROUP>().0;
                if rows.len() == GROUP * outputs {
                    let rows: [&[i8]; GROUP] = std::array::from_fn(|row| &rows[row * outputs + column..][..columns]);
                    for (at, slot) in slots.iter_mut().enumerate() {
                        *slot = std::array::from_fn(|row| rows[row][at]);
                    }
                } else {
                    for (row, values) in rows.chunks_exact(outputs).enumerate() {
                        slots.iter_mut().zip(&values[column..][..columns]).for_each(|(slot, value)| slot[row] = *value);
                    }
                }
            }
        }
    }
}

/// Rows of numbers as bytes: `scale · (byte - zero)`.
#[derive(Debug, Clone, Default)]
pub struct RowsInt8 {
    count: usize,
    dim: usize,
    values: Aligned<u8>, // [count, wide]
    scales: Vec<f32>,    // [count]
    zeros: Vec<i32>,     // [count], for the bytes as the kernels read them
    sums: Aligned<i32>,  // [count, panel]
}

impl RowsInt8 {
    /// Bytes `[count, wide]`, and each row's scale and zero.
    pub(crate) fn parts(&self) -> (&[u8], &[f32], &[i32]) {
        (&self.values[..self.count * self.dim.next_multiple_of(STEP)], &self.scales, &self.zeros)
    }
}

impl Kernels {
    /// A layer whose weights are zero until [`LinearInt8::set_rows`] sets them; the integers stand for `weight · scales`.
    ///
    /// # Shapes
    /// - `scales`, `bias`: `[outputs]`
    ///
    /// # Panics
    /// There are no inputs or more than [`LinearInt8::MAX_INPUTS`], or `scales` or `bias` have not a number for each output.
    pub fn empty_linear_int8(&self, inputs: usize, outputs: usize, scales: &[f32], bias: Option<&[f32]>) -> LinearInt8 {
        let lengths = scales.len() == outputs && bias.is_none_or(|bias| bias.len() == outputs);
        assert!(
            (1..=LinearInt8::MAX_INPUTS).contains(&inputs) && lengths,
            "empty_linear_int8: expected 1 to {} inputs and {outputs} scales, found {inputs} and {}",
            LinearInt8::MAX_INPUTS,
            scales.len()
        );
        let (panel, group) = (self.panel(), self.group());
        let (wide, columns) = (inputs.next_multiple_of(STEP), outputs.next_multiple_of(panel));
        let bias = bias.map_or_else(|| Aligned::zeros(columns), |bias| padded(bias, panel));
        let (weights, sums) = (Aligned::zeros(wide * columns), Aligned::zeros(columns));
        LinearInt8 { inputs, outputs, panel, group, weights, scales: padded(scales, panel), sums, bias }
    }

    /// Brings each row of `x`, `[rows, dim]`, to bytes. Rows with NaN or infinity stay known as such.
    ///
    /// # Panics
    /// `x` does not hold whole rows of `dim` values.
    pub fn quantize_rows(&self, x: &[f32], dim: usize, rows: &mut RowsInt8) {
        assert!(dim > 0 && x.len().is_multiple_of(dim), "quantize_rows: expected whole rows of {dim} values, found {}", x.len());
        let (wide, levels, shift) = (dim.next_multiple_of(STEP), self.levels(), self.shift());
        (rows.count, rows.dim) = (x.len() / dim, dim);
        // Weights are zero behind a row's end, so whatever bytes lie there count for nothing.
        rows.values.grow(rows.count * wide);
        rows.scales.clear();
        rows.zeros.clear();
        for (row, bytes) in x.chunks_exact(dim).zip(rows.values.chunks_exact_mut(wide)) {
            let range = self.quantize_row(row, levels, &mut bytes[..dim]);
            if shift > 0 {
                bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_sub(shift));
            }
            rows.scales.push(range.scale);
            rows.zeros.push(range.zero - i32::from(shift));
        }
    }

    /// `out = activation(x · weight + bias) + residual`, where `x` was brought to bytes by [`quantize_rows`](Self::quantize_rows).
    ///
    /// # Shapes
    /// - `x`: `[rows, inputs]`
    /// - `residual`, `out`: `[rows, outputs]`
    ///
    /// # Panics
    /// The lengths do not fit those shapes, or another set of kernels packed the layer.
    pub fn linear_int8(&self, layer: &LinearInt8, x: &mut RowsInt8, activation: Activation, residual: Option<&[f32]>, out: &mut [f32]) {
        let LinearInt8 { inputs, outputs, panel, .. } = *layer;
        let RowsInt8 { count: rows, dim, ref values, ref scales, ref zeros, ref mut sums } = *x;
        let fits = dim == inputs && out.len() == rows * outputs && panel == self.panel();
        assert!(
            fits && residual.is_none_or(|r| r.len() == out.len()),
            "linear_int8: expected {rows} rows of {inputs} and {outputs} values"
        );
        if out.is_empty() {
            return;
        }
        let (wide, tile) = (inputs.next_multiple_of(STEP), self.tile_rows_int8());
        sums.grow(rows * panel);
        let depth = self.depth_int8();
        for (index, weights) in layer.weights.chunks_exact(wide * panel).enumerate() {
            let column = index * panel;
            let lanes = column..column + panel;
            for (part, weights) in weights.chunks(depth * panel).enumerate() {
                let (from, depth) = (part * depth, weights.len() / panel);
                let mut prefetch = Prefetch::new(&layer.weights[index * wide * panel + from * panel..], weights.len(), rows.div_ceil(tile));
                for row in (0..rows).step_by(tile) {
                    prefetch.fetch();
                    let count = tile.min(rows - row);
                    let sums = &mut sums[row * panel..][..count * panel];
                    let tile = TileInt8 { rows: &values[row * wide + from..], rows_ld: wide, count, depth, weights, add: part > 0 };
                    self.gemm_int8(&tile, sums);
                    if from + depth == wide {
                        let (rows, zeros) = (&scales[row..][..count], &zeros[row..][..count]);
                        let columns = &layer.scales[lanes.clone()];
                        let scales = Scales { columns, sums: &layer.sums[lanes.clone()], rows, zeros };
                        let residual = residual.map(|residual| &residual[row * outputs..][..count * outputs]);
                        let columns = panel.min(outputs - column);
                        let epilogue = Epilogue { bias: &layer.bias[lanes.clone()], activation, residual, outputs, column, columns };
                        self.epilogue_int8(sums, &scales, &epilogue, &mut out[row * outputs..][..count * outputs]);
                    }
                }
            }
        }
    }
}
