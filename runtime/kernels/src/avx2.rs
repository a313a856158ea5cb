//! AVX2 with FMA: 8 lanes, 16 registers.

#![allow(clippy::needless_range_loop)] // as in block.rs

use std::arch::x86_64::*;

use super::TagBest;
use super::block::{self, Block, ByteBlock};
use super::finish::{self, Finish, Scales};
use super::lanes::{self, Lanes};
use super::packed::PANEL;
use super::quantised::Range;
use super::scan::{Int8Rows, Pass, Products};
use super::{rows, transformer};

/// The proof that the processor has AVX2, FMA and F16C.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")).then_some(Avx2(()))
    }

    pub(crate) fn dot_products(self, patches: &[f32], bank: &[f32], dim: usize, out: &mut [f32]) {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn run(patches: &[f32], bank: &[f32], dim: usize, out: &mut [f32]) {
            // SAFETY: as the caller's.
            unsafe { lanes::dot_products::<__m256, 4, 3>(patches, bank, dim, out) }
        }
        // SAFETY: `self` proves the features; `Kernels::dot_products` has checked the lengths.
        unsafe { run(patches, bank, dim, out) }
    }

    pub(crate) fn normalise_rows(self, rows: &mut [f32], dim: usize) -> Option<usize> {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn run(rows: &mut [f32], dim: usize) -> Option<usize> {
            // SAFETY: as the caller's.
            unsafe { lanes::normalise_rows::<__m256>(rows, dim) }
        }
        // SAFETY: `self` proves the features.
        unsafe { run(rows, dim) }
    }

    /// As `scalar::block_f32`.
    pub(crate) fn block_f32(self, block: &Block<'_>, out: &mut [f32], out_pitch: usize) {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn run<const R: usize>(block: &Block<'_>, out: &mut [f32], out_pitch: usize) {
            // SAFETY: as the caller's.
            unsafe { block::block_f32::<__m256, 6, R>(block, out, out_pitch) }
        }
        // SAFETY: `self` proves the features; `Kernels::block_f32` has checked the lengths.
        unsafe {
            match block.columns / 8 {
                1 => run::<1>(block, out, out_pitch),
                _ => run::<2>(block, out, out_pitch),
            }
        }
    }

    /// Rows of a block of bytes.
    pub(crate) const ROWS_INT8: usize = 4;

    /// As `scalar::block_int8`, of rows of signed bytes within ±127.
    pub(crate) fn block_int8(self, block: &ByteBlock<'_>, out: &mut [i32]) {
        // SAFETY: `self` proves the features; `Kernels::block_int8` has checked the lengths.
        unsafe { block_int8::<1, true>(block, out) }
    }

    /// As `scalar::block_int8`, of strips of 64; the rows' bytes are at most 127.
    pub(crate) fn block_int8_wide(self, block: &ByteBlock<'_>, out: &mut [i32]) {
        // SAFETY: `self` proves the features; `Kernels::block_int8` has checked the lengths.
        unsafe { block_int8::<4, false>(block, out) }
    }

    /// As `scalar::finish`.
    pub(crate) fn finish(self, products: &[f32], finish: &Finish<'_>, out: &mut [f32]) {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn run(products: &[f32], finish: &Finish<'_>, out: &mut [f32]) {
            // SAFETY: as the caller's.
            unsafe { finish::finish::<__m256>(products, finish, out) }
        }
        // SAFETY: `self` proves the features; `Finish::check` has checked the lengths.
        unsafe { run(products, finish, out) }
    }

    /// As `scalar::finish_int8`.
    pub(crate) fn finish_int8(self, sums: &[i32], scales: &Scales<'_>, finish: &Finish<'_>, out: &mut [f32]) {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn run(sums: &[i32], scales: &Scales<'_>, finish: &Finish<'_>, out: &mut [f32]) {
            // SAFETY: as the caller's.
            unsafe { finish::finish_int8::<__m256>(sums, scales, finish, out) }
        }
        // SAFETY: `self` proves the features; `Finish::check` and `Scales::check` have checked the lengths.
        unsafe { run(sums, scales, finish, out) }
    }

    /// As `scalar::dequantise`.
    pub(crate) fn dequantise(self, sums: &[i32], scales: &Scales<'_>, out: &mut [f32], pitch: usize) {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn run(sums: &[i32], scales: &Scales<'_>, out: &mut [f32], pitch: usize) {
            // SAFETY: as the caller's.
            unsafe { finish::dequantise::<__m256>(sums, scales, out, pitch) }
        }
        // SAFETY: `self` proves the features; `Kernels::dequantise` has checked the lengths.
        unsafe { run(sums, scales, out, pitch) }
    }

    /// As `scalar::quantise_row`.
    pub(crate) fn quantise_row(self, row: &[f32], levels: u8, out: &mut [u8]) -> Range {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn run(row: &[f32], levels: u8, out: &mut [u8]) -> Range {
            // SAFETY: as the caller's.
            unsafe { rows::quantise_row::<__m256>(row, levels, out) }
        }
        // SAFETY: `self` proves the features; `Kernels::quantise_row` has checked the lengths.
        unsafe { run(row, levels, out) }
    }

    /// As `scalar::size_of_row`.
    pub(crate) fn size_of_row(self, row: &[f32]) -> f32 {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn run(row: &[f32]) -> f32 {
            // SAFETY: as the caller's.
            unsafe { rows::size_of_row::<__m256>(row) }
        }
        // SAFETY: `self` proves the features.
        unsafe { run(row) }
    }

    /// As `scalar::signed_row`.
    pub(crate) fn signed_row(self, row: &[f32], factors: &[f32], out: &mut [i8]) {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn run(row: &[f32], factors: &[f32], out: &mut [i8]) {
            // SAFETY: as the caller's.
            unsafe { rows::signed_row::<__m256>(row, factors, out) }
        }
        // SAFETY: `self` proves the features; `Kernels::signed_row` has checked the lengths.
        unsafe { run(row, factors, out) }
    }

    /// As `scalar::exp_row_int8`.
    pub(crate) fn exp_row_int8(self, row: &mut [f32], levels: u8, out: &mut [u8]) -> f32 {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn run(row: &mut [f32], levels: u8, out: &mut [u8]) -> f32 {
            // SAFETY: as the caller's.
            unsafe { rows::exp_row_int8::<__m256>(row, levels, out) }
        }
        // SAFETY: `self` proves the features; `Kernels::exp_row_int8` has checked the lengths.
        unsafe { run(row, levels, out) }
    }

    /// As `scalar::exp_row`.
    pub(crate) fn exp_row(self, row: &mut [f32]) -> f32 {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn run(row: &mut [f32]) -> f32 {
            // SAFETY: as the caller's.
            unsafe { rows::exp_row::<__m256>(row) }
        }
        // SAFETY: `self` proves the features.
        unsafe { run(row) }
    }

    /// As `scalar::layer_norm`.
    pub(crate) fn layer_norm(self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn run(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
            // SAFETY: as the caller's.
            unsafe { transformer::layer_norm::<__m256>(x, weight, bias, eps, out) }
        }
        // SAFETY: `self` proves the features.
        unsafe { run(x, weight, bias, eps, out) }
    }

    /// Patches that lie side by side for products of floats.
    pub(crate) const BLOCK_F32: usize = 6;

    /// As `scalar::panel_f32`, in blocks of [`BLOCK_F32`](Self::BLOCK_F32); the caller has checked the lengths.
    pub(crate) fn panel_f32(self, rows: &[f32], dim: usize, panel: &[f32], out: &mut [f32]) {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn run(rows: &[f32], dim: usize, panel: &[f32], out: &mut [f32]) {
            // SAFETY: as the caller's.
            unsafe { lanes::panel_f32::<__m256, { Avx2::BLOCK_F32 }, 2>(rows, dim, panel, out) }
        }
        // SAFETY: `self` proves the features; `Kernels::panel_f32` has checked the lengths.
        unsafe { run(rows, dim, panel, out) }
    }

    /// As `scalar::fold`.
    pub(crate) fn fold(self, products: &Products<'_>, pass: &mut Pass<'_>, tags: &mut [TagBest; PANEL]) {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn run(products: &Products<'_>, pass: &mut Pass<'_>, tags: &mut [TagBest; PANEL]) {
            // SAFETY: as the caller's.
            unsafe { lanes::fold::<__m256, 2>(products, pass, tags) }
        }
        // SAFETY: `self` proves the features.
        unsafe { run(products, pass, tags) }
    }

    /// Patches that lie side by side for products of integers.
    pub(crate) const BLOCK_INT8: usize = 4;

    /// As `scalar::panel_int8`, in blocks of [`BLOCK_INT8`](Self::BLOCK_INT8); the caller has checked the lengths.
    pub(crate) fn panel_int8(self, patches: &Int8Rows<'_>, panel: &Int8Rows<'_>, out: &mut [f32]) {
        // SAFETY: `self` proves the features; `Kernels::panel_int8` has checked the lengths.
        unsafe { panel_int8(patches, panel, out) }
    }
}

