//! Layers in 16-bit floats: half the weights' memory, and twice the numbers in a register.
//!
//! Operands are rounded to 11 bits. Products are summed in 16 bits for [`CHUNK`] numbers of a row, each by one fused instruction, and
//! those sums in 32 bits. So a result differs from the exact one by at most `(CHUNK + 2) · 2⁻¹¹ · Σ|x · w|`, besides what 32 bits round
//! and what is too small beside the largest: each row, and each layer's weights, are brought by a power of two to where a chunk's sum
//! neither overflows nor vanishes, and numbers 2⁻¹⁷ times the largest and below lose bits.

use super::aligned::Aligned;
use super::block::Ahead;
use super::finish::Finish;
use super::linear::padded;
use super::packed::to_f16;
use super::transformer::Activation;
use super::{Isa, KERNELS_VARIABLE, Kernels, scalar};

/// Numbers of a row that are summed in 16 bits.
pub(crate) const CHUNK: usize = 64;

/// Numbers that a step of the kernels takes from a row.
const STEP: usize = 8;

/// Rows are brought below `2^ROWS`, weights below `2^WEIGHTS`: `CHUNK` products then stay below 2¹⁵.
const ROWS: i32 = 5;
const WEIGHTS: i32 = 4;

/// A layer `x · weight + bias` in 16-bit floats, packed for one set of kernels.
#[derive(Debug, Clone)]
pub struct HalfLinear {
    inputs: usize,
    outputs: usize,
    strip: usize,
    weights: Aligned<u16>, // [strips, wide, strip], filled up with zeros
    bias: Aligned<f32>,    // [strips, strip]
    /// What brings the weights back to numbers.
    scale: f32,
}

