//! NEON: 4 lanes, 32 registers. Part of every AArch64 processor.

#![allow(clippy::needless_range_loop)] // as in generic/gemm.rs

use std::arch::aarch64::*;

use crate::generic::{Vector, float_kernels};
use crate::isa::{Int8Kernels, Int8Scoring, Int8Sizes};
use crate::operands::{InterleavedRows, PANEL, TileInt8};

/// The proof that the processor has NEON.
#[derive(Debug, Clone, Copy)]
pub(super) struct Neon(());

impl Neon {
    /// Rows of a tile of bytes.
    const ROWS: usize = 2;
    /// Patches that lie side by side for products of bytes.
    const PATCHES: usize = 2;

    pub(super) fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }
}

float_kernels! {
    impl Neon, float32x4_t;
    dot_products: 4 x 6;
    gemm: 6 x [1, 2, 3, ..4];
    score_panel: 4
}

/// Rows of signed bytes within ±127.
impl Int8Kernels for Neon {
    fn sizes(&self) -> Int8Sizes {
        Int8Sizes { tile_rows: Self::ROWS, part_rows: Self::ROWS, group: 4, levels: 254, shift: 127 }
    }

    unsafe fn gemm(&self, tile: &TileInt8<'_>, out: &mut [i32]) {
        // SAFETY: `self` proves NEON; lengths are as the trait asks.
        unsafe { gemm_int8(tile, out) }
    }
}

impl Int8Scoring for Neon {
    fn patch_group(&self) -> usize {
        Self::PATCHES
    }

    unsafe fn score_panel(&self, patches: &InterleavedRows<'_>, panel: &InterleavedRows<'_>, out: &mut [f32]) {
        // SAFETY: `self` proves NEON; lengths are as the trait asks.
        unsafe { score_panel_int8(patches, panel, out) }
    }
}

/// Products of bytes are added in pairs in 16 bits, which ±127 on both sides never overflow, and then pairwise into 32 bits.
///
/// # Safety
/// The processor has NEON; lengths are as `InterleavedRows::check` asserts.
#[inline]
unsafe fn score_panel_int8(patches: &InterleavedRows<'_>, panel: &InterleavedRows<'_>, out: &mut [f32]) {
    const M: usize = Neon::PATCHES;
    let groups = patches.values.chunks_exact(patches.wide * M).zip(patches.scales.chunks_exact(M));
    for ((group, scales), out) in groups.zip(out.chunks_exact_mut(PANEL * M)) {
        // SAFETY: per step `group` has `4 · M` bytes and `panel` `4 · PANEL`; `out` has `M · PANEL` values, `panel.scales` `PANEL`.
        unsafe {
            // Two partial sums for each word lie side by side.
            let mut sums = [[[vdupq_n_s32(0); 2]; PANEL / 4]; M];
            let (mut row, mut words) = (group.as_ptr(), panel.values.as_ptr());
            let quad = |at: *const i8| vreinterpretq_s8_s32(vdupq_n_s32(at.cast::<i32>().read_unaligned()));
            let steps = patches.wide / 4;
            for _ in 0..steps / 2 {
                let quads: [[int8x16_t; 2]; M] = std::array::from_fn(|m| [quad(row.add(4 * m)), quad(row.add(4 * (M + m)))]);
                for v in 0..PANEL / 4 {
                    let (first, second) = (vld1q_s8(words.add(16 * v)), vld1q_s8(words.add(4 * PANEL + 16 * v)));
                    for (sums, [a, b]) in sums.iter_mut().zip(quads) {
                        let low = vmlal_s8(vmull_s8(vget_low_s8(first), vget_low_s8(a)), vget_low_s8(second), vget_low_s8(b));
                        let high = vmlal_high_s8(vmull_high_s8(first, a), second, b);
                        sums[v] = [vpadalq_s16(sums[v][0], low), vpadalq_s16(sums[v][1], high)];
                    }
                }
                row = row.add(8 * M);
                words = words.add(8 * PANEL);
            }
            if steps % 2 == 1 {
                for v in 0..PANEL / 4 {
                    let column = vld1q_s8(words.add(16 * v));
                    for (m, sums) in sums.iter_mut().enumerate() {
                        let a = quad(row.add(4 * m));
                        let (low, high) = (vmull_s8(vget_low_s8(column), vget_low_s8(a)), vmull_high_s8(column, a));
                        sums[v] = [vpadalq_s16(sums[v][0], low), vpadalq_s16(sums[v][1], high)];
                    }
                }
            }
            for (m, sums) in sums.iter().enumerate() {
                for (v, [low, high]) in sums.iter().enumerate() {
                    let scale = vmulq_f32(vdupq_n_f32(scales[m]), vld1q_f32(panel.scales.as_ptr().add(4 * v)));
                    let sum = vcvtq_f32_s32(vpaddq_s32(*low, *high));
                    vst1q_f32(out.as_mut_ptr().add(m * PANEL + 4 * v), vmulq_f32(sum, scale));
                }
            }
        }
    }
}

