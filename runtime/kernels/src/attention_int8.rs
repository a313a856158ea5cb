//! Attention in integers, for encoders whose other products are integers too.
//!
//! A query's bytes have a scale and a zero of their own, a key's integers a scale of their own, and so has each column of the values. The
//! weights `exp(logit - largest)` are bytes whose sum is taken from the bytes themselves, so that they stay a mean of the values.

use super::Kernels;
use super::aligned::Aligned;
use super::attention::Bias;
use super::block::{ByteBlock, STEP};
use super::finish::Scales;
use super::quantised::QuantisedRows;

/// Keys and values of every head as integers, packed for [`Kernels::attend_int8`].
#[derive(Debug, Clone, Default)]
pub struct QuantisedKeys {
    tokens: usize,
    heads: usize,
    head_dim: usize,
    keys: Packed,   // for each head a matrix [head_dim, tokens]
    values: Packed, // for each head a matrix [tokens, head_dim]
}

/// Matrices `[depth, columns]`, filled up with zeros.
#[derive(Debug, Clone, Default)]
struct Packed {
    bytes: Aligned<i8>,   // [matrices, strips, depth / group, strip, group]
    scales: Aligned<f32>, // [matrices, strips, strip]
    sums: Aligned<i32>,   // [matrices, strips, strip]
}

impl Packed {
    fn new(matrices: usize, deep: usize, wide: usize) -> Self {
        Packed {
            bytes: Aligned::zeros(matrices * deep * wide),
            scales: Aligned::zeros(matrices * wide),
            sums: Aligned::zeros(matrices * wide),
        }
    }
}

/// Lays `G` rows side by side: their first numbers, then their second ones.
fn interleave<'a, const G: usize>(row: &dyn Fn(usize) -> &'a [i8], slots: &mut [i8]) {
    let rows: [&[i8]; G] = std::array::from_fn(|index| &row(index)[..slots.len() / G]);
    for (column, slot) in slots.as_chunks_mut::<G>().0.iter_mut().enumerate() {
        *slot = std::array::from_fn(|index| rows[index][column]);
    }
}

/// The factor that brings numbers up to `largest` within ±127, and back.
fn step(largest: f32) -> (f32, f32) {
    let inverse = 127.0 / largest;
    if inverse.is_normal() { (inverse, largest / 127.0) } else { (0.0, if largest.is_finite() { 0.0 } else { f32::NAN }) }
}

/// Memory that [`Kernels::attend_int8`] uses between calls.
#[derive(Debug, Clone, Default)]
pub struct ByteMemory {
    query: QuantisedRows,
    head: Vec<f32>,        // [queries, head_dim]
    logits: Aligned<f32>,  // [queries, wide]
    weights: Aligned<u8>,  // [queries, deep]
    sums: Aligned<i32>,    // [queries, strip]
    numbers: Aligned<f32>, // [queries, strip]
}

/// Row blocks of queries that pass the keys together.
const BLOCKS: usize = 4;

/// Queries that pass the keys together at most.
const MOST_QUERIES: usize = 32;

impl Kernels {
    /// Queries that [`attend_int8`](Self::attend_int8) takes at a time; parts of a multiple of it waste nothing.
    pub fn queries_int8(&self) -> usize {
        (BLOCKS * self.block_rows_int8()).min(MOST_QUERIES)
    }

