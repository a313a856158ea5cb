//! What is done to one row of numbers at a time: to bytes, and the exponentials of a softmax.

use super::Vector;
use super::exp::exp;
use crate::operands::RowRange;
use crate::reference;

/// As `reference::quantize_row`.
///
/// # Safety
/// The processor has the instruction set of `V`; `out` is as long as `row`.
#[inline(always)]
pub(crate) unsafe fn quantize_row<V: Vector>(row: &[f32], levels: u8, out: &mut [u8]) -> RowRange {
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
            return RowRange::NAN;
        }
        let lowest = rest.iter().fold(-zero.sub(low).largest(), |a: f32, v| a.min(*v));
        let highest = rest.iter().fold(high.largest(), |a: f32, v| a.max(*v));
        let Some((range, inverse)) = RowRange::new(lowest, highest, levels) else {
            out.fill(0);
            return RowRange::ZERO;
        };
        let (inverses, zeros, top) = (V::splat(inverse), V::splat(range.zero as f32), V::splat(f32::from(levels)));
        for at in (0..whole).step_by(V::LANES) {
            let steps = V::load(row.as_ptr().add(at)).mul(inverses).round().add(zeros);
            steps.max(zero).min(top).store_bytes(out.as_mut_ptr().add(at));
        }
        reference::quantize(rest, inverse, range.zero, levels, &mut out[whole..]);
        range
    }
}

/// As `reference::largest_magnitude`.
///
/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn largest_magnitude<V: Vector>(row: &[f32]) -> f32 {
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
        let rest = reference::largest_magnitude(&row[whole..]);
        if odd.sum() != 0.0 || rest.is_nan() { f32::NAN } else { rest.max(largest.largest()) }
    }
}

/// As `reference::quantize_row_signed`.
///
/// # Safety
/// The processor has the instruction set of `V`; all three are of one length.
#[inline(always)]
pub(crate) unsafe fn quantize_row_signed<V: Vector>(row: &[f32], factors: &[f32], out: &mut [i8]) {
    let whole = row.len() - row.len() % V::LANES;
    // SAFETY: every offset is below `whole`, a multiple of the lanes that is at most the row's length.
    unsafe {
        let (low, high) = (V::splat(1.0), V::splat(255.0));
        for at in (0..whole).step_by(V::LANES) {
            let steps = V::load(row.as_ptr().add(at)).mul(V::load(factors.as_ptr().add(at))).round();
            steps.add(V::splat(128.0)).max(low).min(high).store_bytes(out.as_mut_ptr().add(at).cast());
        }
        out[..whole].iter_mut().for_each(|byte| *byte ^= i8::MIN);
        reference::quantize_row_signed(&row[whole..], &factors[whole..], &mut out[whole..]);
    }
}

/// As `reference::exp_row`.
///
/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn exp_row<V: Vector>(row: &mut [f32]) -> f32 {
    // SAFETY: `each_exp` gives places where `LANES` values lie.
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

/// As `reference::exp_row_int8`.
///
/// # Safety
/// The processor has the instruction set of `V`; `out` is as long as `row`.
#[inline(always)]
pub(crate) unsafe fn exp_row_int8<V: Vector>(row: &mut [f32], levels: u8, out: &mut [u8]) -> f32 {
    let whole = row.len() - row.len() % V::LANES;
    // SAFETY: `each_exp` gives places where `LANES` values lie, multiples of `LANES`, which divides the length of `DITHER`.
    unsafe {
        let (mut totals, top, to) = (V::splat(0.0), V::splat(f32::from(levels)), out.as_mut_ptr());
        each_exp::<V>(row, |at, e| {
            let steps = V::load(reference::DITHER.as_ptr().add(at % reference::DITHER.len())).fma(e, top).round();
            totals = totals.add(steps);
            steps.store_bytes(to.add(at));
        });
        let mut total = totals.sum();
        let dither = reference::DITHER.iter().cycle().skip(whole % reference::DITHER.len());
        for ((byte, e), dither) in out[whole..].iter_mut().zip(&row[whole..]).zip(dither) {
            let steps = (e * f32::from(levels) + dither).round_ties_even();
            total += steps;
            *byte = steps as u8;
        }
        total
    }
}

/// Gives `exp(value - largest)` of whole registers to `take`, with their place; what is left at the end is replaced in place.
///
/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
unsafe fn each_exp<V: Vector>(row: &mut [f32], mut take: impl FnMut(usize, V)) {
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
