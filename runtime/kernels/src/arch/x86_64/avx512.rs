//! AVX-512: 16 lanes, 32 registers. And with dot products of bytes (VNNI).

#![allow(clippy::needless_range_loop)] // as in generic/gemm.rs

use std::arch::x86_64::*;

use super::avx2::Avx2;
use crate::generic::{Vector, float_kernels};
use crate::isa::{Int8Kernels, Int8Scoring, Int8Sizes};
use crate::operands::{InterleavedRows, PANEL, TileInt8};

/// The proof that the processor has AVX-512 F, BW, DQ and VL, and the system saves its registers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    /// Where AVX2 is there too.
    pub(super) fn detect(_: Avx2) -> Option<Self> {
        let wide = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        let whole = is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512vl");
        (wide && whole).then_some(Self(()))
    }
}

float_kernels! {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    impl Avx512, __m512;
    dot_products: 4 x 6;
    gemm: 6 x [1, 2, 3, ..4];
    score_panel: 24
}

/// The proof that the processor has AVX-512 with VNNI, dot products of four bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512Vnni(());

impl Avx512Vnni {
    /// Rows of a tile.
    pub(super) const ROWS: usize = 6;
    /// Patches that lie side by side.
    const PATCHES: usize = 24;

    pub(super) fn detect(_: Avx512) -> Option<Self> {
        is_x86_feature_detected!("avx512vnni").then_some(Self(()))
    }
}

impl Int8Kernels for Avx512Vnni {
    fn sizes(&self) -> Int8Sizes {
        Int8Sizes { tile_rows: Self::ROWS, part_rows: Self::ROWS, group: 4, levels: 255, shift: 0 }
    }

    unsafe fn gemm(&self, tile: &TileInt8<'_>, out: &mut [i32]) {
        // SAFETY: `self` proves the features; lengths are as the trait asks.
        unsafe { gemm_int8(tile, out) }
    }
}

impl Int8Scoring for Avx512Vnni {
    fn patch_group(&self) -> usize {
        Self::PATCHES
    }

    unsafe fn score_panel(&self, patches: &InterleavedRows<'_>, panel: &InterleavedRows<'_>, out: &mut [f32]) {
        // SAFETY: `self` proves the features; lengths are as the trait asks.
        unsafe { score_panel_int8(patches, panel, out) }
    }
}

/// VNNI multiplies unsigned by signed bytes: 128 is added to the bank's bytes, and 128 times each patch's sum taken away again.
///
/// # Safety
/// The processor has AVX-512 with VNNI; lengths are as `InterleavedRows::check` asserts.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn score_panel_int8(patches: &InterleavedRows<'_>, panel: &InterleavedRows<'_>, out: &mut [f32]) {
    const M: usize = Avx512Vnni::PATCHES;
    let groups = patches.values.chunks_exact(patches.wide * M).zip(patches.scales.chunks_exact(M)).zip(patches.sums.chunks_exact(M));
    for (((group, scales), row_sums), out) in groups.zip(out.chunks_exact_mut(PANEL * M)) {
        // SAFETY: per step `group` has `4 · M` bytes and `panel` `4 · PANEL`; `out` has `M · PANEL` values, `panel.scales` `PANEL`.
        unsafe {
            let shift = _mm512_set1_epi8(i8::MIN);
            let mut sums = [_mm512_setzero_si512(); M];
            let (mut row, mut words) = (group.as_ptr(), panel.values.as_ptr());
            for _ in 0..patches.wide / 4 {
                let column = _mm512_xor_si512(_mm512_loadu_si512(words.cast()), shift);
                for (m, sum) in sums.iter_mut().enumerate() {
                    let quad = _mm512_set1_epi32(row.add(4 * m).cast::<i32>().read_unaligned());
                    *sum = _mm512_dpbusd_epi32(*sum, column, quad);
                }
                row = row.add(4 * M);
                words = words.add(4 * PANEL);
            }
            let word_scales = _mm512_loadu_ps(panel.scales.as_ptr());
            for (m, sum) in sums.iter().enumerate() {
                let exact = _mm512_cvtepi32_ps(_mm512_sub_epi32(*sum, _mm512_set1_epi32(128 * row_sums[m])));
                let scale = _mm512_mul_ps(_mm512_set1_ps(scales[m]), word_scales);
                _mm512_storeu_ps(out.as_mut_ptr().add(m * PANEL), _mm512_mul_ps(exact, scale));
            }
        }
    }
}

/// # Safety
/// The processor has AVX-512 with VNNI; lengths are as `TileInt8::check` asserts, for panels of 64.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn gemm_int8(tile: &TileInt8<'_>, out: &mut [i32]) {
    const M: usize = Avx512Vnni::ROWS;
    const R: usize = 4;
    // SAFETY: rows beyond the last are read as the last and not written; `out` has `R` registers for each row, the weights for each quad.
    unsafe {
        let mut rows = [tile.rows.as_ptr(); M];
        for m in 0..M {
            rows[m] = rows[m].add(m.min(tile.count - 1) * tile.rows_ld);
        }
        let out = out.as_mut_ptr();
        let mut sums = [[_mm512_setzero_si512(); R]; M];
        if tile.add {
            for m in 0..M {
                if m == tile.count {
                    break;
                }
                for r in 0..R {
                    sums[m][r] = _mm512_loadu_si512(out.add((m * R + r) * 16).cast());
                }
            }
        }
        let mut weights = tile.weights.as_ptr();
        for k in (0..tile.depth).step_by(4) {
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
            if m == tile.count {
                break;
            }
            for r in 0..R {
                _mm512_storeu_si512(out.add((m * R + r) * 16).cast(), sums[m][r]);
            }
        }
    }
}

// SAFETY (all functions): callers run under AVX-512 F, and give pointers as `Vector` asks.
impl Vector for __m512 {
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
