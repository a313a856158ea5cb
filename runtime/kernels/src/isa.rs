//! What the operations ask of an instruction set: a trait for each kind of kernel, and the set that names one of each.
//!
//! Every method is `unsafe` for one reason, the lengths of its arguments, which `dispatch` checks before the call. That the processor has
//! the instructions needs no check: the type that implements a trait can only be had where they were detected.

#![allow(unsafe_code)]

use std::fmt;

use crate::operands::{Epilogue, InterleavedRows, PANEL, PanelProducts, Pass, RowRange, Scales, TileF16, TileF32, TileInt8, WordBest};

/// Kernels for one instruction set. They need not be of one file: a set takes its floats, integers and 16-bit floats from where they are
/// fastest on the processors that have it.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) floats: Box<dyn FloatKernels>,
    pub(crate) float_sizes: FloatSizes,
    pub(crate) int8: Box<dyn Int8Kernels>,
    pub(crate) int8_sizes: Int8Sizes,
    pub(crate) scoring: Box<dyn Int8Scoring>,
    /// None where the processor does not compute in 16-bit floats.
    pub(crate) f16: Option<Box<dyn F16Kernels>>,
}

impl Set {
    pub(crate) fn new(
        name: &'static str,
        floats: impl FloatKernels + 'static,
        int8: impl Int8Kernels + 'static,
        scoring: impl Int8Scoring + 'static,
    ) -> Self {
        let (float_sizes, int8_sizes) = (floats.sizes(), int8.sizes());
        Self { name, floats: Box::new(floats), float_sizes, int8: Box::new(int8), int8_sizes, scoring: Box::new(scoring), f16: None }
    }

    pub(crate) fn with_f16(self, f16: Option<impl F16Kernels + 'static>) -> Self {
        Self { f16: f16.map(|kernels| Box::new(kernels) as _), ..self }
    }
}

/// The sizes that kernels on floats work in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FloatSizes {
    /// Values in a vector register.
    pub(crate) lanes: usize,
    /// Columns of a panel of packed weights, of bytes and 16-bit floats too; a multiple of the lanes.
    pub(crate) panel: usize,
    /// Rows of a tile.
    pub(crate) tile_rows: usize,
    /// Patches that lie side by side for [`FloatKernels::score_panel`].
    pub(crate) patch_group: usize,
}

/// The sizes that kernels on bytes work in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Int8Sizes {
    /// Rows of a tile.
    pub(crate) tile_rows: usize,
    /// Parts of a multiple of these rows waste nothing: less than a tile's, where that is worked on in parts.
    pub(crate) part_rows: usize,
    /// Bytes of a column that lie together in a panel: those that an instruction adds up in one lane.
    pub(crate) group: usize,
    /// The largest byte that rows are quantized to.
    pub(crate) levels: u8,
    /// What is taken from each byte before the product reads it: sets that multiply signed bytes alone need it.
    pub(crate) shift: u8,
}

/// Kernels on 32-bit floats.
///
/// # Safety
/// Lengths are as the function of the same name in `reference` has them, and as the operands' own `check` asserts for the
/// [sizes](Self::sizes).
pub(crate) trait FloatKernels: fmt::Debug + Send + Sync {
    fn sizes(&self) -> FloatSizes;
    unsafe fn dot_products(&self, patches: &[f32], bank: &[f32], dim: usize, out: &mut [f32]);
    unsafe fn normalize_rows(&self, rows: &mut [f32], dim: usize) -> Option<usize>;
    unsafe fn gemm(&self, tile: &TileF32<'_>, out: &mut [f32], out_ld: usize);
    unsafe fn epilogue(&self, products: &[f32], epilogue: &Epilogue<'_>, out: &mut [f32]);
    unsafe fn epilogue_int8(&self, sums: &[i32], scales: &Scales<'_>, epilogue: &Epilogue<'_>, out: &mut [f32]);
    unsafe fn dequantize(&self, sums: &[i32], scales: &Scales<'_>, out: &mut [f32], out_ld: usize);
    unsafe fn quantize_row(&self, row: &[f32], levels: u8, out: &mut [u8]) -> RowRange;
    unsafe fn largest_magnitude(&self, row: &[f32]) -> f32;
    unsafe fn quantize_row_signed(&self, row: &[f32], factors: &[f32], out: &mut [i8]);
    unsafe fn exp_row(&self, row: &mut [f32]) -> f32;
    unsafe fn exp_row_int8(&self, row: &mut [f32], levels: u8, out: &mut [u8]) -> f32;
    unsafe fn layer_norm(&self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]);
    unsafe fn score_panel(&self, rows: &[f32], dim: usize, panel: &[f32], out: &mut [f32]);
    unsafe fn fold(&self, products: &PanelProducts<'_>, pass: &mut Pass<'_>, words: &mut [WordBest; PANEL]);
}

/// Products of bytes for layers.
///
/// # Safety
/// `TileInt8::check` passed.
pub(crate) trait Int8Kernels: fmt::Debug + Send + Sync {
    fn sizes(&self) -> Int8Sizes;
    unsafe fn gemm(&self, tile: &TileInt8<'_>, out: &mut [i32]);
}

/// Products of bytes for scoring.
///
/// # Safety
/// `InterleavedRows::check` passed.
pub(crate) trait Int8Scoring: fmt::Debug + Send + Sync {
    /// Patches that lie side by side.
    fn patch_group(&self) -> usize;
    unsafe fn score_panel(&self, patches: &InterleavedRows<'_>, panel: &InterleavedRows<'_>, out: &mut [f32]);
}

/// Kernels on 16-bit floats.
///
/// # Safety
/// `TileF16::check` passed; `out` is as long as `row`.
pub(crate) trait F16Kernels: fmt::Debug + Send + Sync {
    fn tile_rows(&self) -> usize;
    unsafe fn gemm(&self, tile: &TileF16<'_>, out: &mut [f32]);
    unsafe fn round_row(&self, row: &[f32], factor: f32, out: &mut [u16]);
}
