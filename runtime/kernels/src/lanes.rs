//! Kernels written once over the lanes of a vector register; each instruction set compiles them under its own features.
//!
//! Every function here is inlined into the instruction set's entry point, which is what lets the compiler use that set.

use super::TagBest;
use super::packed::PANEL;
use super::scalar::{ERF, ERF_P};
use super::scan::{Pass, Products};

/// A register of f32 lanes.
///
/// # Safety
/// All functions may only run where the processor has the implementation's instruction set.
pub(crate) trait Lanes: Copy {
    /// How many values a register holds.
    const LANES: usize;

    /// All lanes equal to `value`.
    unsafe fn splat(value: f32) -> Self;

    /// `LANES` values from `at`, at any alignment.
    unsafe fn load(at: *const f32) -> Self;

    /// The first `count < LANES` values from `at`, zero in the other lanes; nothing behind them is read.
    unsafe fn load_first(at: *const f32, count: usize) -> Self;

    /// Writes all lanes to `at`, at any alignment.
    unsafe fn store(self, at: *mut f32);

    /// Lane by lane.
    unsafe fn add(self, other: Self) -> Self;

    /// Lane by lane.
    unsafe fn sub(self, other: Self) -> Self;

    /// Lane by lane.
    unsafe fn mul(self, other: Self) -> Self;

    /// Lane by lane; of numbers, not NaN.
    unsafe fn max(self, other: Self) -> Self;

    /// Lane by lane; of numbers, not NaN.
    unsafe fn min(self, other: Self) -> Self;

    /// Writes whole numbers from 0 to 255 to `at`, a byte each.
    unsafe fn store_bytes(self, at: *mut u8);

    /// `sums - zero · columns`, computed in wrapping 32-bit integers, of `LANES` values from `sums` and `columns` each.
    unsafe fn from_integers(sums: *const i32, zero: i32, columns: *const i32) -> Self;

    /// `yes` in the lanes where `self > other`, else `no`.
    unsafe fn if_greater(self, other: Self, yes: Self, no: Self) -> Self;

    /// To the nearest whole number.
    unsafe fn round(self) -> Self;

    /// `2^self` for whole numbers from -126 to 127.
    unsafe fn power_of_two(self) -> Self;

    /// `self + a · b`, rounded once.
    unsafe fn fma(self, a: Self, b: Self) -> Self;

    /// Lane by lane.
    unsafe fn div(self, other: Self) -> Self;

    /// The largest over the lanes; of numbers, not NaN.
    unsafe fn largest(self) -> f32;

    /// The sum over the lanes.
    unsafe fn sum(self) -> f32;
}

/// As `Kernels::dot_products`, in tiles of `M` patches and `N` tags, whose sums stay in registers.
///
/// # Safety
/// The processor has the instruction set of `V`; `patches` and `bank` hold whole rows of `dim > 0` values, and `out` has one value for
/// each pair of them.
#[inline(always)]
pub(crate) unsafe fn dot_products<V: Lanes, const M: usize, const N: usize>(patches: &[f32], bank: &[f32], dim: usize, out: &mut [f32]) {
    let (count, tags) = (patches.len() / dim, bank.len() / dim);
    let whole = count - count % M;
    let mut strip = |patch: usize| (patches[patch * dim..].as_ptr(), out[patch * tags..].as_mut_ptr());
    for patch in (0..whole).step_by(M) {
        let (a, out) = strip(patch);
        // SAFETY: `M` patches are left from here on, and `out` has their results.
        unsafe { dot_strip::<V, M, N>(a, bank, dim, out) }
    }
    for patch in whole..count {
        let (a, out) = strip(patch);
        // SAFETY: one patch is left from here on, and `out` has its results.
        unsafe { dot_strip::<V, 1, N>(a, bank, dim, out) }
    }
}

/// # Safety
/// `a` holds `M` rows of `dim` values; `out` has a value for each of them and each row of `bank`.
#[inline(always)]
unsafe fn dot_strip<V: Lanes, const M: usize, const N: usize>(a: *const f32, bank: &[f32], dim: usize, out: *mut f32) {
    let tags = bank.len() / dim;
    let whole = tags - tags % N;
    for tag in (0..whole).step_by(N) {
        // SAFETY: `N` rows of `bank` are left from here on.
        unsafe { dot_tile::<V, M, N>(a, bank.as_ptr().add(tag * dim), dim, out.add(tag), tags) }
    }
    for tag in whole..tags {
        // SAFETY: one row of `bank` is left from here on.
        unsafe { dot_tile::<V, M, 1>(a, bank.as_ptr().add(tag * dim), dim, out.add(tag), tags) }
    }
}

/// # Safety
/// `a` holds `M` rows and `b` `N` rows of `dim` values; `out` has `N` values in each of `M` rows that lie `stride` apart.
#[inline(always)]
unsafe fn dot_tile<V: Lanes, const M: usize, const N: usize>(a: *const f32, b: *const f32, dim: usize, out: *mut f32, stride: usize) {
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
                *out.add(m * stride + n) = sum.sum();
            }
        }
    }
}

