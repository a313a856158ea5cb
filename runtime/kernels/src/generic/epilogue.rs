//! What follows a product on its way to the output.

use super::Vector;
use super::exp::activate;
use crate::operands::{Activation, Epilogue, Scales};

/// Where products come from: floats `[rows, panel]`, or sums with their scales.
trait ProductSource {
    /// A row's products from column `at` on. No closure, which a build might leave a call of its own.
    ///
    /// # Safety
    /// The processor has the instruction set of `V`; the row is there, and `LANES` columns from `at` on.
    unsafe fn load<V: Vector>(&self, row: usize, at: usize) -> V;
}

/// Rows of a panel.
struct FloatProducts<'a>(&'a [f32], usize);

impl ProductSource for FloatProducts<'_> {
    #[inline(always)]
    unsafe fn load<V: Vector>(&self, row: usize, at: usize) -> V {
        // SAFETY: as the trait's.
        unsafe { V::load(self.0.as_ptr().add(row * self.1 + at)) }
    }
}

/// Rows of sums, `[rows, panel]`.
struct Int8Sums<'a>(&'a [i32], &'a Scales<'a>);

impl ProductSource for Int8Sums<'_> {
    #[inline(always)]
    unsafe fn load<V: Vector>(&self, row: usize, at: usize) -> V {
        let Self(sums, scales) = self;
        // SAFETY: as the trait's; the lengths are those that `Scales::check` knows.
        unsafe {
            let exact = V::from_integers(
                sums.as_ptr().add(row * scales.sums.len() + at),
                *scales.zeros.as_ptr().add(row),
                scales.sums.as_ptr().add(at),
            );
            exact.mul(V::splat(*scales.rows.as_ptr().add(row)).mul(V::load(scales.columns.as_ptr().add(at))))
        }
    }
}

/// As `reference::epilogue`.
///
/// # Safety
/// The processor has the instruction set of `V`; `Epilogue::check` passed, for panels of a multiple of the lanes.
#[inline(always)]
pub(crate) unsafe fn epilogue<V: Vector>(products: &[f32], epilogue: &Epilogue<'_>, out: &mut [f32]) {
    let panel = epilogue.bias.len();
    // SAFETY: as this function's own.
    unsafe { epilogue_rows::<V, _>(products.len() / panel, &FloatProducts(products, panel), epilogue, out) }
}

/// As `reference::epilogue_int8`.
///
/// # Safety
/// As [`epilogue`]; `Scales::check` passed too.
#[inline(always)]
pub(crate) unsafe fn epilogue_int8<V: Vector>(sums: &[i32], scales: &Scales<'_>, epilogue: &Epilogue<'_>, out: &mut [f32]) {
    // SAFETY: as this function's own.
    unsafe { epilogue_rows::<V, _>(scales.rows.len(), &Int8Sums(sums, scales), epilogue, out) }
}

/// # Safety
/// As [`epilogue`], for `rows` rows of products.
#[inline(always)]
unsafe fn epilogue_rows<V: Vector, P: ProductSource>(rows: usize, products: &P, epilogue: &Epilogue<'_>, out: &mut [f32]) {
    // SAFETY: as this function's own.
    unsafe {
        match epilogue.activation {
            Activation::None => epilogue_with::<V, P, 0>(rows, products, epilogue, out),
            Activation::Gelu => epilogue_with::<V, P, 1>(rows, products, epilogue, out),
            Activation::GeluTanh => epilogue_with::<V, P, 2>(rows, products, epilogue, out),
            Activation::QuickGelu => epilogue_with::<V, P, 3>(rows, products, epilogue, out),
        }
    }
}

/// # Safety
/// As [`epilogue_rows`].
#[inline(always)]
unsafe fn epilogue_with<V: Vector, P: ProductSource, const ACTIVATION: usize>(
    rows: usize,
    products: &P,
    epilogue: &Epilogue<'_>,
    out: &mut [f32],
) {
    let Epilogue { bias, residual, outputs, column, columns, .. } = *epilogue;
    let activation = [Activation::None, Activation::Gelu, Activation::GeluTanh, Activation::QuickGelu][ACTIVATION];
    for row in 0..rows {
        let first = row * outputs + column;
        for at in (0..columns).step_by(V::LANES) {
            // SAFETY: `at + LANES` is at most the panel, and at most `columns` where whole registers are stored and added, which each
            // row of `out` and `residual` has; `last` has room for the longest register.
            unsafe {
                let x = activate(products.load::<V>(row, at).add(V::load(bias.as_ptr().add(at))), activation);
                if at + V::LANES > columns {
                    let mut last = [0.0; 16];
                    x.store(last.as_mut_ptr());
                    for (at, x) in (first + at..first + columns).zip(last) {
                        out[at] = x + residual.map_or(0.0, |residual| residual[at]);
                    }
                } else if let Some(residual) = residual {
                    x.add(V::load(residual.as_ptr().add(first + at))).store(out.as_mut_ptr().add(first + at));
                } else {
                    x.store(out.as_mut_ptr().add(first + at));
                }
            }
        }
    }
}

/// As `reference::dequantize`.
///
/// # Safety
/// The processor has the instruction set of `V`; `Scales::check` passed, and a panel is a multiple of the lanes.
#[inline(always)]
pub(crate) unsafe fn dequantize<V: Vector>(sums: &[i32], scales: &Scales<'_>, out: &mut [f32], out_ld: usize) {
    let panel = scales.columns.len();
    let products = Int8Sums(sums, scales);
    for (row, out) in out.chunks_mut(out_ld).take(scales.rows.len()).enumerate() {
        for at in (0..panel).step_by(V::LANES) {
            // SAFETY: `at + LANES` is at most `panel`, the length of all four.
            unsafe { products.load::<V>(row, at).store(out.as_mut_ptr().add(at)) }
        }
    }
}
