//! Scoring: the products of patches with a panel of words, and what a pass keeps of them.

use super::Vector;
use super::exp::exp;
use crate::operands::{PANEL, PanelProducts, Pass, WordBest};

/// `out[p, t] = Σ_d rows[p, d] · panel[d, t]` with patches in groups of `M`; a panel is `R` registers wide.
///
/// # Safety
/// The processor has the instruction set of `V`; `R · LANES = PANEL`; `panel` is `[dim, PANEL]`, `rows` `[groups, dim, M]` and `out`
/// `[groups · M, PANEL]`.
#[inline(always)]
pub(crate) unsafe fn score_panel<V: Vector, const M: usize, const R: usize>(rows: &[f32], dim: usize, panel: &[f32], out: &mut [f32]) {
    for (group, out) in rows.chunks_exact(dim * M).zip(out.chunks_exact_mut(PANEL * M)) {
        // SAFETY: `group` has `dim · M` values, `panel` `dim · PANEL`, `out` `M · PANEL`.
        unsafe {
            let mut sums = [[V::splat(0.0); R]; M];
            let (mut row, mut words) = (group.as_ptr(), panel.as_ptr());
            for _ in 0..dim {
                let mut columns = [V::splat(0.0); R];
                for (r, column) in columns.iter_mut().enumerate() {
                    *column = V::load(words.add(r * V::LANES));
                }
                for (m, sums) in sums.iter_mut().enumerate() {
                    let value = V::splat(*row.add(m));
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        *sum = sum.fma(value, column);
                    }
                }
                row = row.add(M);
                words = words.add(PANEL);
            }
            for (m, sums) in sums.iter().enumerate() {
                for (r, sum) in sums.iter().enumerate() {
                    sum.store(out.as_mut_ptr().add(m * PANEL + r * V::LANES));
                }
            }
        }
    }
}

/// As `reference::fold`, for a whole panel that is `R` registers wide.
///
/// # Safety
/// The processor has the instruction set of `V`; `R · LANES = PANEL`; the pass has its values for every patch of `products`.
#[inline(always)]
pub(crate) unsafe fn fold<V: Vector, const R: usize>(products: &PanelProducts<'_>, pass: &mut Pass<'_>, words: &mut [WordBest; PANEL]) {
    let count = products.values.len() / PANEL;
    for r in 0..R {
        let lanes = r * V::LANES;
        let words = &mut words[lanes..][..V::LANES];
        // SAFETY: every offset is below `count · PANEL` (or `count`), which all slices of the pass have.
        unsafe {
            let at = products.values.as_ptr().add(lanes);
            match pass {
                Pass::Best { best, panel, sum, sums: true } => {
                    let state = [best.as_mut_ptr().add(lanes), panel.as_mut_ptr().add(lanes), sum.as_mut_ptr().add(lanes)];
                    fold_best::<V, true>(at, count, products, state, words);
                }
                Pass::Best { best, panel, sum, sums: false } => {
                    let state = [best.as_mut_ptr().add(lanes), panel.as_mut_ptr().add(lanes), sum.as_mut_ptr().add(lanes)];
                    fold_best::<V, false>(at, count, products, state, words);
                }
                Pass::Mass { log_sums } => fold_mass::<V>(at, products.scale, log_sums, words),
            }
        }
    }
}

/// # Safety
/// `at` and the three of `state` (best, panel, sum) have `LANES` values in each of `count` rows that lie `PANEL` apart.
#[inline(always)]
unsafe fn fold_best<V: Vector, const SUMS: bool>(
    at: *const f32,
    count: usize,
    products: &PanelProducts<'_>,
    [best, panel, sum]: [*mut f32; 3],
    words: &mut [WordBest],
) {
    // SAFETY: as this function's own.
    unsafe {
        let (scale, of) = (V::splat(products.scale), V::splat(products.panel as f32));
        let mut column = Column::<V>::load(words);
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
        column.store(words);
    }
}

/// # Safety
/// `at` has `LANES` values in each of `log_sums.len()` rows that lie `PANEL` apart.
#[inline(always)]
unsafe fn fold_mass<V: Vector>(at: *const f32, scale: f32, log_sums: &[f32], words: &mut [WordBest]) {
    // SAFETY: as this function's own.
    unsafe {
        let scale = V::splat(scale);
        let mut column = Column::<V>::load(words);
        for (patch, log_sum) in log_sums.iter().enumerate() {
            let logit = V::load(at.add(patch * PANEL)).mul(scale).sub(V::splat(*log_sum));
            column.mass = column.mass.add(exp(logit));
            column.see(logit, patch);
        }
        column.store(words);
    }
}

/// The best patches of `LANES` words, in registers.
struct Column<V> {
    logit: V,
    patch: V, // whole numbers
    mass: V,
}

impl<V: Vector> Column<V> {
    /// # Safety
    /// The processor has the instruction set of `V`; `words` are `LANES` at most 16.
    #[inline(always)]
    unsafe fn load(words: &[WordBest]) -> Self {
        let mut values = [[0.0; PANEL]; 3];
        for (lane, word) in words.iter().enumerate() {
            values[0][lane] = word.logit;
            values[1][lane] = word.patch as f32;
            values[2][lane] = word.mass;
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
    unsafe fn store(self, words: &mut [WordBest]) {
        let mut values = [[0.0; PANEL]; 3];
        // SAFETY: `PANEL` values are at least `LANES`.
        unsafe {
            self.logit.store(values[0].as_mut_ptr());
            self.patch.store(values[1].as_mut_ptr());
            self.mass.store(values[2].as_mut_ptr());
        }
        for (lane, word) in words.iter_mut().enumerate() {
            *word = WordBest { logit: values[0][lane], patch: values[1][lane] as u32, mass: values[2][lane] };
        }
    }
}