/// As `Kernels::normalise_rows`.
///
/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn normalise_rows<V: Lanes>(rows: &mut [f32], dim: usize) -> Option<usize> {
    // Outside of these bounds single squares may have overflowed or vanished: f64 decides.
    const SAFE: std::ops::Range<f32> = 1e-20..1e30;
    let mut first_bad = None;
    for (index, row) in rows.chunks_exact_mut(dim).enumerate() {
        // SAFETY: as this function's own.
        let squares = unsafe { sum_of_squares::<V>(row) };
        if SAFE.contains(&squares) {
            let scale = 1.0 / squares.sqrt();
            row.iter_mut().for_each(|value| *value *= scale);
        } else if !super::scalar::normalise_row(row) {
            first_bad = first_bad.or(Some(index));
        }
    }
    first_bad
}

/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
unsafe fn sum_of_squares<V: Lanes>(row: &[f32]) -> f32 {
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

/// `out[p, t] = Σ_d rows[p, d] · panel[d, t]` with patches in blocks of `M`; a panel is `R` registers wide.
///
/// # Safety
/// The processor has the instruction set of `V`; `R · LANES = PANEL`; `panel` is `[dim, PANEL]`, `rows` `[blocks, dim, M]` and `out`
/// `[blocks · M, PANEL]`.
#[inline(always)]
pub(crate) unsafe fn panel_f32<V: Lanes, const M: usize, const R: usize>(rows: &[f32], dim: usize, panel: &[f32], out: &mut [f32]) {
    for (block, out) in rows.chunks_exact(dim * M).zip(out.chunks_exact_mut(PANEL * M)) {
        // SAFETY: `block` has `dim · M` values, `panel` `dim · PANEL`, `out` `M · PANEL`.
        unsafe {
            let mut sums = [[V::splat(0.0); R]; M];
            let (mut row, mut tags) = (block.as_ptr(), panel.as_ptr());
            for _ in 0..dim {
                let mut columns = [V::splat(0.0); R];
                for (r, column) in columns.iter_mut().enumerate() {
                    *column = V::load(tags.add(r * V::LANES));
                }
                for (m, sums) in sums.iter_mut().enumerate() {
                    let value = V::splat(*row.add(m));
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        *sum = sum.fma(value, column);
                    }
                }
                row = row.add(M);
                tags = tags.add(PANEL);
            }
            for (m, sums) in sums.iter().enumerate() {
                for (r, sum) in sums.iter().enumerate() {
                    sum.store(out.as_mut_ptr().add(m * PANEL + r * V::LANES));
                }
            }
        }
    }
}

/// `exp(x)` for `x ≤ 0`, within 2⁻²² of it; below -87 the value at -87.
///
/// `2^n · e^r` with `|r| ≤ ln 2 / 2` and e^r as its Taylor polynomial of degree 6.
///
/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn exp<V: Lanes>(x: V) -> V {
    // SAFETY: as this function's own.
    unsafe {
        let x = x.max(V::splat(-87.0));
        let n = x.mul(V::splat(std::f32::consts::LOG2_E)).round();
        let r = x.fma(n, V::splat(-0.693_359_4)).fma(n, V::splat(2.121_944_4e-4));
        let mut e = V::splat(1.0 / 720.0);
        for factor in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            e = V::splat(factor).fma(e, r);
        }
        e.mul(n.power_of_two())
    }
}

/// As `scalar::fold`, for a whole panel that is `R` registers wide.
///
/// # Safety
/// The processor has the instruction set of `V`; `R · LANES = PANEL`; the pass has its values for every patch of `products`.
#[inline(always)]
pub(crate) unsafe fn fold<V: Lanes, const R: usize>(products: &Products<'_>, pass: &mut Pass<'_>, tags: &mut [TagBest; PANEL]) {
    let count = products.values.len() / PANEL;
    match pass {
        Pass::Best { best, panel, sum, .. } => {
            assert!(best.len() == count * PANEL && panel.len() == count * PANEL && sum.len() == count * PANEL);
        }
        Pass::Mass { log_sums } => assert!(log_sums.len() == count),
    }
    for r in 0..R {
        let lanes = r * V::LANES;
        let tags = &mut tags[lanes..][..V::LANES];
        // SAFETY: every offset is below `count · PANEL` (or `count`), which all slices of the pass have by the assertion above.
        unsafe {
            let at = products.values.as_ptr().add(lanes);
            match pass {
                Pass::Best { best, panel, sum, sums: true } => {
                    let state = [best.as_mut_ptr().add(lanes), panel.as_mut_ptr().add(lanes), sum.as_mut_ptr().add(lanes)];
                    fold_best::<V, true>(at, count, products, state, tags);
                }
                Pass::Best { best, panel, sum, sums: false } => {
                    let state = [best.as_mut_ptr().add(lanes), panel.as_mut_ptr().add(lanes), sum.as_mut_ptr().add(lanes)];
                    fold_best::<V, false>(at, count, products, state, tags);
                }
                Pass::Mass { log_sums } => fold_mass::<V>(at, products.scale, log_sums, tags),
            }
        }
    }
}

