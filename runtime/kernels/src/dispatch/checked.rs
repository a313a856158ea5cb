//! Each kernel behind the checks that it relies on. All calls into a set are here.

#![allow(unsafe_code)]

use super::Kernels;
use crate::isa::F16Kernels;
use crate::operands::{Epilogue, InterleavedRows, PANEL, PanelProducts, Pass, RowRange, Scales, TileF16, TileF32, TileInt8, WordBest};

impl Kernels {
    /// `out[p · words + t] = Σ_d patches[p, d] · bank[t, d]`.
    ///
    /// # Shapes
    /// - `patches`: `[P, dim]`
    /// - `bank`: `[words, dim]`
    /// - `out`: `[P, words]`
    ///
    /// Sums are taken in another order than a plain loop's: a result differs from the exact one by at most
    /// `dim · 2⁻²³ · Σ_d |patches[p, d] · bank[t, d]|`.
    ///
    /// # Panics
    /// The lengths do not fit those shapes.
    pub fn dot_products(&self, patches: &[f32], bank: &[f32], dim: usize, out: &mut [f32]) {
        let Some((count, words)) = rows_of(patches, bank, dim) else {
            assert!(
                dim == 0 && patches.is_empty() && bank.is_empty(),
                "dot_products: expected whole rows of {dim} values, found {} and {} values",
                patches.len(),
                bank.len()
            );
            out.fill(0.0);
            return;
        };
        assert_eq!(out.len(), count * words, "dot_products: expected room for {count} x {words} results");
        // SAFETY: whole rows, and a result for each pair of them.
        unsafe { self.set.floats.dot_products(patches, bank, dim, out) }
    }

    /// Brings every row to unit L2 norm in place and returns the index of the first row that cannot be: zero or not finite. Such rows
    /// stay as they are; all others are normalized.
    ///
    /// # Shapes
    /// - `rows`: `[n, dim]`
    ///
    /// # Panics
    /// `rows` does not hold whole rows of `dim` values.
    pub fn normalize_rows(&self, rows: &mut [f32], dim: usize) -> Option<usize> {
        if rows.is_empty() {
            return None;
        }
        assert!(
            dim > 0 && rows.len().is_multiple_of(dim),
            "normalize_rows: expected whole rows of {dim} values, found {} values",
            rows.len()
        );
        // SAFETY: whole rows.
        unsafe { self.set.floats.normalize_rows(rows, dim) }
    }

    /// `out = (x - mean) / √(variance + eps) · weight + bias` for each row (Ba et al. 2016), with the variance over `dim`.
    ///
    /// # Shapes
    /// - `x`, `out`: `[rows, dim]`
    /// - `weight`, `bias`: `[dim]`
    ///
    /// # Panics
    /// The lengths do not fit those shapes.
    pub fn layer_norm(&self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
        let dim = weight.len();
        let fits = dim > 0 && bias.len() == dim && x.len().is_multiple_of(dim) && out.len() == x.len();
        assert!(fits, "layer_norm: expected whole rows of {dim} values");
        // SAFETY: whole rows in `x` and `out`, and vectors as long as a row.
        unsafe { self.set.floats.layer_norm(x, weight, bias, eps, out) }
    }

    /// `out` has `columns` numbers in each of the tile's rows, `out_ld` apart.
    pub(crate) fn gemm_f32(&self, tile: &TileF32<'_>, out: &mut [f32], out_ld: usize) {
        let sizes = self.set.float_sizes;
        tile.check(sizes.lanes, sizes.tile_rows, sizes.panel, out, out_ld);
        // SAFETY: checked.
        unsafe { self.set.floats.gemm(tile, out, out_ld) }
    }

    /// `out` has a panel for each of the tile's rows.
    pub(crate) fn gemm_int8(&self, tile: &TileInt8<'_>, out: &mut [i32]) {
        tile.check(self.tile_rows_int8(), self.panel(), out);
        // SAFETY: checked.
        unsafe { self.set.int8.gemm(tile, out) }
    }

    /// `out` has a panel for each of the tile's rows.
    ///
    /// # Panics
    /// This set has no 16-bit floats.
    pub(crate) fn gemm_f16(&self, tile: &TileF16<'_>, out: &mut [f32]) {
        let kernels = self.f16();
        tile.check(kernels.tile_rows(), self.panel(), out);
        // SAFETY: checked.
        unsafe { kernels.gemm(tile, out) }
    }

    fn f16(&self) -> &dyn F16Kernels {
        let Some(kernels) = self.set.f16.as_deref() else {
            panic!("{}: expected kernels with 16-bit floats, as `Kernels::has_f16` tells", self.name());
        };
        kernels
    }

    /// `out = activation(products + bias) + residual` for some rows; `products` is `[rows, panel]`.
    pub(crate) fn epilogue(&self, products: &[f32], epilogue: &Epilogue<'_>, out: &mut [f32]) {
        epilogue.check(products.len(), self.panel(), out);
        // SAFETY: checked.
        unsafe { self.set.floats.epilogue(products, epilogue, out) }
    }

