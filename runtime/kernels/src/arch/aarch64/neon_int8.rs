//! Products of bytes beyond plain NEON: dot products of four bytes, and of eight for two rows and two columns at a time.
//!
//! The standard library's own functions for them are not stable yet.

#![allow(clippy::needless_range_loop)] // as in tile.rs

use std::arch::aarch64::*;
use std::arch::asm;

use super::neon::Neon;
use crate::isa::{Int8Kernels, Int8Scoring, Int8Sizes};
use crate::operands::{InterleavedRows, PANEL, TileInt8};

/// The proof that the processor has NEON with dot products of four bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct NeonDot(());

impl NeonDot {
    /// Rows of a tile.
    const ROWS: usize = 4;
    /// Patches that lie side by side.
    const PATCHES: usize = 4;

    pub(super) fn detect(_: Neon) -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("dotprod").then_some(Self(()))
    }
}

/// Rows of signed bytes.
impl Int8Kernels for NeonDot {
    fn sizes(&self) -> Int8Sizes {
        Int8Sizes { tile_rows: Self::ROWS, part_rows: Self::ROWS, group: 4, levels: 255, shift: 128 }
    }

    unsafe fn gemm(&self, tile: &TileInt8<'_>, out: &mut [i32]) {
        // SAFETY: `self` proves the features; lengths are as the trait asks.
        unsafe { gemm_int8_dot(tile, out) }
    }
}

impl Int8Scoring for NeonDot {
    fn patch_group(&self) -> usize {
        Self::PATCHES
    }

    unsafe fn score_panel(&self, patches: &InterleavedRows<'_>, panel: &InterleavedRows<'_>, out: &mut [f32]) {
        // SAFETY: `self` proves the features; lengths are as the trait asks.
        unsafe { score_panel_int8_dot(patches, panel, out) }
    }
}

/// `sum + b · a[LANE]`, four bytes into each lane of 32 bits. The standard library's own is not stable yet.
///
/// # Safety
/// The processor has NEON with dot products.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn dot<const LANE: i32>(mut sum: int32x4_t, b: int8x16_t, a: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction of the enabled set, on registers alone.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {b:v}.16b, {a:v}.4b[{lane}]",
            sum = inout(vreg) sum,
            b = in(vreg) b,
            a = in(vreg) a,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// # Safety
/// The processor has NEON with dot products; lengths are as `InterleavedRows::check` asserts.
#[target_feature(enable = "neon,dotprod")]
unsafe fn score_panel_int8_dot(patches: &InterleavedRows<'_>, panel: &InterleavedRows<'_>, out: &mut [f32]) {
    const M: usize = NeonDot::PATCHES;
    let groups = patches.values.chunks_exact(patches.wide * M).zip(patches.scales.chunks_exact(M));
    for ((group, scales), out) in groups.zip(out.chunks_exact_mut(PANEL * M)) {
        // SAFETY: per step `group` has `4 · M` bytes and `panel` `4 · PANEL`; `out` has `M · PANEL` values, `panel.scales` `PANEL`.
        unsafe {
            let mut sums = [[vdupq_n_s32(0); PANEL / 4]; M];
            let (mut row, mut words) = (group.as_ptr(), panel.values.as_ptr());
            for _ in 0..patches.wide / 4 {
                let quads = vld1q_s8(row);
                for v in 0..PANEL / 4 {
                    let column = vld1q_s8(words.add(16 * v));
                    sums[0][v] = dot::<0>(sums[0][v], column, quads);
                    sums[1][v] = dot::<1>(sums[1][v], column, quads);
                    sums[2][v] = dot::<2>(sums[2][v], column, quads);
                    sums[3][v] = dot::<3>(sums[3][v], column, quads);
                }
                row = row.add(4 * M);
                words = words.add(4 * PANEL);
            }
            for (m, sums) in sums.iter().enumerate() {
                for (v, sum) in sums.iter().enumerate() {
                    let scale = vmulq_f32(vdupq_n_f32(scales[m]), vld1q_f32(panel.scales.as_ptr().add(4 * v)));
                    vst1q_f32(out.as_mut_ptr().add(m * PANEL + 4 * v), vmulq_f32(vcvtq_f32_s32(*sum), scale));
                }
            }
        }
    }
}