impl HalfLinear {
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
pub struct HalfRows {
    count: usize,
    dim: usize,
    values: Aligned<u16>,   // [count, wide]
    scales: Vec<f32>,       // [count]
    factors: Vec<f32>,      // [count], with the layer's
    products: Aligned<f32>, // [count, strip]
}

/// Rows times a strip of columns: `out[m, n] (+)= scales[m] · Σ_k rows[m, k] · weights[k, n]`, summed in 16 bits for [`CHUNK`] numbers.
pub(crate) struct HalfBlock<'a> {
    pub(crate) rows: &'a [u16],
    /// From one row to the next, in `rows`.
    pub(crate) stride: usize,
    /// How many rows, at most [`Kernels::block_rows_half`].
    pub(crate) count: usize,
    /// How many numbers of a row, a multiple of [`STEP`].
    pub(crate) depth: usize,
    pub(crate) weights: &'a [u16], // [depth, strip]
    pub(crate) scales: &'a [f32],  // [count], powers of two
    /// Whether the sums are added to what `out` holds.
    pub(crate) add: bool,
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
    /// Whether this set computes products in 16-bit floats: those of Arm do where the processor has `fp16` (Armv8.2). The reference does
    /// too, slowly, where `EDGE_SEG_KERNELS` asks for it by name.
    pub fn has_halves(&self) -> bool {
        match self.isa {
            Isa::Scalar => std::env::var_os(KERNELS_VARIABLE).is_some_and(|name| name == self.name()),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) | Isa::NeonDot(_) | Isa::NeonI8mm(_) => super::neon_half::Fp16::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            _ => false,
        }
    }

    /// Rows that a block of 16-bit floats has; parts of a multiple of it waste nothing.
    pub fn block_rows_half(&self) -> usize {
        match self.isa {
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) | Isa::NeonDot(_) | Isa::NeonI8mm(_) => super::neon_half::Fp16::ROWS,
            _ => 1,
        }
    }

    /// Packs a layer.
    ///
    /// # Shapes
    /// - `weight`: `[inputs, outputs]`, finite
    /// - `bias`: `[outputs]`
    ///
    /// # Panics
    /// The lengths do not fit those shapes.
    pub fn pack_linear_half(&self, weight: &[f32], inputs: usize, outputs: usize, bias: Option<&[f32]>) -> HalfLinear {
        assert!(
            inputs > 0 && weight.len() == inputs * outputs && bias.is_none_or(|bias| bias.len() == outputs),
            "pack_linear_half: expected {inputs} x {outputs} weights, found {}",
            weight.len()
        );
        let strip = self.strip();
        let (wide, columns) = (inputs.next_multiple_of(STEP), outputs.next_multiple_of(strip));
        let (factor, scale) = powers(self.size_of_row(weight), WEIGHTS);
        let mut weights = Aligned::zeros(wide * columns);
        for (row, values) in weight.chunks_exact(outputs.max(1)).enumerate() {
            for (part, strips) in values.chunks(strip).zip(weights.chunks_exact_mut(wide * strip)) {
                let slots = &mut strips[row * strip..][..part.len()];
                slots.iter_mut().zip(part).for_each(|(slot, value)| *slot = to_f16(value * factor));
            }
        }
        let bias = bias.map_or_else(|| Aligned::zeros(columns), |bias| padded(bias, strip));
        HalfLinear { inputs, outputs, strip, weights, bias, scale }
    }

    /// Rounds each row of `x`, `[rows, dim]`. Rows with NaN or infinity stay known as such.
    ///
    /// # Panics
    /// `x` does not hold whole rows of `dim` values, or this set has no 16-bit floats.
    pub fn halve(&self, x: &[f32], dim: usize, rows: &mut HalfRows) {
        assert!(dim > 0 && x.len().is_multiple_of(dim), "halve: expected whole rows of {dim} values, found {}", x.len());
        let wide = dim.next_multiple_of(STEP);
        (rows.count, rows.dim) = (x.len() / dim, dim);
        rows.values.grow(rows.count * wide);
        rows.scales.clear();
        for (row, halves) in x.chunks_exact(dim).zip(rows.values.chunks_exact_mut(wide)) {
            let (factor, scale) = powers(self.size_of_row(row), ROWS);
            rows.scales.push(scale);
            let (halves, rest) = halves.split_at_mut(dim);
            // Weights are zero behind a row's end, but what stands there may be another layer's infinity.
            rest.fill(0);
            if factor == 0.0 {
                halves.fill(0);
            } else {
                self.halve_row(row, factor, halves);
            }
        }
    }

    /// `out = activation(x · weight + bias) + residual`, where `x` was rounded by [`halve`](Self::halve).
    ///
    /// # Shapes
    /// - `x`: `[rows, inputs]`
    /// - `residual`, `out`: `[rows, outputs]`
    ///
    /// # Panics
    /// The lengths do not fit those shapes, another set of kernels packed the layer, or this set has no 16-bit floats.
    pub fn linear_half(&self, layer: &HalfLinear, x: &mut HalfRows, activation: Activation, residual: Option<&[f32]>, out: &mut [f32]) {
        let HalfLinear { inputs, outputs, strip, .. } = *layer;
        let HalfRows { count: rows, dim, ref values, ref scales, ref mut factors, ref mut products } = *x;
        let fits = dim == inputs && out.len() == rows * outputs && strip == self.strip();
        assert!(
            fits && residual.is_none_or(|r| r.len() == out.len()),
            "linear_half: expected {rows} rows of {inputs} and {outputs} values"
        );
        if out.is_empty() {
            return;
        }
        factors.clear();
        factors.extend(scales.iter().map(|scale| scale * layer.scale));
        products.grow(rows * strip);
        let (wide, block, depth) = (inputs.next_multiple_of(STEP), self.block_rows_half(), 2 * self.depth());
        for (index, (weights, bias)) in layer.weights.chunks_exact(wide * strip).zip(layer.bias.chunks_exact(strip)).enumerate() {
            let column = index * strip;
            for (part, weights) in weights.chunks(depth * strip).enumerate() {
                let (from, depth) = (part * depth, weights.len() / strip);
                let mut ahead = Ahead::new(&layer.weights[index * wide * strip + from * strip..], weights.len(), rows.div_ceil(block));
                for row in (0..rows).step_by(block) {
                    ahead.fetch();
                    let count = block.min(rows - row);
                    let products = &mut products[row * strip..][..count * strip];
                    let scales = &factors[row..][..count];
                    let block =
                        HalfBlock { rows: &values[row * wide + from..], stride: wide, count, depth, weights, scales, add: part > 0 };
                    self.block_half(&block, products);
                    if from + depth == wide {
                        let residual = residual.map(|residual| &residual[row * outputs..][..count * outputs]);
                        let columns = strip.min(outputs - column);
                        let finish = Finish { bias, activation, residual, outputs, column, columns };
                        self.finish(products, &finish, &mut out[row * outputs..][..count * outputs]);
                    }
                }
            }
        }
    }

    /// `out` has a strip for each of the block's rows.
    fn block_half(&self, block: &HalfBlock<'_>, out: &mut [f32]) {
        let (rows, strip) = (self.block_rows_half(), self.strip());
        assert!(
            (1..=rows).contains(&block.count)
                && block.depth.is_multiple_of(STEP)
                && block.rows.len() >= (block.count - 1) * block.stride + block.depth
                && block.weights.len() == block.depth * strip
                && block.scales.len() == block.count
                && out.len() == block.count * strip,
            "block_half: lengths differ"
        );
        #[cfg(target_arch = "aarch64")]
        if !matches!(self.isa, Isa::Scalar) {
            return super::neon_half::Fp16::expect().block_half(block, out);
        }
        scalar::block_half(block, out);
    }

    /// Each number times `factor`, rounded to 16 bits; the products are within ±2^[`ROWS`].
    fn halve_row(&self, row: &[f32], factor: f32, out: &mut [u16]) {
        assert_eq!(row.len(), out.len(), "halve_row: lengths differ");
        #[cfg(target_arch = "aarch64")]
        if !matches!(self.isa, Isa::Scalar) {
            return super::neon_half::Fp16::expect().halve_row(row, factor, out);
        }
        scalar::halve_row(row, factor, out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::packed::from_f16;
    use super::super::tests::{LANES, Random};
    use super::*;

    /// The sets that compute in 16 bits, the reference first.
    fn sets() -> Vec<&'static Kernels> {
        Kernels::all().into_iter().filter(|set| matches!(set.isa, Isa::Scalar) || set.has_halves()).collect()
    }

    #[test]
    fn rounded_rows_and_their_products_are_the_references_own() {
        let mut random = Random(21);
        for set in sets() {
            let strip = set.strip();
            for depth in (STEP..=2 * CHUNK + STEP).step_by(STEP).chain([768]) {
                for count in 1..=set.block_rows_half() {
                    for (add, stride, large) in [(false, depth, false), (true, depth + 3, true)] {
                        let mut halves = |len: usize, size: f32| -> Vec<u16> {
                            // All of one sign and size is what overflows; what is tiny is what vanishes.
                            let values = random.values(len);
                            values.iter().map(|v| to_f16(if large { size * (1.0 - 1e-3) } else { v * v * v * size })).collect()
                        };
                        let (rows, weights) = (halves(count * stride, 32.0), halves(depth * strip, 16.0));
                        let scales: Vec<f32> = (0..count).map(|m| 2f32.powi(m as i32 - 3)).collect();
                        let block = HalfBlock { rows: &rows, stride, count, depth, weights: &weights, scales: &scales, add };
                        let (mut found, mut expected) = (vec![0.75; count * strip], vec![0.75; count * strip]);
                        set.block_half(&block, &mut found);
                        scalar::block_half(&block, &mut expected);
                        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                        assert_eq!(bits(&found), bits(&expected), "{}: {count} rows, {depth} deep", set.name());
                        assert!(found.iter().all(|v| v.is_finite()));
                    }
                }
            }
            for len in 1..=4 * LANES + 1 {
                for offset in [0, 1, 3] {
                    let x = random.values(offset + len);
                    let (mut found, mut expected) = (vec![1; len], vec![2; len]);
                    for factor in [1.0, 32.0, 2f32.powi(-17), 2f32.powi(-24)] {
                        set.halve_row(&x[offset..], factor, &mut found);
                        scalar::halve_row(&x[offset..], factor, &mut expected);
                        assert_eq!(found, expected, "{}: {len} times {factor}", set.name());
                    }
                }
            }
        }
    }

    #[test]
    fn layers_stay_within_the_bound_of_summed_products() {
        let mut random = Random(22);
        for inputs in (1..=2 * LANES + 1).chain([192, 520]) {
            for (rows, outputs) in [(1, 1), (3, 15), (9, 33), (17, 48)] {
                for (size, weights) in [(3.0, 0.1), (1e-20, 1e10), (1e30, 1e-25), (6e4, 7.0)] {
                    let x: Vec<f32> = random.values(rows * inputs).iter().map(|v| v * size).collect();
                    let weight: Vec<f32> = random.values(inputs * outputs).iter().map(|v| v * weights).collect();
                    let (bias, residual) = (random.values(outputs), random.values(rows * outputs));
                    for set in sets() {
                        let layer = set.pack_linear_half(&weight, inputs, outputs, Some(&bias));
                        let (mut halves, mut out) = (HalfRows::default(), vec![f32::NAN; rows * outputs]);
                        set.halve(&x, inputs, &mut halves);
                        set.linear_half(&layer, &mut halves, Activation::None, Some(&residual), &mut out);
                        for (at, found) in out.iter().enumerate() {
                            let (row, column) = (at / outputs, at % outputs);
                            let x = &x[row * inputs..][..inputs];
                            let product = |k: usize| f64::from(x[k]) * f64::from(weight[k * outputs + column]);
                            let exact: f64 = (0..inputs).map(product).sum::<f64>() + f64::from(bias[column]) + f64::from(residual[at]);
                            let sizes: f64 = (0..inputs).map(|k| product(k).abs()).sum();
                            let most = x.iter().fold(0.0f32, |a, v| a.max(v.abs()));
                            let steps = (CHUNK.min(inputs) + 2) as f64 / 2048.0 + 1e-6;
                            // What vanishes beside the largest: half of the smallest half float's last place for each operand and sum.
                            let lost = inputs as f64 * f64::from(most) * f64::from(weights) * 2f64.powi(-24);
                            let error = (f64::from(*found) - exact).abs();
                            assert!(
                                error <= steps * sizes + lost + 1e-6,
                                "{}: {rows} x {inputs} x {outputs} of {size}: {found} for {exact}",
                                set.name()
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn rows_that_are_not_finite_spoil_themselves_alone_and_empty_ones_nothing() {
        for set in sets() {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for dim in [1, 5, 16, 33] {
                    let (rows, outputs) = (11, 20);
                    let mut x = vec![0.0; rows * dim];
                    x[3 * dim + dim / 2] = bad;
                    x[5 * dim..6 * dim].fill(2.0);
                    x[6 * dim..7 * dim].fill(1e-42);
                    let layer = set.pack_linear_half(&vec![0.5; dim * outputs], dim, outputs, Some(&vec![0.25; outputs]));
                    let (mut halves, mut out) = (HalfRows::default(), vec![7.0; rows * outputs]);
                    // Memory that held something else.
                    set.halve(&vec![f32::INFINITY; 3 * (dim + 7)], dim + 7, &mut halves);
                    set.halve(&x, dim, &mut halves);
                    set.linear_half(&layer, &mut halves, Activation::None, None, &mut out);
                    for (row, out) in out.chunks_exact(outputs).enumerate() {
                        match row {
                            3 => assert!(out.iter().all(|v| v.is_nan()), "{}: {bad}, {out:?}", set.name()),
                            5 => assert!(out.iter().all(|v| *v == dim as f32 + 0.25), "{}: {out:?}", set.name()),
                            _ => assert!(out.iter().all(|v| *v == 0.25), "{}: {out:?}", set.name()),
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn sums_are_rounded_to_sixteen_bits_a_chunk_at_a_time() {
        // 2048 + 1 is 2048 in 16 bits, so what a chunk adds to its first product is lost, and what comes after it is not.
        let mut rows = vec![to_f16(1.0); 2 * CHUNK];
        rows[0] = to_f16(2048.0);
        let mut out = [0.0];
        let weights = vec![to_f16(1.0); 2 * CHUNK];
        let block = HalfBlock { rows: &rows, stride: 2 * CHUNK, count: 1, depth: 2 * CHUNK, weights: &weights, scales: &[1.0], add: false };
        scalar::block_half(&block, &mut out);
        assert_eq!(out, [2048.0 + CHUNK as f32]);
        assert_eq!(from_f16(rows[0]), 2048.0);
    }
}
