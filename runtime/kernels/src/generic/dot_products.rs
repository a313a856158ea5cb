//! Products of whole rows, and rows of unit norm.

use super::Vector;
use crate::reference;

/// As `Kernels::dot_products`, in tiles of `M` patches and `N` words, whose sums stay in registers.
///
/// # Safety
/// The processor has the instruction set of `V`; `patches` and `bank` hold whole rows of `dim > 0` values, and `out` has one value for
/// each pair of them.
#[inline(always)]
pub(crate) unsafe fn dot_products<V: Vector, const M: usize, const N: usize>(patches: &[f32], bank: &[f32], dim: usize, out: &mut [f32]) {
    let (count, words) = (patches.len() / dim, bank.len() / dim);
    let whole = count - count % M;
    let mut part = |patch: usize| (patches[patch * dim..].as_ptr(), out[patch * words..].as_mut_ptr());
    for patch in (0..whole).step_by(M) {
        let (a, out) = part(patch);
        // SAFETY: `M` patches are left from here on, and `out` has their results.
        unsafe { dot_rows::<V, M, N>(a, bank, dim, out) }
    }
    for patch in whole..count {
        let (a, out) = part(patch);
        // SAFETY: one patch is left from here on, and `out` has its results.
        unsafe { dot_rows::<V, 1, N>(a, bank, dim, out) }
    }
}

/// # Safety
/// `a` holds `M` rows of `dim` values; `out` has a value for each of them and each row of `bank`.
#[inline(always)]
unsafe fn dot_rows<V: Vector, const M: usize, const N: usize>(a: *const f32, bank: &[f32], dim: usize, out: *mut f32) {
    let words = bank.len() / dim;
    let whole = words - words % N;
    for word in (0..whole).step_by(N) {
        // SAFETY: `N` rows of `bank` are left from here on.
        unsafe { dot_tile::<V, M, N>(a, bank.as_ptr().add(word * dim), dim, out.add(word), words) }
    }
    for word in whole..words {
        // SAFETY: one row of `bank` is left from here on.
        unsafe { dot_tile::<V, M, 1>(a, bank.as_ptr().add(word * dim), dim, out.add(word), words) }
    }
}

/// # Safety
/// `a` holds `M` rows and `b` `N` rows of `dim` values; `out` has `N` values in each of `M` rows that lie `out_ld` apart.
#[inline(always)]
unsafe fn dot_tile<V: Vector, const M: usize, const N: usize>(a: *const f32, b: *const f32, dim: usize, out: *mut f32, out_ld: usize) {
    // SAFETY: offsets stay below `dim` in each row, and in `out` below `N` in each of `M` rows.
    unsafe {
        let mut sums = [[V::splat(0.0); N]; M];
        let mut at = 0;
        while at < dim {
            let left = dim - at;
            let load = |from: *const f32| if left >= V::LANES { V::load(from) } else { V::load_first(from, left) };
            let mut columns = [V::splat(0.0); N];
            for (n, column) in columns.iter_mut().enumerate() {
                *column = load(b.add(n * dim + at));
            }
            for (m, sums) in sums.iter_mut().enumerate() {
                let row = load(a.add(m * dim + at));
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = sum.fma(row, column);
                }
            }
            at += V::LANES;
        }
        for (m, sums) in sums.iter().enumerate() {
            for (n, sum) in sums.iter().enumerate() {
                *out.add(m * out_ld + n) = sum.sum();
            }
        }
    }
}

/// As `Kernels::normalize_rows`.
///
/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn normalize_rows<V: Vector>(rows: &mut [f32], dim: usize) -> Option<usize> {
    // Outside of these bounds single squares may have overflowed or vanished: f64 decides.
    const SAFE: std::ops::Range<f32> = 1e-20..1e30;
    let mut first_bad = None;
    for (index, row) in rows.chunks_exact_mut(dim).enumerate() {
        // SAFETY: as this function's own.
        let squares = unsafe { sum_of_squares::<V>(row) };
        if SAFE.contains(&squares) {
            let scale = 1.0 / squares.sqrt();
            row.iter_mut().for_each(|value| *value *= scale);
        } else if !reference::normalize_row(row) {
            first_bad = first_bad.or(Some(index));
        }
    }
    first_bad
}

/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
unsafe fn sum_of_squares<V: Vector>(row: &[f32]) -> f32 {
    // SAFETY: each load stays inside its chunk of `row`.
    unsafe {
        let mut sums = [V::splat(0.0); 4];
        let mut blocks = row.chunks_exact(4 * V::LANES);
        for block in &mut blocks {
            for (i, sum) in sums.iter_mut().enumerate() {
                let v = V::load(block.as_ptr().add(i * V::LANES));
                *sum = sum.fma(v, v);
            }
        }
        for rest in blocks.remainder().chunks(V::LANES) {
            let v = if rest.len() == V::LANES { V::load(rest.as_ptr()) } else { V::load_first(rest.as_ptr(), rest.len()) };
            sums[0] = sums[0].fma(v, v);
        }
        sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum()
    }
}
