//! AVX-512: 16 lanes, 32 registers.

#![allow(clippy::needless_range_loop)] // as in block.rs

use std::arch::x86_64::*;

use super::TagBest;
use super::avx2::Avx2;
use super::block::{self, Block, ByteBlock};
use super::finish::{self, Finish, Scales};
use super::lanes::{self, Lanes};
use super::packed::PANEL;
use super::quantised::Range;
use super::scan::{Int8Rows, Pass, Products};
use super::{rows, transformer};

/// The proof that the processor has AVX-512 F, BW, DQ and VL, and the system saves its registers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512(Avx2);

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        let wide = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        let whole = is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512vl");
        (wide && whole).then(Avx2::detect).flatten().map(Avx512)
    }

    pub(crate) fn dot_products(self, patches: &[f32], bank: &[f32], dim: usize, out: &mut [f32]) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        unsafe fn run(patches: &[f32], bank: &[f32], dim: usize, out: &mut [f32]) {
            // SAFETY: as the caller's.
            unsafe { lanes::dot_products::<__m512, 4, 6>(patches, bank, dim, out) }
        }
        // SAFETY: `self` proves the features; `Kernels::dot_products` has checked the lengths.
        unsafe { run(patches, bank, dim, out) }
    }

    pub(crate) fn normalise_rows(self, rows: &mut [f32], dim: usize) -> Option<usize> {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        unsafe fn run(rows: &mut [f32], dim: usize) -> Option<usize> {
            // SAFETY: as the caller's.
            unsafe { lanes::normalise_rows::<__m512>(rows, dim) }
        }
        // SAFETY: `self` proves the features.
        unsafe { run(rows, dim) }
    }

    /// Without a dot product of bytes the narrower set's products are the best ones.
    pub(crate) fn narrow(self) -> Avx2 {
        self.0
    }

    /// As `scalar::block_f32`.
    pub(crate) fn block_f32(self, block: &Block<'_>, out: &mut [f32], out_pitch: usize) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        unsafe fn run<const R: usize>(block: &Block<'_>, out: &mut [f32], out_pitch: usize) {
            // SAFETY: as the caller's.
            unsafe { block::block_f32::<__m512, 6, R>(block, out, out_pitch) }
        }
        // SAFETY: `self` proves the features; `Kernels::block_f32` has checked the lengths.
        unsafe {
            match block.columns / 16 {
                1 => run::<1>(block, out, out_pitch),
                2 => run::<2>(block, out, out_pitch),
                3 => run::<3>(block, out, out_pitch),
                _ => run::<4>(block, out, out_pitch),
            }
        }
    }

    /// As `scalar::finish`.
    pub(crate) fn finish(self, products: &[f32], finish: &Finish<'_>, out: &mut [f32]) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        unsafe fn run(products: &[f32], finish: &Finish<'_>, out: &mut [f32]) {
            // SAFETY: as the caller's.
            unsafe { finish::finish::<__m512>(products, finish, out) }
        }
        // SAFETY: `self` proves the features; `Finish::check` has checked the lengths.
        unsafe { run(products, finish, out) }
    }

    /// As `scalar::finish_int8`.
    pub(crate) fn finish_int8(self, sums: &[i32], scales: &Scales<'_>, finish: &Finish<'_>, out: &mut [f32]) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        unsafe fn run(sums: &[i32], scales: &Scales<'_>, finish: &Finish<'_>, out: &mut [f32]) {
            // SAFETY: as the caller's.
            unsafe { finish::finish_int8::<__m512>(sums, scales, finish, out) }
        }
        // SAFETY: `self` proves the features; `Finish::check` and `Scales::check` have checked the lengths.
        unsafe { run(sums, scales, finish, out) }
    }

    /// As `scalar::dequantise`.
    pub(crate) fn dequantise(self, sums: &[i32], scales: &Scales<'_>, out: &mut [f32], pitch: usize) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        unsafe fn run(sums: &[i32], scales: &Scales<'_>, out: &mut [f32], pitch: usize) {
            // SAFETY: as the caller's.
            unsafe { finish::dequantise::<__m512>(sums, scales, out, pitch) }
        }
        // SAFETY: `self` proves the features; `Kernels::dequantise` has checked the lengths.
        unsafe { run(sums, scales, out, pitch) }
    }

    /// As `scalar::quantise_row`.
    pub(crate) fn quantise_row(self, row: &[f32], levels: u8, out: &mut [u8]) -> Range {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        unsafe fn run(row: &[f32], levels: u8, out: &mut [u8]) -> Range {
            // SAFETY: as the caller's.
            unsafe { rows::quantise_row::<__m512>(row, levels, out) }
        }
        // SAFETY: `self` proves the features; `Kernels::quantise_row` has checked the lengths.
        unsafe { run(row, levels, out) }
    }

    /// As `scalar::size_of_row`.
    pub(crate) fn size_of_row(self, row: &[f32]) -> f32 {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        unsafe fn run(row: &[f32]) -> f32 {
            // SAFETY: as the caller's.
            unsafe { rows::size_of_row::<__m512>(row) }
        }
        // SAFETY: `self` proves the features.
        unsafe { run(row) }
    }

    /// As `scalar::signed_row`.
    pub(crate) fn signed_row(self, row: &[f32], factors: &[f32], out: &mut [i8]) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        unsafe fn run(row: &[f32], factors: &[f32], out: &mut [i8]) {
            // SAFETY: as the caller's.
            unsafe { rows::signed_row::<__m512>(row, factors, out) }
        }
        // SAFETY: `self` proves the features; `Kernels::signed_row` has checked the lengths.
        unsafe { run(row, factors, out) }
    }

    /// As `scalar::exp_row_int8`.
    pub(crate) fn exp_row_int8(self, row: &mut [f32], levels: u8, out: &mut [u8]) -> f32 {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        unsafe fn run(row: &mut [f32], levels: u8, out: &mut [u8]) -> f32 {
            // SAFETY: as the caller's.
            unsafe { rows::exp_row_int8::<__m512>(row, levels, out) }
        }
        // SAFETY: `self` proves the features; `Kernels::exp_row_int8` has checked the lengths.
        unsafe { run(row, levels, out) }
    }

    /// As `scalar::exp_row`.
    pub(crate) fn exp_row(self, row: &mut [f32]) -> f32 {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        unsafe fn run(row: &mut [f32]) -> f32 {
            // SAFETY: as the caller's.
            unsafe { rows::exp_row::<__m512>(row) }
        }
        // SAFETY: `self` proves the features.
        unsafe { run(row) }
    }

    /// As `scalar::layer_norm`.
    pub(crate) fn layer_norm(self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        unsafe fn run(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
            // SAFETY: as the caller's.
            unsafe { transformer::layer_norm::<__m512>(x, weight, bias, eps, out) }
        }
        // SAFETY: `self` proves the features.
        unsafe { run(x, weight, bias, eps, out) }
    }

    /// Patches that lie side by side for products of floats.
    pub(crate) const BLOCK_F32: usize = 24;

    /// As `scalar::panel_f32`, in blocks of [`BLOCK_F32`](Self::BLOCK_F32); the caller has checked the lengths.
    pub(crate) fn panel_f32(self, rows: &[f32], dim: usize, panel: &[f32], out: &mut [f32]) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        unsafe fn run(rows: &[f32], dim: usize, panel: &[f32], out: &mut [f32]) {
            // SAFETY: as the caller's.
            unsafe { lanes::panel_f32::<__m512, { Avx512::BLOCK_F32 }, 1>(rows, dim, panel, out) }
        }
        // SAFETY: `self` proves the features; `Kernels::panel_f32` has checked the lengths.
        unsafe { run(rows, dim, panel, out) }
    }

    /// As `scalar::fold`.
    pub(crate) fn fold(self, products: &Products<'_>, pass: &mut Pass<'_>, tags: &mut [TagBest; PANEL]) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        unsafe fn run(products: &Products<'_>, pass: &mut Pass<'_>, tags: &mut [TagBest; PANEL]) {
            // SAFETY: as the caller's.
            unsafe { lanes::fold::<__m512, 1>(products, pass, tags) }
        }
        // SAFETY: `self` proves the features.
        unsafe { run(products, pass, tags) }
    }
}

