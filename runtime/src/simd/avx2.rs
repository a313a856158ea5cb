//! AVX2 with FMA: 8 lanes, 16 registers.

use std::arch::x86_64::*;

use super::lanes::{self, Lanes};

/// The proof that the processor has AVX2, FMA and F16C.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")).then_some(Avx2(()))
    }

    pub(super) fn dot_products(self, patches: &[f32], bank: &[f32], dim: usize, out: &mut [f32]) {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn run(patches: &[f32], bank: &[f32], dim: usize, out: &mut [f32]) {
            // SAFETY: as the caller's.
            unsafe { lanes::dot_products::<__m256, 4, 3>(patches, bank, dim, out) }
        }
        // SAFETY: `self` proves the features; `Kernels::dot_products` has checked the lengths.
        unsafe { run(patches, bank, dim, out) }
    }

    pub(super) fn normalise_rows(self, rows: &mut [f32], dim: usize) -> Option<usize> {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn run(rows: &mut [f32], dim: usize) -> Option<usize> {
            // SAFETY: as the caller's.
            unsafe { lanes::normalise_rows::<__m256>(rows, dim) }
        }
        // SAFETY: `self` proves the features.
        unsafe { run(rows, dim) }
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
}
