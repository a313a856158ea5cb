//! NEON: 4 lanes, 32 registers. Part of every AArch64 processor.

use std::arch::aarch64::*;

use super::lanes::{self, Lanes};

/// The proof that the processor has NEON.
#[derive(Debug, Clone, Copy)]
pub(super) struct Neon(());

impl Neon {
    pub(super) fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }

    pub(super) fn dot_products(self, patches: &[f32], bank: &[f32], dim: usize, out: &mut [f32]) {
        // SAFETY: `self` proves NEON; `Kernels::dot_products` has checked the lengths.
        unsafe { lanes::dot_products::<float32x4_t, 4, 6>(patches, bank, dim, out) }
    }

    pub(super) fn normalise_rows(self, rows: &mut [f32], dim: usize) -> Option<usize> {
        // SAFETY: `self` proves NEON.
        unsafe { lanes::normalise_rows::<float32x4_t>(rows, dim) }
    }
}

// SAFETY (all functions): callers run under NEON, and give pointers as `Lanes` asks.
impl Lanes for float32x4_t {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { vld1q_f32(at) }
    }

    #[inline(always)]
    unsafe fn load_first(at: *const f32, count: usize) -> Self {
        let mut values = [0.0; 4];
        // SAFETY: `at` holds `count` values, fewer than four.
        unsafe {
            std::ptr::copy_nonoverlapping(at, values.as_mut_ptr(), count);
            vld1q_f32(values.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { vaddq_f32(self, other) }
    }

    #[inline(always)]
    unsafe fn fma(self, a: Self, b: Self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { vfmaq_f32(self, a, b) }
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: see the implementation's head.
        unsafe { vaddvq_f32(self) }
    }
}
