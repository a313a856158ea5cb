//! Kernels written once over a vector register. Each instruction set compiles them under its own features, by [`float_kernels`]: every
//! function here is inlined into the set's own, which is what lets the compiler use that set.

#![allow(unsafe_code)]

pub(crate) mod dot_products;
pub(crate) mod epilogue;
mod exp;
pub(crate) mod gemm;
pub(crate) mod layer_norm;
pub(crate) mod quantize_rows;
pub(crate) mod scoring;
pub(crate) mod upsample;
mod vector;

pub(crate) use vector::Vector;

/// Implements [`FloatKernels`](crate::isa::FloatKernels) for a set: every kernel of this folder over the set's vector, compiled with the
/// features before it. `dot_products` names the rows and words, `gemm` the rows and registers, and `score_panel` the patches that
/// the registers hold the sums of.
macro_rules! float_kernels {
    (
        $(#[$features:meta])?
        impl $set:ty, $vector:ty;
        dot_products: $dot_rows:literal x $dot_words:literal;
        gemm: $tile_rows:literal x [$($fewer:literal,)* ..$registers:literal];
        score_panel: $patches:literal
    ) => {
        // SAFETY (all functions): `self` proves the features; lengths are as the trait asks.
        impl $crate::isa::FloatKernels for $set {
            fn sizes(&self) -> $crate::isa::FloatSizes {
                let lanes = <$vector as $crate::generic::Vector>::LANES;
                $crate::isa::FloatSizes { lanes, panel: $registers * lanes, tile_rows: $tile_rows, patch_group: $patches }
            }

            $(#[$features])?
            unsafe fn dot_products(&self, patches: &[f32], bank: &[f32], dim: usize, out: &mut [f32]) {
                // SAFETY: see the implementation's head.
                unsafe { $crate::generic::dot_products::dot_products::<$vector, $dot_rows, $dot_words>(patches, bank, dim, out) }
            }

            $(#[$features])?
            unsafe fn normalize_rows(&self, rows: &mut [f32], dim: usize) -> Option<usize> {
                // SAFETY: see the implementation's head.
                unsafe { $crate::generic::dot_products::normalize_rows::<$vector>(rows, dim) }
            }

            $(#[$features])?
            unsafe fn gemm(&self, tile: &$crate::operands::TileF32<'_>, out: &mut [f32], out_ld: usize) {
                // SAFETY: see the implementation's head.
                unsafe {
                    match tile.columns / <$vector as $crate::generic::Vector>::LANES {
                        $($fewer => $crate::generic::gemm::gemm::<$vector, $tile_rows, $fewer>(tile, out, out_ld),)*
                        _ => $crate::generic::gemm::gemm::<$vector, $tile_rows, $registers>(tile, out, out_ld),
                    }
                }
            }

            $(#[$features])?
            unsafe fn epilogue(&self, products: &[f32], epilogue: &$crate::operands::Epilogue<'_>, out: &mut [f32]) {
                // SAFETY: see the implementation's head.
                unsafe { $crate::generic::epilogue::epilogue::<$vector>(products, epilogue, out) }
            }

            $(#[$features])?
            unsafe fn epilogue_int8(
                &self,
                sums: &[i32],
                scales: &$crate::operands::Scales<'_>,
                epilogue: &$crate::operands::Epilogue<'_>,
                out: &mut [f32],
            ) {
                // SAFETY: see the implementation's head.
                unsafe { $crate::generic::epilogue::epilogue_int8::<$vector>(sums, scales, epilogue, out) }
            }

            $(#[$features])?
            unsafe fn dequantize(&self, sums: &[i32], scales: &$crate::operands::Scales<'_>, out: &mut [f32], out_ld: usize) {
                // SAFETY: see the implementation's head.
                unsafe { $crate::generic::epilogue::dequantize::<$vector>(sums, scales, out, out_ld) }
            }

            $(#[$features])?
            unsafe fn quantize_row(&self, row: &[f32], levels: u8, out: &mut [u8]) -> $crate::operands::RowRange {
                // SAFETY: see the implementation's head.
                unsafe { $crate::generic::quantize_rows::quantize_row::<$vector>(row, levels, out) }
            }

            $(#[$features])?
            unsafe fn largest_magnitude(&self, row: &[f32]) -> f32 {
                // SAFETY: see the implementation's head.
                unsafe { $crate::generic::quantize_rows::largest_magnitude::<$vector>(row) }
            }

            $(#[$features])?
            unsafe fn quantize_row_signed(&self, row: &[f32], factors: &[f32], out: &mut [i8]) {
                // SAFETY: see the implementation's head.
                unsafe { $crate::generic::quantize_rows::quantize_row_signed::<$vector>(row, factors, out) }
            }

            $(#[$features])?
            unsafe fn exp_row(&self, row: &mut [f32]) -> f32 {
                // SAFETY: see the implementation's head.
                unsafe { $crate::generic::quantize_rows::exp_row::<$vector>(row) }
            }

            $(#[$features])?
            unsafe fn exp_row_int8(&self, row: &mut [f32], levels: u8, out: &mut [u8]) -> f32 {
                // SAFETY: see the implementation's head.
                unsafe { $crate::generic::quantize_rows::exp_row_int8::<$vector>(row, levels, out) }
            }

            $(#[$features])?
            unsafe fn layer_norm(&self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
                // SAFETY: see the implementation's head.
                unsafe { $crate::generic::layer_norm::layer_norm::<$vector>(x, weight, bias, eps, out) }
            }

            $(#[$features])?
            unsafe fn score_panel(&self, rows: &[f32], dim: usize, panel: &[f32], out: &mut [f32]) {
                const REGISTERS: usize = $crate::operands::PANEL / <$vector as $crate::generic::Vector>::LANES;
                // SAFETY: see the implementation's head.
                unsafe { $crate::generic::scoring::score_panel::<$vector, $patches, REGISTERS>(rows, dim, panel, out) }
            }

            $(#[$features])?
            unsafe fn fold(
                &self,
                products: &$crate::operands::PanelProducts<'_>,
                pass: &mut $crate::operands::Pass<'_>,
                words: &mut [$crate::operands::WordBest; $crate::operands::PANEL],
            ) {
                const REGISTERS: usize = $crate::operands::PANEL / <$vector as $crate::generic::Vector>::LANES;
                // SAFETY: see the implementation's head.
                unsafe { $crate::generic::scoring::fold::<$vector, REGISTERS>(products, pass, words) }
            }
        }
    };
}
pub(crate) use float_kernels;