    /// As [`epilogue`](Self::epilogue), of sums `[rows, panel]` that are brought back to numbers.
    pub(crate) fn epilogue_int8(&self, sums: &[i32], scales: &Scales<'_>, epilogue: &Epilogue<'_>, out: &mut [f32]) {
        epilogue.check(sums.len(), self.panel(), out);
        scales.check(sums.len(), self.panel());
        // SAFETY: checked.
        unsafe { self.set.floats.epilogue_int8(sums, scales, epilogue, out) }
    }

    /// Brings sums, `[rows, panel]`, back to numbers in rows that lie `out_ld` apart.
    pub(crate) fn dequantize(&self, sums: &[i32], scales: &Scales<'_>, out: &mut [f32], out_ld: usize) {
        let (panel, rows) = (self.panel(), scales.rows.len());
        scales.check(sums.len(), panel);
        assert!(out_ld >= panel && (rows == 0 || out.len() >= (rows - 1) * out_ld + panel), "dequantize: lengths differ");
        // SAFETY: checked.
        unsafe { self.set.floats.dequantize(sums, scales, out, out_ld) }
    }

    /// Brings a row to bytes of at most `levels`.
    pub(crate) fn quantize_row(&self, row: &[f32], levels: u8, out: &mut [u8]) -> RowRange {
        assert_eq!(row.len(), out.len(), "quantize_row: lengths differ");
        // SAFETY: checked.
        unsafe { self.set.floats.quantize_row(row, levels, out) }
    }

    /// The largest size of a row's numbers; NaN if any is NaN or infinite.
    pub(crate) fn largest_magnitude(&self, row: &[f32]) -> f32 {
        // SAFETY: a row may have any length.
        unsafe { self.set.floats.largest_magnitude(row) }
    }

    /// Each number times its factor, rounded; the products are within ±127.
    pub(crate) fn quantize_row_signed(&self, row: &[f32], factors: &[f32], out: &mut [i8]) {
        assert!(row.len() == factors.len() && row.len() == out.len(), "quantize_row_signed: lengths differ");
        // SAFETY: checked.
        unsafe { self.set.floats.quantize_row_signed(row, factors, out) }
    }

    /// Each number times `factor`, rounded to 16 bits.
    ///
    /// # Panics
    /// This set has no 16-bit floats.
    pub(crate) fn round_row_f16(&self, row: &[f32], factor: f32, out: &mut [u16]) {
        assert_eq!(row.len(), out.len(), "round_row_f16: lengths differ");
        // SAFETY: checked.
        unsafe { self.f16().round_row(row, factor, out) }
    }

    /// `exp(value - largest)` of each value as a byte of at most `levels`; returns the sum of the bytes. `row` is used up.
    pub(crate) fn exp_row_int8(&self, row: &mut [f32], levels: u8, out: &mut [u8]) -> f32 {
        assert_eq!(row.len(), out.len(), "exp_row_int8: lengths differ");
        // SAFETY: checked.
        unsafe { self.set.floats.exp_row_int8(row, levels, out) }
    }

    /// Each value becomes `exp(value - largest)`; returns their sum.
    pub(crate) fn exp_row(&self, row: &mut [f32]) -> f32 {
        // SAFETY: a row may have any length.
        unsafe { self.set.floats.exp_row(row) }
    }

    /// The products of patches, `[groups, dim, group]`, with a panel, `[dim, PANEL]`, into `[patches, PANEL]`.
    pub(crate) fn score_panel_f32(&self, rows: &[f32], dim: usize, panel: &[f32], out: &mut [f32]) {
        let whole = out.len().is_multiple_of(PANEL * self.patch_group_f32());
        assert!(whole && panel.len() == dim * PANEL && rows.len() * PANEL == out.len() * dim, "score_panel_f32: lengths differ");
        // SAFETY: checked.
        unsafe { self.set.floats.score_panel(rows, dim, panel, out) }
    }

    /// As [`score_panel_f32`](Self::score_panel_f32), of integers with scales.
    pub(crate) fn score_panel_int8(&self, patches: &InterleavedRows<'_>, panel: &InterleavedRows<'_>, out: &mut [f32]) {
        patches.check(panel, self.patch_group_int8(), out);
        // SAFETY: checked.
        unsafe { self.set.scoring.score_panel(patches, panel, out) }
    }

    /// Folds one panel's products into what a pass keeps.
    pub(crate) fn fold(&self, products: &PanelProducts<'_>, pass: &mut Pass<'_>, words: &mut [WordBest; PANEL]) {
        products.check(pass);
        // SAFETY: checked.
        unsafe { self.set.floats.fold(products, pass, words) }
    }
}

/// How many whole rows of `dim` values `a` and `b` hold.
fn rows_of(a: &[f32], b: &[f32], dim: usize) -> Option<(usize, usize)> {
    (dim > 0 && a.len().is_multiple_of(dim) && b.len().is_multiple_of(dim)).then(|| (a.len() / dim, b.len() / dim))
}
