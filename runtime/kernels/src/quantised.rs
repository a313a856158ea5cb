//! Layers with 8-bit weights, computed in integers.
//!
//! Weights are symmetric with a scale for each output. Each input row is brought to unsigned bytes with a scale and a zero point of its
//! own, by the formula of ONNX's `DynamicQuantizeLinear`, which knows one range for all rows: a row's own range is never wider, so each
//! number errs by no more. With `s` that operator's scale, the two results differ by at most `s · Σ|w|` (twice that, where
//! [`Kernels::levels`] are 127), besides rounding.

use super::aligned::Aligned;
use super::block::{Ahead, ByteBlock, STEP};
use super::finish::{Finish, Scales};
use super::linear::padded;
use super::transformer::Activation;
use super::{Isa, Kernels};

/// A layer `x · weight + bias` with 8-bit weights, packed for one set of kernels.
#[derive(Debug, Clone)]
pub struct QuantisedLinear {
    inputs: usize,
    outputs: usize,
    strip: usize,
    group: usize,
    weights: Aligned<i8>, // [strips, wide / group, strip, group], filled up with zeros
    scales: Aligned<f32>, // [strips, strip]
    sums: Aligned<i32>,   // [strips, strip], of the weights of a column
    bias: Aligned<f32>,   // [strips, strip]
}

impl QuantisedLinear {
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
        let (outputs, strip) = (self.outputs.max(1), self.strip);
        let wide = self.inputs.next_multiple_of(STEP);
        for (index, strips) in self.weights.chunks_exact_mut(wide * strip).enumerate() {
            let (column, columns) = (index * strip, strip.min(outputs - index * strip));
            for (rows, slots) in rows.chunks(GROUP * outputs).zip(strips[first * strip..].chunks_exact_mut(GROUP * strip)) {
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
pub struct QuantisedRows {
    count: usize,
    dim: usize,
    values: Aligned<u8>, // [count, wide]
    scales: Vec<f32>,    // [count]
    zeros: Vec<i32>,     // [count], for the bytes as the kernels read them
    sums: Aligned<i32>,  // [count, strip]
}

impl QuantisedRows {
    /// Bytes `[count, wide]`, and each row's scale and zero.
    pub(crate) fn parts(&self) -> (&[u8], &[f32], &[i32]) {
        (&self.values[..self.count * self.dim.next_multiple_of(STEP)], &self.scales, &self.zeros)
    }
}

/// How a row's bytes come back to numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Range {
    pub(crate) scale: f32,
    pub(crate) zero: i32,
}

impl Range {
    /// The range of numbers from `low` to `high`, with the factor that brings them to `levels` steps; `None` if all are as good as zero.
    pub(crate) fn new(low: f32, high: f32, levels: u8) -> Option<(Range, f32)> {
        let (low, high, levels) = (low.min(0.0), high.max(0.0), f32::from(levels));
        let inverse = levels / (high - low);
        let zero = (-low * inverse).round_ties_even().clamp(0.0, levels);
        inverse.is_normal().then_some((Range { scale: (high - low) / levels, zero: zero as i32 }, inverse))
    }

    /// Of a row without a number other than zero.
    pub(crate) const ZERO: Range = Range { scale: 0.0, zero: 0 };
    /// Of a row that holds NaN or infinity: all that is made from it is NaN.
    pub(crate) const NAN: Range = Range { scale: f32::NAN, zero: 0 };
}

impl Kernels {
    /// The largest byte that rows are quantised to. Sets without a dot product of four bytes add products in pairs in 16 bits, which must
    /// not overflow: 2 · 127 · 128 does not, whether bytes are signed within ±127 or unsigned up to 127.
    pub fn levels(&self) -> u8 {
        match self.isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => 254,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => 127,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => 254,
            _ => 255,
        }
    }

    /// What is taken from each byte before the product reads it: sets that multiply signed bytes alone need it.
    pub(crate) fn shift(&self) -> u8 {
        match self.isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => 127,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => 127,
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot(_) => 128,
            _ => 0,
        }
    }

    /// Packs a layer; `weight · scales` is what the integers stand for.
    ///
    /// # Shapes
    /// - `weight`: `[inputs, outputs]`
    /// - `scales`, `bias`: `[outputs]`
    ///
    /// # Panics
    /// The lengths do not fit those shapes, or `inputs` is 0 or above [`QuantisedLinear::MAX_INPUTS`].
    pub fn pack_linear_int8(&self, weight: &[i8], inputs: usize, outputs: usize, scales: &[f32], bias: Option<&[f32]>) -> QuantisedLinear {
        assert!(weight.len() == inputs * outputs, "pack_linear_int8: expected {inputs} x {outputs} weights, found {}", weight.len());
        let mut layer = self.empty_linear_int8(inputs, outputs, scales, bias);
        layer.set_rows(0, weight);
        layer
    }

