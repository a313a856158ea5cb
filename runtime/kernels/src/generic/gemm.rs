//! The microkernel of matrix products, the inner loop of the encoders' layers: some rows times a panel of columns, summed in registers.

// Plain loops over registers: adaptors that a build does not inline would pass registers through memory.
#![allow(clippy::needless_range_loop)]

use super::Vector;
use crate::operands::TileF32;

/// As `reference::gemm_f32`, of at most `M` rows and exactly `R` registers.
///
/// # Safety
/// The processor has the instruction set of `V`; `TileF32::check` passed.
#[inline(always)]
pub(crate) unsafe fn gemm<V: Vector, const M: usize, const R: usize>(tile: &TileF32<'_>, out: &mut [f32], out_ld: usize) {
    // SAFETY: rows beyond the last are read as the last and not written; all other offsets are those that `TileF32::check` knows.
    unsafe {
        let mut rows = [tile.rows.as_ptr(); M];
        for m in 0..M {
            rows[m] = rows[m].add(m.min(tile.count - 1) * tile.rows_ld);
        }
        let mut sums = [[V::splat(0.0); R]; M];
        if tile.add {
            for m in 0..M {
                if m == tile.count {
                    break;
                }
                for r in 0..R {
                    sums[m][r] = V::load(out.as_ptr().add(m * out_ld + r * V::LANES));
                }
            }
        }
        let mut weights = tile.weights.as_ptr();
        for k in 0..tile.depth {
            let mut columns = [V::splat(0.0); R];
            for r in 0..R {
                columns[r] = V::load(weights.add(r * V::LANES));
            }
            for m in 0..M {
                let value = V::splat(*rows[m].add(k));
                for r in 0..R {
                    sums[m][r] = sums[m][r].fma(value, columns[r]);
                }
            }
            weights = weights.wrapping_add(tile.weights_ld);
        }
        for m in 0..M {
            if m == tile.count {
                break;
            }
            for r in 0..R {
                sums[m][r].store(out.as_mut_ptr().add(m * out_ld + r * V::LANES));
            }
        }
    }
}
