//! The reference as a set, which every machine has.

use crate::isa::{F16Kernels, FloatKernels, FloatSizes, Int8Kernels, Int8Scoring, Int8Sizes, Set};
use crate::operands::{Epilogue, InterleavedRows, PANEL, PanelProducts, Pass, RowRange, Scales, TileF16, TileF32, TileInt8, WordBest};
use crate::reference;

/// The name of the set that the others are tested against.
pub(crate) const REFERENCE: &str = "scalar";

pub(crate) fn set() -> Set {
    Set::new(REFERENCE, Scalar, Scalar, Scalar).with_f16(Some(Scalar))
}

#[derive(Debug)]
struct Scalar;

impl FloatKernels for Scalar {
    fn sizes(&self) -> FloatSizes {
        FloatSizes { lanes: 1, panel: 16, tile_rows: 1, patch_group: 1 }
    }

    unsafe fn dot_products(&self, patches: &[f32], bank: &[f32], dim: usize, out: &mut [f32]) {
        reference::dot_products(patches, bank, dim, out);
    }

    unsafe fn normalize_rows(&self, rows: &mut [f32], dim: usize) -> Option<usize> {
        reference::normalize_rows(rows, dim)
    }

    unsafe fn gemm(&self, tile: &TileF32<'_>, out: &mut [f32], out_ld: usize) {
        reference::gemm_f32(tile, out, out_ld);
    }

    unsafe fn epilogue(&self, products: &[f32], epilogue: &Epilogue<'_>, out: &mut [f32]) {
        reference::epilogue(products, epilogue, out);
    }

    unsafe fn epilogue_int8(&self, sums: &[i32], scales: &Scales<'_>, epilogue: &Epilogue<'_>, out: &mut [f32]) {
        reference::epilogue_int8(sums, scales, epilogue, out);
    }

    unsafe fn dequantize(&self, sums: &[i32], scales: &Scales<'_>, out: &mut [f32], out_ld: usize) {
        reference::dequantize(sums, scales, out, out_ld);
    }

    unsafe fn quantize_row(&self, row: &[f32], levels: u8, out: &mut [u8]) -> RowRange {
        reference::quantize_row(row, levels, out)
    }

    unsafe fn largest_magnitude(&self, row: &[f32]) -> f32 {
        reference::largest_magnitude(row)
    }

    unsafe fn quantize_row_signed(&self, row: &[f32], factors: &[f32], out: &mut [i8]) {
        reference::quantize_row_signed(row, factors, out);
    }

    unsafe fn exp_row(&self, row: &mut [f32]) -> f32 {
        reference::exp_row(row)
    }

    unsafe fn exp_row_int8(&self, row: &mut [f32], levels: u8, out: &mut [u8]) -> f32 {
        reference::exp_row_int8(row, levels, out)
    }

    unsafe fn layer_norm(&self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
        reference::layer_norm(x, weight, bias, eps, out);
    }

    unsafe fn score_panel(&self, rows: &[f32], dim: usize, panel: &[f32], out: &mut [f32]) {
        reference::score_panel_f32(rows, dim, panel, out);
    }

    unsafe fn fold(&self, products: &PanelProducts<'_>, pass: &mut Pass<'_>, words: &mut [WordBest; PANEL]) {
        reference::fold(products, pass, words);
    }
}

impl Int8Kernels for Scalar {
    fn sizes(&self) -> Int8Sizes {
        Int8Sizes { tile_rows: 1, part_rows: 1, group: 4, levels: 255, shift: 0 }
    }

    unsafe fn gemm(&self, tile: &TileInt8<'_>, out: &mut [i32]) {
        reference::gemm_int8(tile, out);
    }
}

impl Int8Scoring for Scalar {
    fn patch_group(&self) -> usize {
        1
    }

    unsafe fn score_panel(&self, patches: &InterleavedRows<'_>, panel: &InterleavedRows<'_>, out: &mut [f32]) {
        reference::score_panel_int8(patches, panel, out);
    }
}

impl F16Kernels for Scalar {
    fn tile_rows(&self) -> usize {
        1
    }

    unsafe fn gemm(&self, tile: &TileF16<'_>, out: &mut [f32]) {
        reference::gemm_f16(tile, out);
    }

    unsafe fn round_row(&self, row: &[f32], factor: f32, out: &mut [u16]) {
        reference::round_row_f16(row, factor, out);
    }
}
