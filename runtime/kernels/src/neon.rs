//! NEON: 4 lanes, 32 registers. Part of every AArch64 processor.

#![allow(clippy::needless_range_loop)] // as in block.rs

use std::arch::aarch64::*;

use super::TagBest;
use super::block::{self, Block, ByteBlock};
use super::finish::{self, Finish, Scales};
use super::lanes::{self, Lanes};
use super::packed::PANEL;
use super::quantised::Range;
use super::scan::{Int8Rows, Pass, Products};
use super::{rows, transformer};

/// The proof that the processor has NEON.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Neon(());

impl Neon {
    pub(crate) fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }

    pub(crate) fn dot_products(self, patches: &[f32], bank: &[f32], dim: usize, out: &mut [f32]) {
        // SAFETY: `self` proves NEON; `Kernels::dot_products` has checked the lengths.
        unsafe { lanes::dot_products::<float32x4_t, 4, 6>(patches, bank, dim, out) }
    }

    pub(crate) fn normalise_rows(self, rows: &mut [f32], dim: usize) -> Option<usize> {
        // SAFETY: `self` proves NEON.
        unsafe { lanes::normalise_rows::<float32x4_t>(rows, dim) }
    }

    /// As `scalar::block_f32`.
    pub(crate) fn block_f32(self, block: &Block<'_>, out: &mut [f32], out_pitch: usize) {
        // SAFETY: `self` proves NEON; `Kernels::block_f32` has checked the lengths.
        unsafe {
            match block.columns / 4 {
                1 => block::block_f32::<float32x4_t, 6, 1>(block, out, out_pitch),
                2 => block::block_f32::<float32x4_t, 6, 2>(block, out, out_pitch),
                3 => block::block_f32::<float32x4_t, 6, 3>(block, out, out_pitch),
                _ => block::block_f32::<float32x4_t, 6, 4>(block, out, out_pitch),
            }
        }
    }

    /// As `scalar::block_int8`, of rows of signed bytes within ±127.
    pub(crate) fn block_int8(self, block: &ByteBlock<'_>, out: &mut [i32]) {
        // SAFETY: `self` proves NEON; `Kernels::block_int8` has checked the lengths.
        unsafe { block_int8(block, out) }
    }

    /// As `scalar::finish`.
    pub(crate) fn finish(self, products: &[f32], finish: &Finish<'_>, out: &mut [f32]) {
        // SAFETY: `self` proves NEON; `Finish::check` has checked the lengths.
        unsafe { finish::finish::<float32x4_t>(products, finish, out) }
    }

    /// As `scalar::finish_int8`.
    pub(crate) fn finish_int8(self, sums: &[i32], scales: &Scales<'_>, finish: &Finish<'_>, out: &mut [f32]) {
        // SAFETY: `self` proves NEON; `Finish::check` and `Scales::check` have checked the lengths.
        unsafe { finish::finish_int8::<float32x4_t>(sums, scales, finish, out) }
    }

    /// As `scalar::dequantise`.
    pub(crate) fn dequantise(self, sums: &[i32], scales: &Scales<'_>, out: &mut [f32], pitch: usize) {
        // SAFETY: `self` proves NEON; `Kernels::dequantise` has checked the lengths.
        unsafe { finish::dequantise::<float32x4_t>(sums, scales, out, pitch) }
    }

    /// As `scalar::quantise_row`.
    pub(crate) fn quantise_row(self, row: &[f32], levels: u8, out: &mut [u8]) -> Range {
        // SAFETY: `self` proves NEON; `Kernels::quantise_row` has checked the lengths.
        unsafe { rows::quantise_row::<float32x4_t>(row, levels, out) }
    }

    /// As `scalar::size_of_row`.
    pub(crate) fn size_of_row(self, row: &[f32]) -> f32 {
        // SAFETY: `self` proves NEON.
        unsafe { rows::size_of_row::<float32x4_t>(row) }
    }

    /// As `scalar::signed_row`.
    pub(crate) fn signed_row(self, row: &[f32], factors: &[f32], out: &mut [i8]) {
        // SAFETY: `self` proves NEON; `Kernels::signed_row` has checked the lengths.
        unsafe { rows::signed_row::<float32x4_t>(row, factors, out) }
    }

    /// As `scalar::exp_row_int8`.
    pub(crate) fn exp_row_int8(self, row: &mut [f32], levels: u8, out: &mut [u8]) -> f32 {
        // SAFETY: `self` proves NEON; `Kernels::exp_row_int8` has checked the lengths.
        unsafe { rows::exp_row_int8::<float32x4_t>(row, levels, out) }
    }

    /// As `scalar::exp_row`.
    pub(crate) fn exp_row(self, row: &mut [f32]) -> f32 {
        // SAFETY: `self` proves NEON.
        unsafe { rows::exp_row::<float32x4_t>(row) }
    }

    /// As `scalar::layer_norm`.
    pub(crate) fn layer_norm(self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
        // SAFETY: `self` proves NEON.
        unsafe { transformer::layer_norm::<float32x4_t>(x, weight, bias, eps, out) }
    }

    /// Patches that lie side by side for products of floats.
    pub(crate) const BLOCK_F32: usize = 4;

    /// As `scalar::panel_f32`, in blocks of [`BLOCK_F32`](Self::BLOCK_F32); the caller has checked the lengths.
    pub(crate) fn panel_f32(self, rows: &[f32], dim: usize, panel: &[f32], out: &mut [f32]) {
        // SAFETY: `self` proves NEON; `Kernels::panel_f32` has checked the lengths.
        unsafe { lanes::panel_f32::<float32x4_t, { Neon::BLOCK_F32 }, 4>(rows, dim, panel, out) }
    }

    /// As `scalar::fold`.
    pub(crate) fn fold(self, products: &Products<'_>, pass: &mut Pass<'_>, tags: &mut [TagBest; PANEL]) {
        // SAFETY: `self` proves NEON.
        unsafe { lanes::fold::<float32x4_t, 4>(products, pass, tags) }
    }

    /// Patches that lie side by side for products of integers.
    pub(crate) const BLOCK_INT8: usize = 2;

    /// As `scalar::panel_int8`, in blocks of [`BLOCK_INT8`](Self::BLOCK_INT8); the caller has checked the lengths.
    pub(crate) fn panel_int8(self, patches: &Int8Rows<'_>, panel: &Int8Rows<'_>, out: &mut [f32]) {
        // SAFETY: `self` proves NEON; `Kernels::panel_int8` has checked the lengths.
        unsafe { panel_int8(patches, panel, out) }
    }
}

