//! Attention in integers, for encoders whose other products are integers too.
//!
//! A query's bytes have a scale and a zero of their own, a key's integers a scale of their own, and so has each column of the values. The
//! weights `exp(logit - largest)` are bytes whose sum is taken from the bytes themselves, so that they stay a mean of the values.

use super::attention::Bias;
use super::linear_int8::RowsInt8;
use crate::dispatch::Kernels;
use crate::operands::{Aligned, STEP_INT8 as STEP, Scales, TileInt8};

/// Keys and values of every head as integers, packed for [`Kernels::attend_int8`].
#[derive(Debug, Clone, Default)]
pub struct PackedKeysInt8 {
    tokens: usize,
    heads: usize,
    head_dim: usize,
    keys: Packed,   // for each head a matrix [head_dim, tokens]
    values: Packed, // for each head a matrix [tokens, head_dim]
}

/// Matrices `[depth, columns]`, filled up with zeros.
#[derive(Debug, Clone, Default)]
struct Packed {
    bytes: Aligned<i8>,   // [matrices, panels, depth / group, panel, group]
    scales: Aligned<f32>, // [matrices, panels, panel]
    sums: Aligned<i32>,   // [matrices, panels, panel]
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
pub struct WorkspaceInt8 {
    query: RowsInt8,
    head: Vec<f32>,        // [queries, head_dim]
    logits: Aligned<f32>,  // [queries, wide]
    weights: Aligned<u8>,  // [queries, deep]
    sums: Aligned<i32>,    // [queries, panel]
    numbers: Aligned<f32>, // [queries, panel]
}

/// Tiles of queries that pass the keys together.
const QUERY_TILES: usize = 4;

/// Queries that pass the keys together at most.
const MOST_QUERIES: usize = 32;

impl Kernels {
    /// Queries that [`attend_int8`](Self::attend_int8) takes at a time; parts of a multiple of it waste nothing.
    pub fn queries_int8(&self) -> usize {
        (QUERY_TILES * self.tile_rows_int8()).min(MOST_QUERIES)
    }

