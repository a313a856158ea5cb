//! What is done to one row of numbers at a time: to bytes, and the exponentials of a softmax.

use super::lanes::{Lanes, exp};
use super::quantised::Range;
use super::{Isa, Kernels, dispatch, scalar};

impl Kernels {
    /// Brings a row to bytes of at most `levels`.
    pub(crate) fn quantise_row(&self, row: &[f32], levels: u8, out: &mut [u8]) -> Range {
        assert_eq!(row.len(), out.len(), "quantise_row: lengths differ");
        dispatch!(self, quantise_row(row, levels, out))
    }

    /// The largest size of a row's numbers; NaN if any is NaN or infinite.
    pub(crate) fn size_of_row(&self, row: &[f32]) -> f32 {
        dispatch!(self, size_of_row(row))
    }

    /// Each number times its factor, rounded; the products are within ±127.
    pub(crate) fn signed_row(&self, row: &[f32], factors: &[f32], out: &mut [i8]) {
        assert!(row.len() == factors.len() && row.len() == out.len(), "signed_row: lengths differ");
        dispatch!(self, signed_row(row, factors, out));
    }

    /// `exp(value - largest)` of each value as a byte of at most `levels`; returns the sum of the bytes. `row` is used up.
    pub(crate) fn exp_row_int8(&self, row: &mut [f32], levels: u8, out: &mut [u8]) -> f32 {
        assert_eq!(row.len(), out.len(), "exp_row_int8: lengths differ");
        dispatch!(self, exp_row_int8(row, levels, out))
    }

    /// Each value becomes `exp(value - largest)`; returns their sum.
    pub(crate) fn exp_row(&self, row: &mut [f32]) -> f32 {
        dispatch!(self, exp_row(row))
    }
}

/// As `scalar::quantise_row`.
///
/// # Safety
/// The processor has the instruction set of `V`; `out` is as long as `row`.
#[inline(always)]
pub(crate) unsafe fn quantise_row<V: Lanes>(row: &[f32], levels: u8, out: &mut [u8]) -> Range {
    let whole = row.len() - row.len() % V::LANES;
    // SAFETY: every offset is below `whole`, a multiple of the lanes that is at most the length of both.
    unsafe {
        let zero = V::splat(0.0);
        let (mut low, mut high, mut odd) = (zero, zero, zero);
        for at in (0..whole).step_by(V::LANES) {
            let x = V::load(row.as_ptr().add(at));
            (low, high) = (x.min(low), x.max(high));
            // NaN times nothing is NaN, infinity too; what is finite leaves zero.
            odd = odd.fma(x, zero);
        }
        let rest = &row[whole..];
        if odd.sum() != 0.0 || rest.iter().any(|v| !v.is_finite()) {
            out.fill(0);
            return Range::NAN;
        }
        let lowest = rest.iter().fold(-zero.sub(low).largest(), |a: f32, v| a.min(*v));
        let highest = rest.iter().fold(high.largest(), |a: f32, v| a.max(*v));
        let Some((range, inverse)) = Range::new(lowest, highest, levels) else {
            out.fill(0);
            return Range::ZERO;
        };
        let (inverses, zeros, top) = (V::splat(inverse), V::splat(range.zero as f32), V::splat(f32::from(levels)));
        for at in (0..whole).step_by(V::LANES) {
            let steps = V::load(row.as_ptr().add(at)).mul(inverses).round().add(zeros);
            steps.max(zero).min(top).store_bytes(out.as_mut_ptr().add(at));
        }
        scalar::quantise(rest, inverse, range.zero, levels, &mut out[whole..]);
        range
    }
}

/// As `scalar::size_of_row`.
///
/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn size_of_row<V: Lanes>(row: &[f32]) -> f32 {
    let whole = row.len() - row.len() % V::LANES;
    // SAFETY: every offset is below `whole`, a multiple of the lanes that is at most the row's length.
    unsafe {
        let zero = V::splat(0.0);
        let (mut largest, mut odd) = (zero, zero);
        for at in (0..whole).step_by(V::LANES) {
            let x = V::load(row.as_ptr().add(at));
            largest = x.max(zero.sub(x)).max(largest);
            odd = odd.fma(x, zero);
        }
        let rest = scalar::size_of_row(&row[whole..]);
        if odd.sum() != 0.0 || rest.is_nan() { f32::NAN } else { rest.max(largest.largest()) }
    }
}

