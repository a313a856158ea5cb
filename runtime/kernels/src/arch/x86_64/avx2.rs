//! AVX2 with FMA: 8 lanes, 16 registers. And with dot products of bytes (AVX-VNNI).

#![allow(clippy::needless_range_loop)] // as in generic/gemm.rs

use std::arch::x86_64::*;

use crate::generic::{Vector, float_kernels};
use crate::isa::{Int8Kernels, Int8Scoring, Int8Sizes};
use crate::operands::{InterleavedRows, PANEL, TileInt8};

/// The proof that the processor has AVX2, FMA and F16C.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")).then_some(Avx2(()))
    }
}

float_kernels! {
    #[target_feature(enable = "avx2,fma")]
    impl Avx2, __m256;
    dot_products: 4 x 3;
    gemm: 6 x [1, ..2];
    score_panel: 6
}

/// Rows of a tile of bytes.
const ROWS: usize = 4;

/// Rows of signed bytes within ±127.
impl Int8Kernels for Avx2 {
    fn sizes(&self) -> Int8Sizes {
        Int8Sizes { tile_rows: ROWS, part_rows: ROWS, group: 4, levels: 254, shift: 127 }
    }

    unsafe fn gemm(&self, tile: &TileInt8<'_>, out: &mut [i32]) {
        // SAFETY: `self` proves the features; lengths are as the trait asks.
        unsafe { gemm_int8::<1, true>(tile, out) }
    }
}

/// Patches that lie side by side.
const PATCHES: usize = 4;

impl Int8Scoring for Avx2 {
    fn patch_group(&self) -> usize {
        PATCHES
    }

    unsafe fn score_panel(&self, patches: &InterleavedRows<'_>, panel: &InterleavedRows<'_>, out: &mut [f32]) {
        // SAFETY: `self` proves the features; lengths are as the trait asks.
        unsafe { score_panel_int8(patches, panel, out) }
    }
}

/// The same for panels of 64, beside floats of AVX-512, of rows whose bytes are at most 127.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2Wide(Avx2);

impl Avx2Wide {
    pub(super) fn new(avx2: Avx2) -> Self {
        Self(avx2)
    }
}

impl Int8Kernels for Avx2Wide {
    fn sizes(&self) -> Int8Sizes {
        Int8Sizes { levels: 127, shift: 0, ..Int8Kernels::sizes(&self.0) }
    }

    unsafe fn gemm(&self, tile: &TileInt8<'_>, out: &mut [i32]) {
        // SAFETY: `self` proves the features; lengths are as the trait asks.
        unsafe { gemm_int8::<4, false>(tile, out) }
    }
}

/// Unsigned times signed bytes is the only byte product there is: `|b| · (a with the sign of b)`. Two of them fit 16 bits because both
/// sides stay within ±127.
///
/// # Safety
/// The processor has AVX2; lengths are as `InterleavedRows::check` asserts.
#[target_feature(enable = "avx2,fma")]
unsafe fn score_panel_int8(patches: &InterleavedRows<'_>, panel: &InterleavedRows<'_>, out: &mut [f32]) {
    const M: usize = PATCHES;
    let groups = patches.values.chunks_exact(patches.wide * M).zip(patches.scales.chunks_exact(M));
    for ((group, scales), out) in groups.zip(out.chunks_exact_mut(PANEL * M)) {
        // SAFETY: per step `group` has `4 · M` bytes and `panel` `4 · PANEL`; `out` has `M · PANEL` values, `panel.scales` `PANEL`.
        unsafe {
            let ones = _mm256_set1_epi16(1);
            let mut sums = [[_mm256_setzero_si256(); 2]; M];
            let (mut row, mut words) = (group.as_ptr(), panel.values.as_ptr());
            for _ in 0..patches.wide / 4 {
                let columns = [_mm256_loadu_si256(words.cast()), _mm256_loadu_si256(words.add(32).cast())];
                let sizes = columns.map(|column| _mm256_abs_epi8(column));
                for (m, sums) in sums.iter_mut().enumerate() {
                    let quad = _mm256_set1_epi32(row.add(4 * m).cast::<i32>().read_unaligned());
                    for ((sum, column), size) in sums.iter_mut().zip(columns).zip(sizes) {
                        let pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(quad, column));
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
                    }
                }
                row = row.add(4 * M);
                words = words.add(4 * PANEL);
            }
            for (m, sums) in sums.iter().enumerate() {
                for (r, sum) in sums.iter().enumerate() {
                    let scale = _mm256_mul_ps(_mm256_set1_ps(scales[m]), _mm256_loadu_ps(panel.scales.as_ptr().add(8 * r)));
                    _mm256_storeu_ps(out.as_mut_ptr().add(m * PANEL + 8 * r), _mm256_mul_ps(_mm256_cvtepi32_ps(*sum), scale));
                }
            }
        }
    }
}