/// Unsigned times signed bytes is the only byte product there is: `|b| · (a with the sign of b)`. Two of them fit 16 bits because both
/// sides stay within ±127.
///
/// # Safety
/// The processor has AVX2; lengths are as `Kernels::panel_int8` asserts.
#[target_feature(enable = "avx2,fma")]
unsafe fn panel_int8(patches: &Int8Rows<'_>, panel: &Int8Rows<'_>, out: &mut [f32]) {
    const M: usize = Avx2::BLOCK_INT8;
    let blocks = patches.values.chunks_exact(patches.wide * M).zip(patches.scales.chunks_exact(M));
    for ((block, scales), out) in blocks.zip(out.chunks_exact_mut(PANEL * M)) {
        // SAFETY: per step `block` has `4 · M` bytes and `panel` `4 · PANEL`; `out` has `M · PANEL` values, `panel.scales` `PANEL`.
        unsafe {
            let ones = _mm256_set1_epi16(1);
            let mut sums = [[_mm256_setzero_si256(); 2]; M];
            let (mut row, mut tags) = (block.as_ptr(), panel.values.as_ptr());
            for _ in 0..patches.wide / 4 {
                let columns = [_mm256_loadu_si256(tags.cast()), _mm256_loadu_si256(tags.add(32).cast())];
                let sizes = columns.map(|column| _mm256_abs_epi8(column));
                for (m, sums) in sums.iter_mut().enumerate() {
                    let quad = _mm256_set1_epi32(row.add(4 * m).cast::<i32>().read_unaligned());
                    for ((sum, column), size) in sums.iter_mut().zip(columns).zip(sizes) {
                        let pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(quad, column));
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
                    }
                }
                row = row.add(4 * M);
                tags = tags.add(4 * PANEL);
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

/// Rows are `SIGNED` bytes within ±127, whose sign goes to the weights as in [`panel_int8`], or unsigned ones up to 127.
///
/// # Safety
/// The processor has AVX2; lengths are as `Kernels::block_int8` asserts, for strips of `16 · STRIPS`.
#[target_feature(enable = "avx2,fma")]
unsafe fn block_int8<const STRIPS: usize, const SIGNED: bool>(block: &ByteBlock<'_>, out: &mut [i32]) {
    const M: usize = Avx2::ROWS_INT8;
    let strip = 16 * STRIPS;
    // SAFETY: rows beyond the last are read as the last and not written; `out` has a strip for each row, the weights one for each quad.
    unsafe {
        let mut rows = [block.rows.as_ptr(); M];
        for m in 0..M {
            rows[m] = rows[m].add(m.min(block.count - 1) * block.stride);
        }
        let ones = _mm256_set1_epi16(1);
        for part in (0..strip).step_by(16) {
            let out = out.as_mut_ptr().add(part);
            let mut sums = [[_mm256_setzero_si256(); 2]; M];
            if block.add {
                for m in 0..M {
                    if m == block.count {
                        break;
                    }
                    for r in 0..2 {
                        sums[m][r] = _mm256_loadu_si256(out.add(m * strip + 8 * r).cast());
                    }
                }
            }
            let mut weights = block.weights.as_ptr().add(4 * part);
            for k in (0..block.depth).step_by(4) {
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
                weights = weights.wrapping_add(4 * strip);
            }
            for m in 0..M {
                if m == block.count {
                    break;
                }
                for r in 0..2 {
                    _mm256_storeu_si256(out.add(m * strip + 8 * r).cast(), sums[m][r]);
                }
            }
        }
    }
}

/// The proof that the processor has AVX2 and dot products of four bytes in its registers (AVX-VNNI: laptops from 2021 on).
#[derive(Debug, Clone, Copy)]
pub(crate) struct AvxVnni(Avx2);

impl AvxVnni {
    /// Rows of a block of bytes.
    pub(crate) const ROWS: usize = 6;

    pub(crate) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avxvnni").then(Avx2::detect).flatten().map(AvxVnni)
    }

    /// All other kernels.
    pub(crate) fn floats(self) -> Avx2 {
        self.0
    }

    /// As `scalar::block_int8`.
    pub(crate) fn block_int8(self, block: &ByteBlock<'_>, out: &mut [i32]) {
        // SAFETY: `self` proves the features; `Kernels::block_int8` has checked the lengths.
        unsafe { block_int8_dot(block, out) }
    }
}

/// # Safety
/// The processor has AVX-VNNI; lengths are as `Kernels::block_int8` asserts, for strips of 16.
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn block_int8_dot(block: &ByteBlock<'_>, out: &mut [i32]) {
    const M: usize = AvxVnni::ROWS;
    // SAFETY: rows beyond the last are read as the last and not written; `out` has 16 sums for each row, the weights 64 for each quad.
    unsafe {
        let mut rows = [block.rows.as_ptr(); M];
        for m in 0..M {
            rows[m] = rows[m].add(m.min(block.count - 1) * block.stride);
        }
        let mut sums = [[_mm256_setzero_si256(); 2]; M];
        if block.add {
            for m in 0..M {
                if m == block.count {
                    break;
                }
                for r in 0..2 {
                    sums[m][r] = _mm256_loadu_si256(out.as_ptr().add(16 * m + 8 * r).cast());
                }
            }
        }
        let mut weights = block.weights.as_ptr();
        for k in (0..block.depth).step_by(4) {
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
            if m == block.count {
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

// SAFETY (all functions): callers run under AVX2 and FMA, and give pointers as `Lanes` asks.
impl Lanes for __m256 {
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