/// Products of bytes are added in pairs in 16 bits and then pairwise into 32 bits.
///
/// # Safety
/// The processor has NEON; lengths are as `TileInt8::check` asserts, for panels of 16.
#[inline]
unsafe fn gemm_int8(tile: &TileInt8<'_>, out: &mut [i32]) {
    const M: usize = Neon::ROWS;
    // SAFETY: rows beyond the last are read as the last and not written; `out` has 16 sums for each row, the weights 64 for each quad.
    unsafe {
        let mut rows = [tile.rows.as_ptr(); M];
        for m in 0..M {
            rows[m] = rows[m].add(m.min(tile.count - 1) * tile.rows_ld);
        }
        // Two partial sums for each output lie side by side.
        let mut sums = [[[vdupq_n_s32(0); 2]; 4]; M];
        let mut weights = tile.weights.as_ptr();
        for k in (0..tile.depth).step_by(8) {
            let mut quads = [[vdupq_n_s8(0); 2]; M];
            for m in 0..M {
                for i in 0..2 {
                    let quad = rows[m].add(k + 4 * i).cast::<i32>().read_unaligned();
                    quads[m][i] = vreinterpretq_s8_s32(vdupq_n_s32(quad));
                }
            }
            for v in 0..4 {
                let (first, second) = (vld1q_s8(weights.add(16 * v)), vld1q_s8(weights.add(64 + 16 * v)));
                for m in 0..M {
                    let [a, b] = quads[m];
                    let low = vmlal_s8(vmull_s8(vget_low_s8(first), vget_low_s8(a)), vget_low_s8(second), vget_low_s8(b));
                    let high = vmlal_high_s8(vmull_high_s8(first, a), second, b);
                    sums[m][v] = [vpadalq_s16(sums[m][v][0], low), vpadalq_s16(sums[m][v][1], high)];
                }
            }
            weights = weights.add(128);
        }
        for m in 0..M {
            if m == tile.count {
                break;
            }
            for v in 0..4 {
                let at = out.as_mut_ptr().add(16 * m + 4 * v);
                let sum = vpaddq_s32(sums[m][v][0], sums[m][v][1]);
                vst1q_s32(at, if tile.add { vaddq_s32(vld1q_s32(at), sum) } else { sum });
            }
        }
    }
}

// SAFETY (all functions): callers run under NEON, and give pointers as `Vector` asks.
impl Vector for float32x4_t {
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

    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        // SAFETY: see the implementation's head.
        unsafe { vst1q_f32(at, self) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { vsubq_f32(self, other) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { vmulq_f32(self, other) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { vmaxq_f32(self, other) }
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { vminq_f32(self, other) }
    }

    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        // SAFETY: see the implementation's head.
        unsafe { vmaxvq_f32(self) }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, at: *mut u8) {
        // SAFETY: see the implementation's head; 4 bytes are written.
        unsafe {
            let halves = vmovn_u32(vcvtq_u32_f32(self));
            let bytes = vreinterpret_u32_u8(vmovn_u16(vcombine_u16(halves, halves)));
            at.cast::<u32>().write_unaligned(vget_lane_u32::<0>(bytes));
        }
    }

    #[inline(always)]
    unsafe fn from_integers(sums: *const i32, zero: i32, columns: *const i32) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { vcvtq_f32_s32(vmlsq_s32(vld1q_s32(sums), vdupq_n_s32(zero), vld1q_s32(columns))) }
    }

    #[inline(always)]
    unsafe fn if_greater(self, other: Self, yes: Self, no: Self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { vbslq_f32(vcgtq_f32(self, other), yes, no) }
    }

    #[inline(always)]
    unsafe fn round(self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { vrndnq_f32(self) }
    }

    #[inline(always)]
    unsafe fn power_of_two(self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtq_s32_f32(self), vdupq_n_s32(127)))) }
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: see the implementation's head.
        unsafe { vdivq_f32(self, other) }
    }
}