    /// Packs keys and values for [`attend_int8`](Self::attend_int8).
    ///
    /// # Shapes
    /// - `key`, `value`: `[tokens, heads · head_dim]`
    ///
    /// # Panics
    /// The lengths do not fit those shapes.
    pub fn pack_keys_int8(&self, key: &[f32], value: &[f32], heads: usize, head_dim: usize) -> QuantisedKeys {
        let width = heads * head_dim;
        assert!(
            width > 0 && key.len() == value.len() && key.len().is_multiple_of(width),
            "pack_keys_int8: expected whole rows of {width} values"
        );
        let (tokens, strip, group) = (key.len() / width, self.strip(), self.group());
        let (key_deep, key_wide) = (head_dim.next_multiple_of(STEP), tokens.next_multiple_of(strip));
        let (value_deep, value_wide) = (tokens.next_multiple_of(STEP), head_dim.next_multiple_of(strip));
        let (mut keys, mut values) = (Packed::new(heads, key_deep, key_wide), Packed::new(heads, value_deep, value_wide));
        let mut bytes = vec![0i8; tokens * width];
        let mut inverses = vec![0.0; width];
        for (token, (row, bytes)) in key.chunks_exact(width).zip(bytes.chunks_exact_mut(width)).enumerate() {
            let of_heads = row.chunks_exact(head_dim).zip(inverses.chunks_exact_mut(head_dim));
            for (head, (row, inverses)) in of_heads.enumerate() {
                let (inverse, scale) = step(self.size_of_row(row));
                keys.scales[head * key_wide + token] = scale;
                inverses.fill(inverse);
            }
            self.signed_row(row, &inverses, bytes);
            for (head, bytes) in bytes.chunks_exact(head_dim).enumerate() {
                keys.sums[head * key_wide + token] = bytes.iter().map(|byte| i32::from(*byte)).sum();
                let first = head * key_deep * key_wide + token / strip * strip * key_deep + token % strip * group;
                for (part, slot) in bytes.chunks(group).zip((first..).step_by(group * strip)) {
                    keys.bytes[slot..slot + part.len()].copy_from_slice(part);
                }
            }
        }
        let mut sizes = vec![0.0f32; width];
        let mut spoilt = 0.0;
        for row in value.chunks_exact(width) {
            spoilt += 0.0 * self.size_of_row(row);
            sizes.iter_mut().zip(row).for_each(|(size, v)| *size = if v.abs() > *size { v.abs() } else { *size });
        }
        for (at, (size, slot)) in sizes.iter().zip(&mut inverses).enumerate() {
            let (inverse, scale) = step(size + spoilt);
            *slot = inverse;
            values.scales[at / head_dim * value_wide + at % head_dim] = scale;
        }
        for (row, bytes) in value.chunks_exact(width).zip(bytes.chunks_exact_mut(width)) {
            self.signed_row(row, &inverses, bytes);
            for (head, bytes) in bytes.chunks_exact(head_dim).enumerate() {
                let sums = &mut values.sums[head * value_wide..][..head_dim];
                sums.iter_mut().zip(bytes).for_each(|(sum, byte)| *sum += i32::from(*byte));
            }
        }
        let interleave = if group == 8 { interleave::<8> } else { interleave::<4> };
        let zeros = vec![0i8; width];
        for (index, rows) in bytes.chunks(group * width).enumerate() {
            for head in 0..heads {
                for from in (0..head_dim).step_by(strip) {
                    let columns = head * head_dim + from..head * head_dim + head_dim.min(from + strip);
                    let first = head * value_deep * value_wide + from * value_deep + index * group * strip;
                    let row = |row: usize| &rows.get(row * width..(row + 1) * width).unwrap_or(&zeros)[columns.clone()];
                    interleave(&row, &mut values.bytes[first..][..group * columns.len()]);
                }
            }
        }
        QuantisedKeys { tokens, heads, head_dim, keys, values }
    }