/// The proof that the processor has AVX-512 with VNNI, dot products of four bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512Vnni(Avx512);

impl Avx512Vnni {
    /// Rows of a block of bytes.
    pub(crate) const ROWS: usize = 6;

    pub(crate) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx512vnni").then(Avx512::detect).flatten().map(Avx512Vnni)
    }

    /// The kernels on floats.
    pub(crate) fn floats(self) -> Avx512 {
        self.0
    }

    /// As `scalar::block_int8`.
    pub(crate) fn block_int8(self, block: &ByteBlock<'_>, out: &mut [i32]) {
        // SAFETY: `self` proves the features; `Kernels::block_int8` has checked the lengths.
        unsafe { block_int8(block, out) }
    }

    /// Patches that lie side by side for products of integers.
    pub(crate) const BLOCK_INT8: usize = 24;

    /// As `scalar::panel_int8`, in blocks of [`BLOCK_INT8`](Self::BLOCK_INT8); the caller has checked the lengths.
    pub(crate) fn panel_int8(self, patches: &Int8Rows<'_>, panel: &Int8Rows<'_>, out: &mut [f32]) {
        // SAFETY: `self` proves the features; `Kernels::panel_int8` has checked the lengths.
        unsafe { panel_int8(patches, panel, out) }
    }
}

