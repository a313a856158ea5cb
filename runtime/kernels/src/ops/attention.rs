//! Attention, some queries at a time, so that the matrix of all weights never exists.

use super::Workspace;
use crate::dispatch::Kernels;
use crate::operands::{Aligned, TileF32};

/// Keys and values of every head, packed for [`Kernels::attend`].
#[derive(Debug, Clone, Default)]
pub struct PackedKeys {
    tokens: usize,
    heads: usize,
    head_dim: usize,
    keys: Aligned<f32>,   // [heads, panels of tokens, head_dim, panel], filled up with zeros
    values: Aligned<f32>, // [heads, tokens, head_dim filled up with zeros to a multiple of the lanes]
}

/// What is added to the logits: a row `[tokens]` for each head and query.
#[derive(Debug, Clone, Copy)]
pub struct Bias<'a> {
    /// The rows.
    pub values: &'a [f32],
    /// From one head's rows to the next's, 0 where all heads have the same.
    pub head_step: usize,
    /// From one query's row to the next's, 0 where all queries have the same.
    pub query_step: usize,
}

/// Tiles of queries that pass the keys together.
const QUERY_TILES: usize = 4;

impl Kernels {
    /// Queries that [`attend`](Self::attend) takes at a time; parts of a multiple of it waste nothing.
    pub fn queries(&self) -> usize {
        QUERY_TILES * self.tile_rows()
    }

    /// Packs keys and values for [`attend`](Self::attend).
    ///
    /// # Shapes
    /// - `key`, `value`: `[tokens, heads · head_dim]`
    ///
    /// # Panics
    /// The lengths do not fit those shapes.
    pub fn pack_keys(&self, key: &[f32], value: &[f32], heads: usize, head_dim: usize) -> PackedKeys {
        let width = heads * head_dim;
        assert!(
            width > 0 && key.len() == value.len() && key.len().is_multiple_of(width),
            "pack_keys: expected whole rows of {width} values"
        );
        let (tokens, panel) = (key.len() / width, self.panel());
        let (wide, deep) = (tokens.next_multiple_of(panel), head_dim.next_multiple_of(self.lanes()));
        let (mut keys, mut values) = (Aligned::zeros(width * wide), Aligned::zeros(heads * tokens * deep));
        for head in 0..heads {
            let of_head = head * head_dim..(head + 1) * head_dim;
            let panels = keys[head * head_dim * wide..][..head_dim * wide].chunks_exact_mut(head_dim * panel);
            for (rows, packed) in key.chunks(panel * width).zip(panels) {
                for (d, slots) in packed.chunks_exact_mut(panel).enumerate() {
                    for (value, slot) in rows[of_head.start + d..].iter().step_by(width).zip(slots) {
                        *slot = *value;
                    }
                }
            }
            let rows = values[head * tokens * deep..][..tokens * deep].chunks_exact_mut(deep);
            for (row, packed) in value.chunks_exact(width).zip(rows) {
                packed[..head_dim].copy_from_slice(&row[of_head.clone()]);
            }
        }
        PackedKeys { tokens, heads, head_dim, keys, values }
    }