    /// A layer whose weights are zero until [`QuantisedLinear::set_rows`] sets them.
    ///
    /// # Panics
    /// There are no inputs or more than [`QuantisedLinear::MAX_INPUTS`], or `scales` or `bias` have not a number for each output.
    pub fn empty_linear_int8(&self, inputs: usize, outputs: usize, scales: &[f32], bias: Option<&[f32]>) -> QuantisedLinear {
        let lengths = scales.len() == outputs && bias.is_none_or(|bias| bias.len() == outputs);
        assert!(
            (1..=QuantisedLinear::MAX_INPUTS).contains(&inputs) && lengths,
            "empty_linear_int8: expected 1 to {} inputs and {outputs} scales, found {inputs} and {}",
            QuantisedLinear::MAX_INPUTS,
            scales.len()
        );
        let (strip, group) = (self.strip(), self.group());
        let (wide, columns) = (inputs.next_multiple_of(STEP), outputs.next_multiple_of(strip));
        let bias = bias.map_or_else(|| Aligned::zeros(columns), |bias| padded(bias, strip));
        let (weights, sums) = (Aligned::zeros(wide * columns), Aligned::zeros(columns));
        QuantisedLinear { inputs, outputs, strip, group, weights, scales: padded(scales, strip), sums, bias }
    }

    /// Brings each row of `x`, `[rows, dim]`, to bytes. Rows with NaN or infinity stay known as such.
    ///
    /// # Panics
    /// `x` does not hold whole rows of `dim` values.
    pub fn quantise(&self, x: &[f32], dim: usize, rows: &mut QuantisedRows) {
        assert!(dim > 0 && x.len().is_multiple_of(dim), "quantise: expected whole rows of {dim} values, found {}", x.len());
        let (wide, levels, shift) = (dim.next_multiple_of(STEP), self.levels(), self.shift());
        (rows.count, rows.dim) = (x.len() / dim, dim);
        // Weights are zero behind a row's end, so whatever bytes stand there count for nothing.
        rows.values.grow(rows.count * wide);
        rows.scales.clear();
        rows.zeros.clear();
        for (row, bytes) in x.chunks_exact(dim).zip(rows.values.chunks_exact_mut(wide)) {
            let range = self.quantise_row(row, levels, &mut bytes[..dim]);
            if shift > 0 {
                bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_sub(shift));
            }
            rows.scales.push(range.scale);
            rows.zeros.push(range.zero - i32::from(shift));
        }
    }

    /// `out = activation(x · weight + bias) + residual`, where `x` was brought to bytes by [`quantise`](Self::quantise).
    ///
    /// # Shapes
    /// - `x`: `[rows, inputs]`
    /// - `residual`, `out`: `[rows, outputs]`
    ///
    /// # Panics
    /// The lengths do not fit those shapes, or another set of kernels packed the layer.
    pub fn linear_int8(
        &self,
        layer: &QuantisedLinear,
        x: &mut QuantisedRows,
        activation: Activation,
        residual: Option<&[f32]>,
        out: &mut [f32],
    ) {
        let QuantisedLinear { inputs, outputs, strip, .. } = *layer;
        let QuantisedRows { count: rows, dim, ref values, ref scales, ref zeros, ref mut sums } = *x;
        let fits = dim == inputs && out.len() == rows * outputs && strip == self.strip();
        assert!(
            fits && residual.is_none_or(|r| r.len() == out.len()),
            "linear_int8: expected {rows} rows of {inputs} and {outputs} values"
        );
        if out.is_empty() {
            return;
        }
        let (wide, block) = (inputs.next_multiple_of(STEP), self.block_rows_int8());
        sums.grow(rows * strip);
        // Bytes are a quarter of floats.
        let depth = 4 * self.depth();
        for (index, weights) in layer.weights.chunks_exact(wide * strip).enumerate() {
            let column = index * strip;
            let lanes = column..column + strip;
            for (part, weights) in weights.chunks(depth * strip).enumerate() {
                let (from, depth) = (part * depth, weights.len() / strip);
                let mut ahead = Ahead::new(&layer.weights[index * wide * strip + from * strip..], weights.len(), rows.div_ceil(block));
                for row in (0..rows).step_by(block) {
                    ahead.fetch();
                    let count = block.min(rows - row);
                    let sums = &mut sums[row * strip..][..count * strip];
                    let block = ByteBlock { rows: &values[row * wide + from..], stride: wide, count, depth, weights, add: part > 0 };
                    self.block_int8(&block, sums);
                    if from + depth == wide {
                        let (rows, zeros) = (&scales[row..][..count], &zeros[row..][..count]);
                        let columns = &layer.scales[lanes.clone()];
                        let scales = Scales { columns, sums: &layer.sums[lanes.clone()], rows, zeros };
                        let residual = residual.map(|residual| &residual[row * outputs..][..count * outputs]);
                        let columns = strip.min(outputs - column);
                        let finish = Finish { bias: &layer.bias[lanes.clone()], activation, residual, outputs, column, columns };
                        self.finish_int8(sums, &scales, &finish, &mut out[row * outputs..][..count * outputs]);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "quantised_tests.rs"]
mod tests;