    /// Packs keys and values for [`attend_int8`](Self::attend_int8).
    ///
    /// # Shapes
    /// - `key`, `value`: `[tokens, heads · head_dim]`
    ///
    /// # Panics
    /// The lengths do not fit those shapes.
    pub fn pack_keys_int8(&self, key: &[f32], value: &[f32], heads: usize, head_dim: usize) -> PackedKeysInt8 {
        let width = heads * head_dim;
        assert!(
            width > 0 && key.len() == value.len() && key.len().is_multiple_of(width),
            "pack_keys_int8: expected whole rows of {width} values"
        );
        let (tokens, panel, group) = (key.len() / width, self.panel(), self.group());
        let (key_deep, key_wide) = (head_dim.next_multiple_of(STEP), tokens.next_multiple_of(panel));
        let (value_deep, value_wide) = (tokens.next_multiple_of(STEP), head_dim.next_multiple_of(panel));
        let (mut keys, mut values) = (Packed::new(heads, key_deep, key_wide), Packed::new(heads, value_deep, value_wide));
        let mut bytes = vec![0i8; tokens * width];
        let mut inverses = vec![0.0; width];
        for (token, (row, bytes)) in key.chunks_exact(width).zip(bytes.chunks_exact_mut(width)).enumerate() {
            let of_heads = row.chunks_exact(head_dim).zip(inverses.chunks_exact_mut(head_dim));
            for (head, (row, inverses)) in of_heads.enumerate() {
                let (inverse, scale) = step(self.largest_magnitude(row));
                keys.scales[head * key_wide + token] = scale;
                inverses.fill(inverse);
            }
            self.quantize_row_signed(row, &inverses, bytes);
            for (head, bytes) in bytes.chunks_exact(head_dim).enumerate() {
                keys.sums[head * key_wide + token] = bytes.iter().map(|byte| i32::from(*byte)).sum();
                let first = head * key_deep * key_wide + token / panel * panel * key_deep + token % panel * group;
                for (part, slot) in bytes.chunks(group).zip((first..).step_by(group * panel)) {
                    keys.bytes[slot..slot + part.len()].copy_from_slice(part);
                }
            }
        }
        let mut sizes = vec![0.0f32; width];
        let mut spoilt = 0.0;
        for row in value.chunks_exact(width) {
            spoilt += 0.0 * self.largest_magnitude(row);
            sizes.iter_mut().zip(row).for_each(|(size, v)| *size = if v.abs() > *size { v.abs() } else { *size });
        }
        for (at, (size, slot)) in sizes.iter().zip(&mut inverses).enumerate() {
            let (inverse, scale) = step(size + spoilt);
            *slot = inverse;
            values.scales[at / head_dim * value_wide + at % head_dim] = scale;
        }
        for (row, bytes) in value.chunks_exact(width).zip(bytes.chunks_exact_mut(width)) {
            self.quantize_row_signed(row, &inverses, bytes);
            for (head, bytes) in bytes.chunks_exact(head_dim).enumerate() {
                let sums = &mut values.sums[head * value_wide..][..head_dim];
                sums.iter_mut().zip(bytes).for_each(|(sum, byte)| *sum += i32::from(*byte));
            }
        }
        let interleave = if group == 8 { interleave::<8> } else { interleave::<4> };
        let zeros = vec![0i8; width];
        for (index, rows) in bytes.chunks(group * width).enumerate() {
            for head in 0..heads {
                for from in (0..head_dim).step_by(panel) {
                    let columns = head * head_dim + from..head * head_dim + head_dim.min(from + panel);
                    let first = head * value_deep * value_wide + from * value_deep + index * group * panel;
                    let row = |row: usize| &rows.get(row * width..(row + 1) * width).unwrap_or(&zeros)[columns.clone()];
                    interleave(&row, &mut values.bytes[first..][..group * columns.len()]);
                }
            }
        }
        PackedKeysInt8 { tokens, heads, head_dim, keys, values }
    }