/// Products of bytes are added in pairs in 16 bits, which ±127 on both sides never overflow, and then pairwise into 32 bits.
///
/// # Safety
/// The processor has NEON; lengths are as `Kernels::panel_int8` asserts.
#[inline]
unsafe fn panel_int8(patches: &Int8Rows<'_>, panel: &Int8Rows<'_>, out: &mut [f32]) {
    const M: usize = Neon::BLOCK_INT8;
    let blocks = patches.values.chunks_exact(patches.wide * M).zip(patches.scales.chunks_exact(M));
    for ((block, scales), out) in blocks.zip(out.chunks_exact_mut(PANEL * M)) {
        // SAFETY: per step `block` has `4 · M` bytes and `panel` `4 · PANEL`; `out` has `M · PANEL` values, `panel.scales` `PANEL`.
        unsafe {
            // Two partial sums for each tag lie side by side.
            let mut sums = [[[vdupq_n_s32(0); 2]; PANEL / 4]; M];
            let (mut row, mut tags) = (block.as_ptr(), panel.values.as_ptr());
            let quad = |at: *const i8| vreinterpretq_s8_s32(vdupq_n_s32(at.cast::<i32>().read_unaligned()));
            let steps = patches.wide / 4;
            for _ in 0..steps / 2 {
                let quads: [[int8x16_t; 2]; M] = std::array::from_fn(|m| [quad(row.add(4 * m)), quad(row.add(4 * (M + m)))]);
                for v in 0..PANEL / 4 {
                    let (first, second) = (vld1q_s8(tags.add(16 * v)), vld1q_s8(tags.add(4 * PANEL + 16 * v)));
                    for (sums, [a, b]) in sums.iter_mut().zip(quads) {
                        let low = vmlal_s8(vmull_s8(vget_low_s8(first), vget_low_s8(a)), vget_low_s8(second), vget_low_s8(b));
                        let high = vmlal_high_s8(vmull_high_s8(first, a), second, b);
                        sums[v] = [vpadalq_s16(sums[v][0], low), vpadalq_s16(sums[v][1], high)];
                    }
                }
                row = row.add(8 * M);
                tags = tags.add(8 * PANEL);
            }
            if steps % 2 == 1 {
                for v in 0..PANEL / 4 {
                    let column = vld1q_s8(tags.add(16 * v));
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
/// The processor has NEON; lengths are as `Kernels::block_int8` asserts, for strips of 16.
#[inline]
unsafe fn block_int8(block: &ByteBlock<'_>, out: &mut [i32]) {
    const M: usize = 2;
    // SAFETY: rows beyond the last are read as the last and not written; `out` has 16 sums for each row, the weights 64 for each quad.
    unsafe {
        let mut rows = [block.rows.as_ptr(); M];
        for m in 0..M {
            rows[m] = rows[m].add(m.min(block.count - 1) * block.stride);
        }
        // Two partial sums for each output lie side by side.
        let mut sums = [[[vdupq_n_s32(0); 2]; 4]; M];
        let mut weights = block.weights.as_ptr();
        for k in (0..block.depth).step_by(8) {
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
            if m == block.count {
                break;
            }
            for v in 0..4 {
                let at = out.as_mut_ptr().add(16 * m + 4 * v);
                let sum = vpaddq_s32(sums[m][v][0], sums[m][v][1]);
                vst1q_s32(at, if block.add { vaddq_s32(vld1q_s32(at), sum) } else { sum });
            }
        }
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