    /// As [`attend`](Self::attend), in integers.
    ///
    /// # Shapes
    /// - `query`, `out`: `[n, heads · head_dim]`, any part of the tokens
    ///
    /// # Panics
    /// The lengths do not fit those shapes, or another set of kernels packed the keys.
    pub fn attend_int8(&self, packed: &QuantisedKeys, query: &[f32], bias: Option<Bias<'_>>, out: &mut [f32], memory: &mut ByteMemory) {
        let QuantisedKeys { tokens, heads, head_dim, .. } = *packed;
        let width = heads * head_dim;
        assert!(
            width > 0 && query.len().is_multiple_of(width) && out.len() == query.len(),
            "attend_int8: expected whole rows of {width} values"
        );
        if tokens == 0 {
            return out.fill(0.0);
        }
        let (strip, group, shift) = (self.strip(), self.queries_int8(), self.shift());
        let (key_wide, deep) = (tokens.next_multiple_of(strip), tokens.next_multiple_of(STEP));
        let value_wide = head_dim.next_multiple_of(strip);
        let sizes = (heads * head_dim.next_multiple_of(STEP) * key_wide, heads * deep * value_wide);
        assert_eq!((packed.keys.bytes.len(), packed.values.bytes.len()), sizes, "attend_int8: expected keys packed by the same kernels");
        memory.logits.grow(group * key_wide);
        memory.weights.grow(group * deep);
        memory.sums.grow(group * strip);
        memory.numbers.grow(group * strip);
        bias.inspect(|bias| bias.check(heads, query.len() / width, tokens));
        for (part, (query, out)) in query.chunks(group * width).zip(out.chunks_mut(group * width)).enumerate() {
            let rows = query.len() / width;
            for head in 0..heads {
                memory.head.clear();
                query.chunks_exact(width).for_each(|row| memory.head.extend_from_slice(&row[head * head_dim..][..head_dim]));
                self.quantise(&memory.head, head_dim, &mut memory.query);
                let (bytes, scales, zeros) = memory.query.parts();
                self.products(
                    (bytes, scales, zeros),
                    &packed.keys.matrix(head, heads),
                    strip,
                    &mut memory.sums,
                    (&mut memory.logits, key_wide),
                );
                let mut totals = [0.0f32; MOST_QUERIES];
                let weights = memory.weights.chunks_exact_mut(deep).zip(memory.logits.chunks_exact_mut(key_wide));
                for (index, ((weights, logits), total)) in weights.zip(&mut totals).take(rows).enumerate() {
                    bias.inspect(|bias| bias.add(head, part * group + index, &mut logits[..tokens]));
                    *total = 1.0 / self.exp_row_int8(&mut logits[..tokens], self.levels(), &mut weights[..tokens]);
                    if shift > 0 {
                        weights.iter_mut().for_each(|byte| *byte = byte.wrapping_sub(shift));
                    }
                }
                let zeros = [-i32::from(shift); MOST_QUERIES];
                let values = packed.values.matrix(head, heads);
                for (index, from) in (0..head_dim).step_by(strip).enumerate() {
                    let rows = (&memory.weights[..rows * deep], &totals[..rows], &zeros[..rows]);
                    self.products(rows, &values.strip(index, strip), strip, &mut memory.sums, (&mut memory.numbers, strip));
                    let columns = strip.min(head_dim - from);
                    for (out, numbers) in out.chunks_exact_mut(width).zip(memory.numbers.chunks_exact(strip)) {
                        out[head * head_dim + from..][..columns].copy_from_slice(&numbers[..columns]);
                    }
                }
            }
        }
    }

    /// Products of rows of bytes with a matrix, in rows that lie a pitch apart.
    fn products(
        &self,
        (bytes, scales, zeros): (&[u8], &[f32], &[i32]),
        matrix: &Matrix<'_>,
        strip: usize,
        sums: &mut [i32],
        (out, pitch): (&mut [f32], usize),
    ) {
        let (rows, block) = (scales.len(), self.block_rows_int8());
        let (wide, depth) = (bytes.len() / rows, 4 * self.depth());
        for (index, weights) in matrix.bytes.chunks_exact(wide * strip).enumerate() {
            let lanes = index * strip..(index + 1) * strip;
            for (part, weights) in weights.chunks(depth * strip).enumerate() {
                let (from, depth) = (part * depth, weights.len() / strip);
                for row in (0..rows).step_by(block) {
                    let count = block.min(rows - row);
                    let sums = &mut sums[row * strip..][..count * strip];
                    let block = ByteBlock { rows: &bytes[row * wide + from..], stride: wide, count, depth, weights, add: part > 0 };
                    self.block_int8(&block, sums);
                    if from + depth == wide {
                        let (rows, zeros) = (&scales[row..][..count], &zeros[row..][..count]);
                        let (columns, column_sums) = (&matrix.scales[lanes.clone()], &matrix.sums[lanes.clone()]);
                        let scales = Scales { columns, sums: column_sums, rows, zeros };
                        self.dequantise(sums, &scales, &mut out[row * pitch + index * strip..], pitch);
                    }
                }
            }
        }
    }
}

/// One matrix of a [`Packed`], or a strip of it.
struct Matrix<'a> {
    bytes: &'a [i8],
    scales: &'a [f32],
    sums: &'a [i32],
}

impl Packed {
    fn matrix(&self, index: usize, count: usize) -> Matrix<'_> {
        let (bytes, wide) = (self.bytes.len() / count, self.scales.len() / count);
        Matrix {
            bytes: &self.bytes[index * bytes..][..bytes],
            scales: &self.scales[index * wide..][..wide],
            sums: &self.sums[index * wide..][..wide],
        }
    }
}

impl Matrix<'_> {
    fn strip(&self, index: usize, strip: usize) -> Matrix<'_> {
        let bytes = self.bytes.len() / (self.scales.len() / strip);
        Matrix {
            bytes: &self.bytes[index * bytes..][..bytes],
            scales: &self.scales[index * strip..][..strip],
            sums: &self.sums[index * strip..][..strip],
        }
    }
}
