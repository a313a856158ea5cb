//! AVX-512: 16 lanes, 32 registers.

use std::arch::x86_64::*;

use super::lanes::{self, Lanes};

/// The proof that the processor has AVX-512 F, BW, DQ and VL, and the system saves its registers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl"))
        .then_some(Avx512(()))
    }

    pub(super) fn dot_products(self, patches: &[f32], bank: &[f32], dim: usize, out: &mut [f32]) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        unsafe fn run(patches: &[f32], bank: &[f32], dim: usize, out: &mut [f32]) {
            // SAFETY: as the caller's.
            unsafe { lanes::dot_products::<__m512, 4, 6>(patches, bank, dim, out) }
        }
        // SAFETY: `self` proves the features; `Kernels::dot_products` has checked the lengths.
        unsafe { run(patches, bank, dim, out) }
    }

    pub(super) fn normalise_rows(self, rows: &mut [f32], dim: usize) -> Option<usize> {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        unsafe fn run(rows: &mut [f32], dim: usize) -> Option<usize> {
            // SAFETY: as the caller's.
            unsafe { lanes::normalise_rows::<__m512>(rows, dim) }
        }
        // SAFETY: `self` proves the features.
        unsafe { run(rows, dim) }
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
}