/// VNNI multiplies unsigned by signed bytes: 128 is added to the tags, and 128 times each patch's sum taken away again.
///
/// # Safety
/// The processor has AVX-512 with VNNI; lengths are as `Kernels::panel_int8` asserts.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn panel_int8(patches: &Int8Rows<'_>, panel: &Int8Rows<'_>, out: &mut [f32]) {
    const M: usize = Avx512Vnni::BLOCK_INT8;
    let blocks = patches.values.chunks_exact(patches.wide * M).zip(patches.scales.chunks_exact(M)).zip(patches.sums.chunks_exact(M));
    for (((block, scales), row_sums), out) in blocks.zip(out.chunks_exact_mut(PANEL * M)) {
        // SAFETY: per step `block` has `4 · M` bytes and `panel` `4 · PANEL`; `out` has `M · PANEL` values, `panel.scales` `PANEL`.
        unsafe {
            let shift = _mm512_set1_epi8(i8::MIN);
            let mut sums = [_mm512_setzero_si512(); M];
            let (mut row, mut tags) = (block.as_ptr(), panel.values.as_ptr());
            for _ in 0..patches.wide / 4 {
                let column = _mm512_xor_si512(_mm512_loadu_si512(tags.cast()), shift);
                for (m, sum) in sums.iter_mut().enumerate() {
                    let quad = _mm512_set1_epi32(row.add(4 * m).cast::<i32>().read_unaligned());
                    *sum = _mm512_dpbusd_epi32(*sum, column, quad);
                }
                row = row.add(4 * M);
                tags = tags.add(4 * PANEL);
            }
            let tag_scales = _mm512_loadu_ps(panel.scales.as_ptr());
            for (m, sum) in sums.iter().enumerate() {
                let exact = _mm512_cvtepi32_ps(_mm512_sub_epi32(*sum, _mm512_set1_epi32(128 * row_sums[m])));
                let scale = _mm512_mul_ps(_mm512_set1_ps(scales[m]), tag_scales);
                _mm512_storeu_ps(out.as_mut_ptr().add(m * PANEL), _mm512_mul_ps(exact, scale));
            }
        }
    }
}