/// As `scalar::signed_row`.
///
/// # Safety
/// The processor has the instruction set of `V`; all three are of one length.
#[inline(always)]
pub(crate) unsafe fn signed_row<V: Lanes>(row: &[f32], factors: &[f32], out: &mut [i8]) {
    let whole = row.len() - row.len() % V::LANES;
    // SAFETY: every offset is below `whole`, a multiple of the lanes that is at most the row's length.
    unsafe {
        let (low, high) = (V::splat(1.0), V::splat(255.0));
        for at in (0..whole).step_by(V::LANES) {
            let steps = V::load(row.as_ptr().add(at)).mul(V::load(factors.as_ptr().add(at))).round();
            steps.add(V::splat(128.0)).max(low).min(high).store_bytes(out.as_mut_ptr().add(at).cast());
        }
        out[..whole].iter_mut().for_each(|byte| *byte ^= i8::MIN);
        scalar::signed_row(&row[whole..], &factors[whole..], &mut out[whole..]);
    }
}

/// As `scalar::exp_row`.
///
/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn exp_row<V: Lanes>(row: &mut [f32]) -> f32 {
    // SAFETY: `each_exp` gives places where `LANES` values stand.
    unsafe {
        let mut totals = V::splat(0.0);
        let from = row.as_mut_ptr();
        each_exp::<V>(row, |at, e| {
            totals = totals.add(e);
            e.store(from.add(at));
        });
        totals.sum() + row[row.len() - row.len() % V::LANES..].iter().sum::<f32>()
    }
}

/// As `scalar::exp_row_int8`.
///
/// # Safety
/// The processor has the instruction set of `V`; `out` is as long as `row`.
#[inline(always)]
pub(crate) unsafe fn exp_row_int8<V: Lanes>(row: &mut [f32], levels: u8, out: &mut [u8]) -> f32 {
    let whole = row.len() - row.len() % V::LANES;
    // SAFETY: `each_exp` gives places where `LANES` values stand, multiples of `LANES`, which divides the length of `DITHER`.
    unsafe {
        let (mut totals, top, to) = (V::splat(0.0), V::splat(f32::from(levels)), out.as_mut_ptr());
        each_exp::<V>(row, |at, e| {
            let steps = V::load(scalar::DITHER.as_ptr().add(at % scalar::DITHER.len())).fma(e, top).round();
            totals = totals.add(steps);
            steps.store_bytes(to.add(at));
        });
        let mut total = totals.sum();
        let dither = scalar::DITHER.iter().cycle().skip(whole % scalar::DITHER.len());
        for ((byte, e), dither) in out[whole..].iter_mut().zip(&row[whole..]).zip(dither) {
            let steps = (e * f32::from(levels) + dither).round_ties_even();
            total += steps;
            *byte = steps as u8;
        }
        total
    }
}

/// Gives `exp(value - largest)` of whole registers to `take`, with their place; what is left at the end is replaced where it stands.
///
/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
unsafe fn each_exp<V: Lanes>(row: &mut [f32], mut take: impl FnMut(usize, V)) {
    let whole = row.len() - row.len() % V::LANES;
    // SAFETY: every offset is below `whole`, a multiple of the lanes that is at most the row's length; `rest` has as many as a register.
    unsafe {
        let mut largest = V::splat(f32::NEG_INFINITY);
        for at in (0..whole).step_by(V::LANES) {
            largest = V::load(row.as_ptr().add(at)).max(largest);
        }
        let top = row[whole..].iter().fold(largest.largest(), |a, v| a.max(*v));
        for at in (0..whole).step_by(V::LANES) {
            take(at, exp(V::load(row.as_ptr().add(at)).sub(V::splat(top))));
        }
        let (mut rest, tail) = ([f32::NEG_INFINITY; 16], &mut row[whole..]);
        rest[..tail.len()].copy_from_slice(tail);
        exp(V::load(rest.as_ptr()).sub(V::splat(top))).store(rest.as_mut_ptr());
        tail.copy_from_slice(&rest[..tail.len()]);
    }
}
