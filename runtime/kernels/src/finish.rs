//! What follows a product on its way to the output: sums of integers back to numbers, bias, activation, residual.

use super::lanes::Lanes;
use super::transformer::{Activation, activate};
use super::{Isa, Kernels, dispatch, scalar};

/// What follows a product on its way to the output.
pub(crate) struct Finish<'a> {
    pub(crate) bias: &'a [f32], // [strip]
    pub(crate) activation: Activation,
    pub(crate) residual: Option<&'a [f32]>, // as the output
    /// Numbers in a row of the output.
    pub(crate) outputs: usize,
    /// First output column of the strip.
    pub(crate) column: usize,
    /// Columns of the strip that the output has.
    pub(crate) columns: usize,
}

/// What brings integer sums back to numbers: `(sum - zero · column sum) · row scale · column scale`.
pub(crate) struct Scales<'a> {
    pub(crate) columns: &'a [f32], // [strip]
    pub(crate) sums: &'a [i32],    // [strip]
    pub(crate) rows: &'a [f32],    // [rows]
    pub(crate) zeros: &'a [i32],   // [rows]
}

impl Finish<'_> {
    /// What the kernels rely on, of `len` products in rows of a strip.
    fn check(&self, len: usize, strip: usize, out: &[f32]) {
        let Self { bias, residual, outputs, column, columns, .. } = *self;
        let fits = len.is_multiple_of(strip) && out.len() == len / strip * outputs && bias.len() == strip;
        assert!(
            fits && columns <= strip && column + columns <= outputs && residual.is_none_or(|r| r.len() == out.len()),
            "finish: lengths differ"
        );
    }
}

impl Scales<'_> {
    /// What the kernels rely on, of `len` sums in rows of a strip.
    fn check(&self, len: usize, strip: usize) {
        let rows = self.rows.len();
        let fits = len == rows * strip && self.zeros.len() == rows && self.columns.len() == strip && self.sums.len() == strip;
        assert!(fits, "scales: lengths differ");
    }
}

impl Kernels {
    /// `out = activation(products + bias) + residual` for some rows; `products` is `[rows, strip]`.
    pub(crate) fn finish(&self, products: &[f32], finish: &Finish<'_>, out: &mut [f32]) {
        finish.check(products.len(), self.strip(), out);
        dispatch!(self, finish(products, finish, out));
    }

    /// As [`finish`](Self::finish), of sums `[rows, strip]` that are brought back to numbers.
    pub(crate) fn finish_int8(&self, sums: &[i32], scales: &Scales<'_>, finish: &Finish<'_>, out: &mut [f32]) {
        let strip = self.strip();
        finish.check(sums.len(), strip, out);
        scales.check(sums.len(), strip);
        dispatch!(self, finish_int8(sums, scales, finish, out));
    }

    /// Brings sums, `[rows, strip]`, back to numbers in rows that lie `pitch` apart.
    pub(crate) fn dequantise(&self, sums: &[i32], scales: &Scales<'_>, out: &mut [f32], pitch: usize) {
        let (strip, rows) = (self.strip(), scales.rows.len());
        scales.check(sums.len(), strip);
        assert!(pitch >= strip && (rows == 0 || out.len() >= (rows - 1) * pitch + strip), "dequantise: lengths differ");
        dispatch!(self, dequantise(sums, scales, out, pitch));
    }
}

/// Where products come from: floats `[rows, strip]`, or sums with their scales.
trait Products {
    /// A row's products from column `at` on. No closure, which a build might leave a call of its own.
    ///
    /// # Safety
    /// The processor has the instruction set of `V`; the row is there, and `LANES` columns from `at` on.
    unsafe fn load<V: Lanes>(&self, row: usize, at: usize) -> V;
}

/// Rows of a strip.
struct Rows<'a>(&'a [f32], usize);

impl Products for Rows<'_> {
    #[inline(always)]
    unsafe fn load<V: Lanes>(&self, row: usize, at: usize) -> V {
        // SAFETY: as the trait's.
        unsafe { V::load(self.0.as_ptr().add(row * self.1 + at)) }
    }
}

/// Rows of sums, `[rows, strip]`.
struct Sums<'a>(&'a [i32], &'a Scales<'a>);

impl Products for Sums<'_> {
    #[inline(always)]
    unsafe fn load<V: Lanes>(&self, row: usize, at: usize) -> V {
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

/// As `scalar::finish`.
///
/// # Safety
/// The processor has the instruction set of `V`; `Finish::check` passed, for strips of a multiple of the lanes.
#[inline(always)]
pub(crate) unsafe fn finish<V: Lanes>(products: &[f32], finish: &Finish<'_>, out: &mut [f32]) {
    let strip = finish.bias.len();
    // SAFETY: as this function's own.
    unsafe { finish_rows::<V, _>(products.len() / strip, &Rows(products, strip), finish, out) }
}

/// As `scalar::finish_int8`.
///
/// # Safety
/// As [`finish`]; `Scales::check` passed too.
#[inline(always)]
pub(crate) unsafe fn finish_int8<V: Lanes>(sums: &[i32], scales: &Scales<'_>, finish: &Finish<'_>, out: &mut [f32]) {
    // SAFETY: as this function's own.
    unsafe { finish_rows::<V, _>(scales.rows.len(), &Sums(sums, scales), finish, out) }
}

/// # Safety
/// As [`finish`], for `rows` rows of products.
#[inline(always)]
unsafe fn finish_rows<V: Lanes, P: Products>(rows: usize, products: &P, finish: &Finish<'_>, out: &mut [f32]) {
    // SAFETY: as this function's own.
    unsafe {
        match finish.activation {
            Activation::None => finish_with::<V, P, 0>(rows, products, finish, out),
            Activation::Gelu => finish_with::<V, P, 1>(rows, products, finish, out),
            Activation::GeluTanh => finish_with::<V, P, 2>(rows, products, finish, out),
            Activation::QuickGelu => finish_with::<V, P, 3>(rows, products, finish, out),
        }
    }
}

/// # Safety
/// As [`finish_rows`].
#[inline(always)]
unsafe fn finish_with<V: Lanes, P: Products, const ACTIVATION: usize>(rows: usize, products: &P, finish: &Finish<'_>, out: &mut [f32]) {
    let Finish { bias, residual, outputs, column, columns, .. } = *finish;
    let activation = [Activation::None, Activation::Gelu, Activation::GeluTanh, Activation::QuickGelu][ACTIVATION];
    for row in 0..rows {
        let first = row * outputs + column;
        for at in (0..columns).step_by(V::LANES) {
            // SAFETY: `at + LANES` is at most the strip, and at most `columns` where whole registers are stored and added, which each
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

/// As `scalar::dequantise`.
///
/// # Safety
/// The processor has the instruction set of `V`; `Kernels::dequantise` has checked the lengths, and a strip is a multiple of the lanes.
#[inline(always)]
pub(crate) unsafe fn dequantise<V: Lanes>(sums: &[i32], scales: &Scales<'_>, out: &mut [f32], pitch: usize) {
    let strip = scales.columns.len();
    let products = Sums(sums, scales);
    for (row, out) in out.chunks_mut(pitch).take(scales.rows.len()).enumerate() {
        for at in (0..strip).step_by(V::LANES) {
            // SAFETY: `at + LANES` is at most `strip`, the length of all four.
            unsafe { products.load::<V>(row, at).store(out.as_mut_ptr().add(at)) }
        }
    }
}