/// # Safety
/// The processor has AVX-512 with VNNI; lengths are as `Kernels::block_int8` asserts, for strips of 64.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn block_int8(block: &ByteBlock<'_>, out: &mut [i32]) {
    const M: usize = Avx512Vnni::ROWS;
    const R: usize = 4;
    // SAFETY: rows beyond the last are read as the last and not written; `out` has `R` registers for each row, the weights for each quad.
    unsafe {
        let mut rows = [block.rows.as_ptr(); M];
        for m in 0..M {
            rows[m] = rows[m].add(m.min(block.count - 1) * block.stride);
        }
        let out = out.as_mut_ptr();
        let mut sums = [[_mm512_setzero_si512(); R]; M];
        if block.add {
            for m in 0..M {
                if m == block.count {
                    break;
                }
                for r in 0..R {
                    sums[m][r] = _mm512_loadu_si512(out.add((m * R + r) * 16).cast());
                }
            }
        }
        let mut weights = block.weights.as_ptr();
        for k in (0..block.depth).step_by(4) {
            let mut columns = [_mm512_setzero_si512(); R];
            for r in 0..R {
                columns[r] = _mm512_loadu_si512(weights.add(64 * r).cast());
            }
            for m in 0..M {
                let quad = _mm512_set1_epi32(rows[m].add(k).cast::<i32>().read_unaligned());
                for r in 0..R {
                    sums[m][r] = _mm512_dpbusd_epi32(sums[m][r], quad, columns[r]);
                }
            }
            weights = weights.add(64 * R);
        }
        for m in 0..M {
            if m == block.count {
                break;
            }
            for r in 0..R {
                _mm512_storeu_si512(out.add((m * R + r) * 16).cast(), sums[m][r]);
            }
        }
    }
}

// SAFETY (all functions): callers run under AVX-512 F, and give pointers as `Lanes` asks.
impl Lanes for __m512 {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { _mm512_loadu_ps(at) }
    }

    #[inline(always)]
    unsafe fn load_first(at: *const f32, count: usize) -> Self {
        // SAFETY: see the implementation's head; lanes without a mask are not read.
        unsafe { _mm512_maskz_loadu_ps(((1u32 << count) - 1) as __mmask16, at) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { _mm512_add_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn fma(self, a: Self, b: Self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { _mm512_fmadd_ps(a, b, self) }
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: see the implementation's head.
        unsafe { _mm512_reduce_add_ps(self) }
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        // SAFETY: see the implementation's head.
        unsafe { _mm512_storeu_ps(at, self) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { _mm512_sub_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { _mm512_mul_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { _mm512_max_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { _mm512_min_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        // SAFETY: see the implementation's head.
        unsafe { _mm512_reduce_max_ps(self) }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, at: *mut u8) {
        // SAFETY: see the implementation's head; 16 bytes are written.
        unsafe { _mm_storeu_si128(at.cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(self))) }
    }

    #[inline(always)]
    unsafe fn from_integers(sums: *const i32, zero: i32, columns: *const i32) -> Self {
        // SAFETY: see the implementation's head.
        unsafe {
            let shift = _mm512_mullo_epi32(_mm512_set1_epi32(zero), _mm512_loadu_si512(columns.cast()));
            _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_loadu_si512(sums.cast()), shift))
        }
    }

    #[inline(always)]
    unsafe fn if_greater(self, other: Self, yes: Self, no: Self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(self, other), no, yes) }
    }

    #[inline(always)]
    unsafe fn round(self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self) }
    }

    #[inline(always)]
    unsafe fn power_of_two(self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_add_epi32(_mm512_cvtps_epi32(self), _mm512_set1_epi32(127)))) }
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { _mm512_div_ps(self, other) }
    }
}