    /// As [`attend`](Self::attend), in integers.
    ///
    /// # Shapes
    /// - `query`, `out`: `[n, heads · head_dim]`, any part of the tokens
    ///
    /// # Panics
    /// The lengths do not fit those shapes, or another set of kernels packed the keys.
    pub fn attend_int8(
        &self,
        packed: &PackedKeysInt8,
        query: &[f32],
        bias: Option<Bias<'_>>,
        out: &mut [f32],
        workspace: &mut WorkspaceInt8,
    ) {
        let PackedKeysInt8 { tokens, heads, head_dim, .. } = *packed;
        let width = heads * head_dim;
        assert!(
            width > 0 && query.len().is_multiple_of(width) && out.len() == query.len(),
            "attend_int8: expected whole rows of {width} values"
        );
        if tokens == 0 {
            return out.fill(0.0);
        }
        let (panel, group, shift) = (self.panel(), self.queries_int8(), self.shift());
        let (key_wide, deep) = (tokens.next_multiple_of(panel), tokens.next_multiple_of(STEP));
        let value_wide = head_dim.next_multiple_of(panel);
        let sizes = (heads * head_dim.next_multiple_of(STEP) * key_wide, heads * deep * value_wide);
        assert_eq!((packed.keys.bytes.len(), packed.values.bytes.len()), sizes, "attend_int8: expected keys packed by the same kernels");
        workspace.logits.grow(group * key_wide);
        workspace.weights.grow(group * deep);
        workspace.sums.grow(group * panel);
        workspace.numbers.grow(group * panel);
        bias.inspect(|bias| bias.check(heads, query.len() / width, tokens));
        for (part, (query, out)) in query.chunks(group * width).zip(out.chunks_mut(group * width)).enumerate() {
            let rows = query.len() / width;
            for head in 0..heads {
                workspace.head.clear();
                query.chunks_exact(width).for_each(|row| workspace.head.extend_from_slice(&row[head * head_dim..][..head_dim]));
                self.quantize_rows(&workspace.head, head_dim, &mut workspace.query);
                let (bytes, scales, zeros) = workspace.query.parts();
                self.products(
                    (bytes, scales, zeros),
                    &packed.keys.matrix(head, heads),
                    panel,
                    &mut workspace.sums,
                    (&mut workspace.logits, key_wide),
                );
                let mut totals = [0.0f32; MOST_QUERIES];
                let weights = workspace.weights.chunks_exact_mut(deep).zip(workspace.logits.chunks_exact_mut(key_wide));
                for (index, ((weights, logits), total)) in weights.zip(&mut totals).take(rows).enumerate() {
                    bias.inspect(|bias| bias.add(head, part * group + index, &mut logits[..tokens]));
                    *total = 1.0 / self.exp_row_int8(&mut logits[..tokens], self.levels(), &mut weights[..tokens]);
                    if shift > 0 {
                        weights.iter_mut().for_each(|byte| *byte = byte.wrapping_sub(shift));
                    }
                }
                let zeros = [-i32::from(shift); MOST_QUERIES];
                let values = packed.values.matrix(head, heads);
                for (index, from) in (0..head_dim).step_by(panel).enumerate() {
                    let rows = (&workspace.weights[..rows * deep], &totals[..rows], &zeros[..rows]);
                    self.products(rows, &values.panel(index, panel), panel, &mut workspace.sums, (&mut workspace.numbers, panel));
                    let columns = panel.min(head_dim - from);
                    for (out, numbers) in out.chunks_exact_mut(width).zip(workspace.numbers.chunks_exact(panel)) {
                        out[head * head_dim + from..][..columns].copy_from_slice(&numbers[..columns]);
                    }
                }
            }
        }
    }

    /// Products of rows of bytes with a matrix, in rows that begin `out_ld` numbers apart.
    fn products(
        &self,
        (bytes, scales, zeros): (&[u8], &[f32], &[i32]),
        matrix: &Matrix<'_>,
        panel: usize,
        sums: &mut [i32],
        (out, out_ld): (&mut [f32], usize),
    ) {
        let (rows, tile) = (scales.len(), self.tile_rows_int8());
        let (wide, depth) = (bytes.len() / rows, self.depth_int8());
        for (index, weights) in matrix.bytes.chunks_exact(wide * panel).enumerate() {
            let lanes = index * panel..(index + 1) * panel;
            for (part, weights) in weights.chunks(depth * panel).enumerate() {
                let (from, depth) = (part * depth, weights.len() / panel);
                for row in (0..rows).step_by(tile) {
                    let count = tile.min(rows - row);
                    let sums = &mut sums[row * panel..][..count * panel];
                    let tile = TileInt8 { rows: &bytes[row * wide + from..], rows_ld: wide, count, depth, weights, add: part > 0 };
                    self.gemm_int8(&tile, sums);
                    if from + depth == wide {
                        let (rows, zeros) = (&scales[row..][..count], &zeros[row..][..count]);
                        let (columns, column_sums) = (&matrix.scales[lanes.clone()], &matrix.sums[lanes.clone()]);
                        let scales = Scales { columns, sums: column_sums, rows, zeros };
                        self.dequantize(sums, &scales, &mut out[row * out_ld + index * panel..], out_ld);
                    }
                }
            }
        }
    }
}

/// One matrix of a [`Packed`], or a panel of it.
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
    fn panel(&self, index: usize, panel: usize) -> Matrix<'_> {
        let bytes = self.bytes.len() / (self.scales.len() / panel);
        Matrix {
            bytes: &self.bytes[index * bytes..][..bytes],
            scales: &self.scales[index * panel..][..panel],
            sums: &self.sums[index * panel..][..panel],
        }
    }
}