/// Rows are `SIGNED` bytes within ±127, whose sign goes to the weights as in [`score_panel_int8`], or unsigned ones up to 127.
///
/// # Safety
/// The processor has AVX2; lengths are as `TileInt8::check` asserts, for panels of `16 · PANELS`.
#[target_feature(enable = "avx2,fma")]
unsafe fn gemm_int8<const PANELS: usize, const SIGNED: bool>(tile: &TileInt8<'_>, out: &mut [i32]) {
    const M: usize = ROWS;
    let panel = 16 * PANELS;
    // SAFETY: rows beyond the last are read as the last and not written; `out` has a panel for each row, the weights one for each quad.
    unsafe {
        let mut rows = [tile.rows.as_ptr(); M];
        for m in 0..M {
            rows[m] = rows[m].add(m.min(tile.count - 1) * tile.rows_ld);
        }
        let ones = _mm256_set1_epi16(1);
        for part in (0..panel).step_by(16) {
            let out = out.as_mut_ptr().add(part);
            let mut sums = [[_mm256_setzero_si256(); 2]; M];
            if tile.add {
                for m in 0..M {
                    if m == tile.count {
                        break;
                    }
                    for r in 0..2 {
                        sums[m][r] = _mm256_loadu_si256(out.add(m * panel + 8 * r).cast());
                    }
                }
            }
            let mut weights = tile.weights.as_ptr().add(4 * part);
            for k in (0..tile.depth).step_by(4) {
                let columns = [_mm256_loadu_si256(weights.cast()), _mm256_loadu_si256(weights.add(32).cast())];
                let sizes = columns.map(|column| _mm256_abs_epi8(column));
                for m in 0..M {
                    let quad = _mm256_set1_epi32(rows[m].add(k).cast::<i32>().read_unaligned());
                    for r in 0..2 {
                        let pairs = match SIGNED {
                            true => _mm256_maddubs_epi16(sizes[r], _mm256_sign_epi8(quad, columns[r])),
                            false => _mm256_maddubs_epi16(quad, columns[r]),
                        };
                        sums[m][r] = _mm256_add_epi32(sums[m][r], _mm256_madd_epi16(pairs, ones));
                    }
                }
                weights = weights.wrapping_add(4 * panel);
            }
            for m in 0..M {
                if m == tile.count {
                    break;
                }
                for r in 0..2 {
                    _mm256_storeu_si256(out.add(m * panel + 8 * r).cast(), sums[m][r]);
                }
            }
        }
    }
}

/// The proof that the processor has AVX2 and dot products of four bytes in its registers (AVX-VNNI: laptops from 2021 on).
#[derive(Debug, Clone, Copy)]
pub(super) struct AvxVnni(());

impl AvxVnni {
    const ROWS: usize = 6;

    pub(super) fn detect(_: Avx2) -> Option<Self> {
        is_x86_feature_detected!("avxvnni").then_some(Self(()))
    }
}

impl Int8Kernels for AvxVnni {
    fn sizes(&self) -> Int8Sizes {
        Int8Sizes { tile_rows: Self::ROWS, part_rows: Self::ROWS, group: 4, levels: 255, shift: 0 }
    }

    unsafe fn gemm(&self, tile: &TileInt8<'_>, out: &mut [i32]) {
        // SAFETY: `self` proves the features; lengths are as the trait asks.
        unsafe { gemm_int8_dot(tile, out) }
    }
}