/// # Safety
/// `at` and the three of `state` (best, panel, sum) have `LANES` values in each of `count` rows that lie `PANEL` apart.
#[inline(always)]
unsafe fn fold_best<V: Lanes, const SUMS: bool>(
    at: *const f32,
    count: usize,
    products: &Products<'_>,
    [best, panel, sum]: [*mut f32; 3],
    tags: &mut [TagBest],
) {
    // SAFETY: as this function's own.
    unsafe {
        let (scale, of) = (V::splat(products.scale), V::splat(products.panel as f32));
        let mut column = Column::<V>::load(tags);
        for patch in 0..count {
            let row = patch * PANEL;
            let logit = V::load(at.add(row)).mul(scale);
            let old = V::load(best.add(row));
            if SUMS {
                let (up, total) = (logit.sub(old), V::load(sum.add(row)));
                let factor = exp(V::splat(0.0).sub(up.max(V::splat(0.0).sub(up))));
                let total = logit.if_greater(old, V::splat(1.0).fma(total, factor), total.add(factor));
                total.store(sum.add(row));
            }
            logit.max(old).store(best.add(row));
            logit.if_greater(old, of, V::load(panel.add(row))).store(panel.add(row));
            column.see(logit, patch);
        }
        column.store(tags);
    }
}

/// # Safety
/// `at` has `LANES` values in each of `log_sums.len()` rows that lie `PANEL` apart.
#[inline(always)]
unsafe fn fold_mass<V: Lanes>(at: *const f32, scale: f32, log_sums: &[f32], tags: &mut [TagBest]) {
    // SAFETY: as this function's own.
    unsafe {
        let scale = V::splat(scale);
        let mut column = Column::<V>::load(tags);
        for (patch, log_sum) in log_sums.iter().enumerate() {
            let logit = V::load(at.add(patch * PANEL)).mul(scale).sub(V::splat(*log_sum));
            column.mass = column.mass.add(exp(logit));
            column.see(logit, patch);
        }
        column.store(tags);
    }
}

/// The best patches of `LANES` tags, in registers.
struct Column<V> {
    logit: V,
    patch: V, // whole numbers
    mass: V,
}

impl<V: Lanes> Column<V> {
    /// # Safety
    /// The processor has the instruction set of `V`; `tags` are `LANES` at most 16.
    #[inline(always)]
    unsafe fn load(tags: &[TagBest]) -> Self {
        let mut values = [[0.0; PANEL]; 3];
        for (lane, tag) in tags.iter().enumerate() {
            values[0][lane] = tag.logit;
            values[1][lane] = tag.patch as f32;
            values[2][lane] = tag.mass;
        }
        // SAFETY: `PANEL` values are at least `LANES`.
        unsafe { Column { logit: V::load(values[0].as_ptr()), patch: V::load(values[1].as_ptr()), mass: V::load(values[2].as_ptr()) } }
    }

    /// # Safety
    /// As [`load`](Self::load).
    #[inline(always)]
    unsafe fn see(&mut self, logit: V, patch: usize) {
        // SAFETY: as this function's own.
        unsafe {
            self.patch = logit.if_greater(self.logit, V::splat(patch as f32), self.patch);
            self.logit = logit.max(self.logit);
        }
    }

    /// # Safety
    /// As [`load`](Self::load).
    #[inline(always)]
    unsafe fn store(self, tags: &mut [TagBest]) {
        let mut values = [[0.0; PANEL]; 3];
        // SAFETY: `PANEL` values are at least `LANES`.
        unsafe {
            self.logit.store(values[0].as_mut_ptr());
            self.patch.store(values[1].as_mut_ptr());
            self.mass.store(values[2].as_mut_ptr());
        }
        for (lane, tag) in tags.iter_mut().enumerate() {
            *tag = TagBest { logit: values[0][lane], patch: values[1][lane] as u32, mass: values[2][lane] };
        }
    }
}

/// As `scalar::erf`.
///
/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn erf<V: Lanes>(x: V) -> V {
    // SAFETY: as this function's own.
    unsafe {
        let (zero, one) = (V::splat(0.0), V::splat(1.0));
        let t = one.div(one.fma(x.max(zero.sub(x)), V::splat(ERF_P)));
        let mut polynomial = zero;
        for factor in ERF {
            polynomial = polynomial.add(V::splat(factor)).mul(t);
        }
        let size = one.sub(polynomial.mul(exp(zero.sub(x.mul(x)))));
        zero.if_greater(x, zero.sub(size), size)
    }
}

/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn sigmoid<V: Lanes>(x: V) -> V {
    // SAFETY: as this function's own.
    unsafe {
        let (zero, one) = (V::splat(0.0), V::splat(1.0));
        let e = exp(zero.sub(x.max(zero.sub(x))));
        zero.if_greater(x, e, one).div(one.add(e))
    }
}
