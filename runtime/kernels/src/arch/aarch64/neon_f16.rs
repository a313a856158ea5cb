//! Products of 16-bit floats, eight in a register (`fp16`, Armv8.2). The standard library's own functions for them are not stable yet.

#![allow(clippy::needless_range_loop)] // as in tile.rs

use std::arch::aarch64::*;
use std::arch::asm;

use crate::isa::F16Kernels;
use crate::operands::{CHUNK_F16, TileF16};
use crate::reference;

/// The proof that the processor computes with 16-bit floats.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fp16(());

impl Fp16 {
    /// Rows of a tile: with two registers of columns, 16 of 32 hold sums.
    const ROWS: usize = 8;

    pub(super) fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("fp16").then_some(Fp16(()))
    }
}

impl F16Kernels for Fp16 {
    fn tile_rows(&self) -> usize {
        Self::ROWS
    }

    unsafe fn gemm(&self, tile: &TileF16<'_>, out: &mut [f32]) {
        // SAFETY: `self` proves the features; lengths are as the trait asks.
        unsafe { gemm_f16(tile, out) }
    }

    unsafe fn round_row(&self, row: &[f32], factor: f32, out: &mut [u16]) {
        // SAFETY: `self` proves the features; lengths are as the trait asks.
        unsafe { round_row_f16(row, factor, out) }
    }
}

/// `sum + b · a[LANE]`, each rounded once.
///
/// # Safety
/// The processor has NEON with `fp16`.
#[inline]
#[target_feature(enable = "neon,fp16")]
unsafe fn fma<const LANE: i32>(mut sum: uint16x8_t, b: uint16x8_t, a: uint16x8_t) -> uint16x8_t {
    // SAFETY: one instruction of the enabled set, on registers alone; the lane's register is one of those that it can name.
    unsafe {
        asm!(
            "fmla {sum:v}.8h, {b:v}.8h, {a:v}.h[{lane}]",
            sum = inout(vreg) sum,
            b = in(vreg) b,
            a = in(vreg_low16) a,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// The lower and the upper four as 32-bit floats.
///
/// # Safety
/// The processor has NEON.
#[inline]
#[target_feature(enable = "neon,fp16")]
unsafe fn widen(halves: uint16x8_t) -> [float32x4_t; 2] {
    let (low, high): (float32x4_t, float32x4_t);
    // SAFETY: two instructions of the enabled set, on registers alone.
    unsafe {
        asm!("fcvtl {0:v}.4s, {1:v}.4h", out(vreg) low, in(vreg) halves, options(pure, nomem, nostack, preserves_flags));
        asm!("fcvtl2 {0:v}.4s, {1:v}.8h", out(vreg) high, in(vreg) halves, options(pure, nomem, nostack, preserves_flags));
    }
    [low, high]
}

/// # Safety
/// The processor has NEON with `fp16`; lengths are as `TileF16::check` asserts, for panels of 16.
#[target_feature(enable = "neon,fp16")]
unsafe fn gemm_f16(tile: &TileF16<'_>, out: &mut [f32]) {
    const M: usize = Fp16::ROWS;
    // SAFETY: rows beyond the last are read as the last and not written; `out` has 16 sums for each row, the weights 16 numbers for
    // each of a row's.
    unsafe {
        let mut rows = [tile.rows.as_ptr(); M];
        for m in 0..M {
            rows[m] = rows[m].add(m.min(tile.count - 1) * tile.rows_ld);
        }
        let mut weights = tile.weights.as_ptr();
        for from in (0..tile.depth).step_by(CHUNK_F16) {
            let mut sums = [[vdupq_n_u16(0); 2]; M];
            for k in (from..tile.depth.min(from + CHUNK_F16)).step_by(8) {
                let mut values = [vdupq_n_u16(0); M];
                for m in 0..M {
                    values[m] = vld1q_u16(rows[m].add(k));
                }
                // Written out, so that the sums stay in registers.
                macro_rules! lanes {
                    ($($lane:literal)*) => {$(
                        let columns = [vld1q_u16(weights.add(16 * $lane)), vld1q_u16(weights.add(16 * $lane + 8))];
                        for m in 0..M {
                            sums[m][0] = fma::<$lane>(sums[m][0], columns[0], values[m]);
                            sums[m][1] = fma::<$lane>(sums[m][1], columns[1], values[m]);
                        }
                    )*};
                }
                lanes!(0 1 2 3 4 5 6 7);
                weights = weights.add(128);
            }
            let add = tile.add || from > 0;
            for m in 0..M {
                if m == tile.count {
                    break;
                }
                let scale = vdupq_n_f32(*tile.scales.as_ptr().add(m));
                for r in 0..2 {
                    for (i, sum) in widen(sums[m][r]).into_iter().enumerate() {
                        let at = out.as_mut_ptr().add(16 * m + 8 * r + 4 * i);
                        let before = if add { vld1q_f32(at) } else { vdupq_n_f32(0.0) };
                        vst1q_f32(at, vfmaq_f32(before, sum, scale));
                    }
                }
            }
        }
    }
}

/// # Safety
/// The processor has NEON; `out` is as long as `row`.
#[target_feature(enable = "neon,fp16")]
unsafe fn round_row_f16(row: &[f32], factor: f32, out: &mut [u16]) {
    let whole = row.len() - row.len() % 8;
    // SAFETY: every offset is below `whole`, a multiple of eight that is at most the length of both.
    unsafe {
        let factors = vdupq_n_f32(factor);
        for at in (0..whole).step_by(8) {
            let [low, high] = [0, 4].map(|i| vmulq_f32(vld1q_f32(row.as_ptr().add(at + i)), factors));
            let halves: uint16x8_t;
            asm!(
                "fcvtn {halves:v}.4h, {low:v}.4s",
                "fcvtn2 {halves:v}.8h, {high:v}.4s",
                halves = out(vreg) halves,
                low = in(vreg) low,
                high = in(vreg) high,
                options(pure, nomem, nostack, preserves_flags),
            );
            vst1q_u16(out.as_mut_ptr().add(at), halves);
        }
    }
    reference::round_row_f16(&row[whole..], factor, &mut out[whole..]);
}