    /// `softmax(query · keyᵀ) · value` for each head (Vaswani et al. 2017); the factor 1/√head_dim is the query's.
    ///
    /// # Shapes
    /// - `query`, `out`: `[n, heads · head_dim]`, any part of the tokens
    ///
    /// # Panics
    /// The lengths do not fit those shapes, or another set of kernels packed the keys.
    pub fn attend(&self, packed: &PackedKeys, query: &[f32], bias: Option<Bias<'_>>, out: &mut [f32], workspace: &mut Workspace) {
        let PackedKeys { tokens, heads, head_dim, .. } = *packed;
        let width = heads * head_dim;
        assert!(
            width > 0 && query.len().is_multiple_of(width) && out.len() == query.len(),
            "attend: expected whole rows of {width} values"
        );
        if tokens == 0 {
            return out.fill(0.0);
        }
        let (wide, deep) = (tokens.next_multiple_of(self.panel()), head_dim.next_multiple_of(self.lanes()));
        let sizes = (width * wide, heads * tokens * deep);
        assert_eq!((packed.keys.len(), packed.values.len()), sizes, "attend: expected keys packed by the same kernels");
        let Workspace { logits, products } = workspace;
        logits.grow(self.queries() * wide);
        products.grow(self.queries() * deep);
        bias.inspect(|bias| bias.check(heads, query.len() / width, tokens));
        let parts = query.chunks(self.queries() * width).zip(out.chunks_mut(self.queries() * width));
        for (part, (query, out)) in parts.enumerate() {
            let rows = query.len() / width;
            for head in 0..heads {
                let keys = &packed.keys[head * head_dim * wide..][..head_dim * wide];
                self.logits(&query[head * head_dim..], [rows, width, head_dim], keys, logits, wide);
                let mut scales = [0.0; 64];
                for (index, (scale, row)) in scales.iter_mut().zip(logits.chunks_exact_mut(wide).take(rows)).enumerate() {
                    bias.inspect(|bias| bias.add(head, part * self.queries() + index, &mut row[..tokens]));
                    *scale = 1.0 / self.exp_row(&mut row[..tokens]);
                }
                self.mix(logits, [rows, wide, tokens], &packed.values[head * tokens * deep..][..tokens * deep], products, deep);
                for ((out, mixed), scale) in out.chunks_exact_mut(width).zip(products.chunks_exact(deep)).zip(scales) {
                    out[head * head_dim..][..head_dim].iter_mut().zip(mixed).for_each(|(out, mixed)| *out = mixed * scale);
                }
            }
        }
    }

    /// Products of queries `[rows, rows_ld]` with all keys, into `[rows, wide]`.
    fn logits(&self, query: &[f32], [rows, rows_ld, depth]: [usize; 3], keys: &[f32], out: &mut [f32], wide: usize) {
        let (panel, tile) = (self.panel(), self.tile_rows());
        for (index, weights) in keys.chunks_exact(depth * panel).enumerate() {
            for row in (0..rows).step_by(tile) {
                let (count, rows) = (tile.min(rows - row), &query[row * rows_ld..]);
                let tile = TileF32 { rows, rows_ld, count, depth, weights, weights_ld: panel, columns: panel, add: false };
                self.gemm_f32(&tile, &mut out[row * wide + index * panel..], wide);
            }
        }
    }

    /// Products of weights `[rows, rows_ld]`, of which `tokens` count, with values `[tokens, deep]`, into `[rows, deep]`.
    fn mix(&self, weights: &[f32], [rows, rows_ld, tokens]: [usize; 3], values: &[f32], out: &mut [f32], deep: usize) {
        let (panel, tile) = (self.panel(), self.tile_rows());
        for from in (0..tokens).step_by(self.depth()) {
            let depth = self.depth().min(tokens - from);
            for row in (0..rows).step_by(tile) {
                let (count, rows) = (tile.min(rows - row), &weights[row * rows_ld + from..]);
                for column in (0..deep).step_by(panel) {
                    let (columns, weights) = (panel.min(deep - column), &values[from * deep + column..]);
                    let tile = TileF32 { rows, rows_ld, count, depth, weights, weights_ld: deep, columns, add: from > 0 };
                    self.gemm_f32(&tile, &mut out[row * deep + column..], deep);
                }
            }
        }
    }
}

impl Bias<'_> {
    pub(crate) fn check(&self, heads: usize, queries: usize, tokens: usize) {
        let last = (heads - 1) * self.head_step + queries.saturating_sub(1) * self.query_step;
        assert!(self.values.len() >= last + tokens, "attend: expected a bias for {heads} x {queries} x {tokens}");
    }

    /// Adds a query's row to its logits.
    pub(crate) fn add(&self, head: usize, query: usize, logits: &mut [f32]) {
        let row = &self.values[head * self.head_step + query * self.query_step..];
        logits.iter_mut().zip(row).for_each(|(logit, bias)| *logit += bias);
    }
}