/// # Safety
/// The processor has AVX-VNNI; lengths are as `TileInt8::check` asserts, for panels of 16.
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn gemm_int8_dot(tile: &TileInt8<'_>, out: &mut [i32]) {
    const M: usize = AvxVnni::ROWS;
    // SAFETY: rows beyond the last are read as the last and not written; `out` has 16 sums for each row, the weights 64 for each quad.
    unsafe {
        let mut rows = [tile.rows.as_ptr(); M];
        for m in 0..M {
            rows[m] = rows[m].add(m.min(tile.count - 1) * tile.rows_ld);
        }
        let mut sums = [[_mm256_setzero_si256(); 2]; M];
        if tile.add {
            for m in 0..M {
                if m == tile.count {
                    break;
                }
                for r in 0..2 {
                    sums[m][r] = _mm256_loadu_si256(out.as_ptr().add(16 * m + 8 * r).cast());
                }
            }
        }
        let mut weights = tile.weights.as_ptr();
        for k in (0..tile.depth).step_by(4) {
            let columns = [_mm256_loadu_si256(weights.cast()), _mm256_loadu_si256(weights.add(32).cast())];
            for m in 0..M {
                let quad = _mm256_set1_epi32(rows[m].add(k).cast::<i32>().read_unaligned());
                for r in 0..2 {
                    sums[m][r] = _mm256_dpbusd_avx_epi32(sums[m][r], quad, columns[r]);
                }
            }
            weights = weights.wrapping_add(64);
        }
        for m in 0..M {
            if m == tile.count {
                break;
            }
            for r in 0..2 {
                _mm256_storeu_si256(out.as_mut_ptr().add(16 * m + 8 * r).cast(), sums[m][r]);
            }
        }
    }
}

/// `MASKS[8 - n..]` starts with `n` lanes set.
static MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

// SAFETY (all functions): callers run under AVX2 and FMA, and give pointers as `Vector` asks.
impl Vector for __m256 {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { _mm256_loadu_ps(at) }
    }

    #[inline(always)]
    unsafe fn load_first(at: *const f32, count: usize) -> Self {
        // SAFETY: see the implementation's head; lanes without a mask are not read, and `count` is below 8.
        unsafe { _mm256_maskload_ps(at, _mm256_loadu_si256(MASKS.as_ptr().add(8 - count).cast())) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { _mm256_add_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn fma(self, a: Self, b: Self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { _mm256_fmadd_ps(a, b, self) }
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: see the implementation's head.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(self), _mm256_extractf128_ps::<1>(self));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        // SAFETY: see the implementation's head.
        unsafe { _mm256_storeu_ps(at, self) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { _mm256_sub_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { _mm256_mul_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { _mm256_max_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { _mm256_min_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        // SAFETY: see the implementation's head.
        unsafe {
            let four = _mm_max_ps(_mm256_castps256_ps128(self), _mm256_extractf128_ps::<1>(self));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, at: *mut u8) {
        // SAFETY: see the implementation's head; 8 bytes are written.
        unsafe {
            let whole = _mm256_cvtps_epi32(self);
            let halves = _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256::<1>(whole));
            _mm_storel_epi64(at.cast(), _mm_packus_epi16(halves, halves));
        }
    }

    #[inline(always)]
    unsafe fn from_integers(sums: *const i32, zero: i32, columns: *const i32) -> Self {
        // SAFETY: see the implementation's head.
        unsafe {
            let shift = _mm256_mullo_epi32(_mm256_set1_epi32(zero), _mm256_loadu_si256(columns.cast()));
            _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_loadu_si256(sums.cast()), shift))
        }
    }

    #[inline(always)]
    unsafe fn if_greater(self, other: Self, yes: Self, no: Self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_GT_OQ>(self, other)) }
    }

    #[inline(always)]
    unsafe fn round(self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self) }
    }

    #[inline(always)]
    unsafe fn power_of_two(self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(self), _mm256_set1_epi32(127)))) }
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { _mm256_div_ps(self, other) }
    }
}