/// # Safety
/// The processor has NEON with dot products; lengths are as `TileInt8::check` asserts, for panels of 16.
#[target_feature(enable = "neon,dotprod")]
unsafe fn gemm_int8_dot(tile: &TileInt8<'_>, out: &mut [i32]) {
    const M: usize = NeonDot::ROWS;
    // SAFETY: rows beyond the last are read as the last and not written; `out` has 16 sums for each row, the weights 64 for each quad.
    unsafe {
        let mut rows = [tile.rows.as_ptr().cast::<i8>(); M];
        for m in 0..M {
            rows[m] = rows[m].add(m.min(tile.count - 1) * tile.rows_ld);
        }
        let mut sums = [[vdupq_n_s32(0); 4]; M];
        let mut weights = tile.weights.as_ptr();
        for k in (0..tile.depth).step_by(16) {
            let mut quads = [vdupq_n_s8(0); M];
            for m in 0..M {
                quads[m] = vld1q_s8(rows[m].add(k));
            }
            // Written out, so that the sums stay in registers.
            macro_rules! column {
                ($v:literal) => {
                    let at = weights.add(16 * $v);
                    let columns = [vld1q_s8(at), vld1q_s8(at.add(64)), vld1q_s8(at.add(128)), vld1q_s8(at.add(192))];
                    for m in 0..M {
                        sums[m][$v] = dot::<0>(sums[m][$v], columns[0], quads[m]);
                        sums[m][$v] = dot::<1>(sums[m][$v], columns[1], quads[m]);
                        sums[m][$v] = dot::<2>(sums[m][$v], columns[2], quads[m]);
                        sums[m][$v] = dot::<3>(sums[m][$v], columns[3], quads[m]);
                    }
                };
            }
            column!(0);
            column!(1);
            column!(2);
            column!(3);
            weights = weights.add(256);
        }
        for m in 0..M {
            if m == tile.count {
                break;
            }
            for v in 0..4 {
                let at = out.as_mut_ptr().add(16 * m + 4 * v);
                vst1q_s32(at, if tile.add { vaddq_s32(vld1q_s32(at), sums[m][v]) } else { sums[m][v] });
            }
        }
    }
}

/// The proof that the processor has NEON with products of bytes as matrices (`i8mm`), and with dot products.
#[derive(Debug, Clone, Copy)]
pub(super) struct NeonI8mm(());

impl NeonI8mm {
    /// Rows of a tile.
    const ROWS: usize = 2 * PAIRS;

    pub(super) fn detect(_: NeonDot) -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("i8mm").then_some(Self(()))
    }
}

impl Int8Kernels for NeonI8mm {
    fn sizes(&self) -> Int8Sizes {
        Int8Sizes { tile_rows: Self::ROWS, part_rows: Self::ROWS, group: 8, levels: 255, shift: 0 }
    }

    unsafe fn gemm(&self, tile: &TileInt8<'_>, out: &mut [i32]) {
        // SAFETY: `self` proves the features; lengths are as the trait asks.
        unsafe { gemm_int8_matrix(tile, out) }
    }
}

/// Pairs of rows that a tile has: with eight pairs of columns, 16 of 32 registers hold sums.
const PAIRS: usize = 2;

/// `sum + a · bᵀ`, where `sum` is 2 × 2, row by row, and both sides are two rows of eight bytes, those of `a` unsigned.
///
/// # Safety
/// The processor has NEON with `i8mm`.
#[inline]
#[target_feature(enable = "neon,i8mm")]
unsafe fn matrix(mut sum: int32x4_t, a: uint64x2_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction of the enabled set, on registers alone.
    unsafe {
        asm!(
            "usmmla {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inout(vreg) sum,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// # Safety
/// The processor has NEON with `i8mm`; lengths are as `TileInt8::check` asserts, for panels of 16.
#[target_feature(enable = "neon,i8mm")]
unsafe fn gemm_int8_matrix(tile: &TileInt8<'_>, out: &mut [i32]) {
    // SAFETY: rows beyond the last are read as the last and not written; `out` has 16 sums for each row, the weights 128 for each eight
    // bytes of a row.
    unsafe {
        let mut rows = [tile.rows.as_ptr(); 2 * PAIRS];
        for m in 0..2 * PAIRS {
            rows[m] = rows[m].add(m.min(tile.count - 1) * tile.rows_ld);
        }
        let mut sums = [[vdupq_n_s32(0); 8]; PAIRS];
        let mut weights = tile.weights.as_ptr();
        for k in (0..tile.depth).step_by(16) {
            let mut halves = [[vdupq_n_u64(0); 2]; PAIRS];
            for p in 0..PAIRS {
                let (a, b) = (vld1q_u8(rows[2 * p].add(k)), vld1q_u8(rows[2 * p + 1].add(k)));
                let (a, b) = (vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b));
                halves[p] = [vtrn1q_u64(a, b), vtrn2q_u64(a, b)];
            }
            // Written out, so that the sums stay in registers.
            macro_rules! columns {
                ($($v:literal)*) => {$(
                    let (first, second) = (vld1q_s8(weights.add(16 * $v)), vld1q_s8(weights.add(128 + 16 * $v)));
                    for p in 0..PAIRS {
                        sums[p][$v] = matrix(sums[p][$v], halves[p][0], first);
                    }
                    for p in 0..PAIRS {
                        sums[p][$v] = matrix(sums[p][$v], halves[p][1], second);
                    }
                )*};
            }
            columns!(0 1 2 3 4 5 6 7);
            weights = weights.add(256);
        }
        for p in 0..PAIRS {
            for v in 0..4 {
                let [a, b] = [2 * v, 2 * v + 1].map(|v| vreinterpretq_s64_s32(sums[p][v]));
                for (m, sum) in [(2 * p, vtrn1q_s64(a, b)), (2 * p + 1, vtrn2q_s64(a, b))] {
                    if m < tile.count {
                        let (at, sum) = (out.as_mut_ptr().add(16 * m + 4 * v), vreinterpretq_s32_s64(sum));
                        vst1q_s32(at, if tile.add { vaddq_s32(vld1q_s32(at), sum) } else { sum });
                    }
                }
            }
        }
    }
}
