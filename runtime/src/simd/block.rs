//! Blocks of a matrix product, the inner loops of the encoders' layers: some rows times a strip of columns, summed in registers.
//!
//! Rows are read where they lie. Columns lie side by side in strips as wide as the set's registers allow ([`Kernels::strip`]), so that
//! weights are read in order; [`Kernels::depth`] keeps the part of a strip that is in use in the first cache while all rows pass it.

// Plain loops over registers: adaptors that a build does not inline would pass registers through memory.
#![allow(clippy::needless_range_loop)]

use super::lanes::{Lanes, exp};
use super::quantised::Range;
use super::transformer::{Activation, activate};
use super::{Isa, Kernels, scalar};
#[cfg(target_arch = "x86_64")]
use super::{amx, avx512};

/// Rows times a strip of columns: `out[m, n] (+)= Σ_k rows[m, k] · weights[k, n]`.
pub(super) struct Block<'a> {
    pub(super) rows: &'a [f32],
    /// From one row to the next, in `rows`.
    pub(super) stride: usize,
    /// How many rows, at most [`Kernels::block_rows`].
    pub(super) count: usize,
    /// How many numbers of a row.
    pub(super) depth: usize,
    pub(super) weights: &'a [f32],
    /// From one `k` to the next, in `weights`.
    pub(super) pitch: usize,
    /// A multiple of the lanes, at most [`Kernels::strip`].
    pub(super) columns: usize,
    /// Whether the sums are added to what `out` holds.
    pub(super) add: bool,
}

impl Block<'_> {
    /// What the kernels rely on.
    fn check(&self, lanes: usize, rows: usize, strip: usize, out: &[f32], out_pitch: usize) {
        assert!(
            (1..=rows).contains(&self.count) && self.columns.is_multiple_of(lanes) && (lanes..=strip).contains(&self.columns),
            "block: expected at most {rows} rows and {strip} columns, found {} and {}",
            self.count,
            self.columns
        );
        let last = self.count - 1;
        assert!(
            self.rows.len() >= last * self.stride + self.depth
                && (self.depth == 0 || self.weights.len() >= (self.depth - 1) * self.pitch + self.columns)
                && out.len() >= last * out_pitch + self.columns,
            "block: lengths differ"
        );
    }
}

/// Rows of bytes times a strip: `out[m, n] (+)= Σ_k rows[m, k] · weights[k / 4, n, k % 4]`, exactly.
pub(super) struct ByteBlock<'a> {
    pub(super) rows: &'a [u8],
    /// From one row to the next, in `rows`.
    pub(super) stride: usize,
    /// How many rows, at most [`Kernels::block_rows_int8`].
    pub(super) count: usize,
    /// How many bytes of a row, a multiple of [`QUADS`].
    pub(super) depth: usize,
    pub(super) weights: &'a [i8], // [depth / 4, strip, 4]
    /// Whether the sums are added to what `out` holds.
    pub(super) add: bool,
}

/// Bytes that a step of the kernels on bytes takes from a row.
pub(super) const QUADS: usize = 16;

/// What follows a product on its way to the output.
pub(super) struct Finish<'a> {
    pub(super) bias: &'a [f32], // [strip]
    pub(super) activation: Activation,
    pub(super) residual: Option<&'a [f32]>, // as the output
    /// Numbers in a row of the output.
    pub(super) outputs: usize,
    /// First output column of the strip.
    pub(super) column: usize,
    /// Columns of the strip that the output has.
    pub(super) columns: usize,
}

/// What brings integer sums back to numbers: `(sum - zero · column sum) · row scale · column scale`.
pub(super) struct Scales<'a> {
    pub(super) columns: &'a [f32], // [strip]
    pub(super) sums: &'a [i32],    // [strip]
    pub(super) rows: &'a [f32],    // [rows]
    pub(super) zeros: &'a [i32],   // [rows]
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

/// Weights that are needed next, brought nearer while the present ones are worked on: a large layer's come from memory, once a pass.
pub(super) struct Ahead<'a, T> {
    left: &'a [T],
    /// Numbers for each block of rows.
    step: usize,
}

impl<'a, T> Ahead<'a, T> {
    /// `weights` begin with the `used` numbers that `blocks` blocks of rows are about to be multiplied with; as many follow them.
    pub(super) fn new(weights: &'a [T], used: usize, blocks: usize) -> Self {
        let left = &weights[used..][..used.min(weights.len() - used)];
        Self { left, step: left.len().div_ceil(blocks.max(1)) }
    }

    /// Fetches a block's share.
    pub(super) fn fetch(&mut self) {
        const LINE: usize = 64;
        let (now, left) = self.left.split_at(self.step.min(self.left.len()));
        self.left = left;
        for line in now.chunks(LINE / size_of::<T>()) {
            // SAFETY: a hint reads nothing, wherever it points.
            #[cfg(target_arch = "x86_64")]
            unsafe {
                std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(line.as_ptr().cast());
            }
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            unsafe {
                std::arch::asm!("prfm pldl2keep, [{}]", in(reg) line.as_ptr(), options(nostack, readonly, preserves_flags));
            }
            #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
            let _ = line;
        }
    }
}

/// Calls the same function of the set that was chosen.
macro_rules! dispatch {
    ($self:ident, $function:ident($($argument:expr),*)) => {
        match $self.isa {
            Isa::Scalar => scalar::$function($($argument),*),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(set) => set.$function($($argument),*),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(set) => set.$function($($argument),*),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni(set) => set.floats().$function($($argument),*),
            #[cfg(target_arch = "x86_64")]
            Isa::Amx(set) => set.floats().$function($($argument),*),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(set) => set.$function($($argument),*),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot(set) => set.floats().$function($($argument),*),
        }
    };
}
pub(super) use dispatch;

impl Kernels {
    /// Columns of a strip.
    pub(super) fn strip(&self) -> usize {
        match self.isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) | Isa::Avx512Vnni(_) | Isa::Amx(_) => 64,
            _ => 16,
        }
    }

    /// Columns that lie in one register; strips of floats may be any multiple of it.
    pub(super) fn lanes(&self) -> usize {
        match self.isa {
            Isa::Scalar => 1,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => 8,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) | Isa::Avx512Vnni(_) | Isa::Amx(_) => 16,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) | Isa::NeonDot(_) => 4,
        }
    }

    /// Numbers of a row that a product sums at a time.
    pub(super) fn depth(&self) -> usize {
        8192 / self.strip().max(32)
    }

    /// Bytes of a row, of what goes in and of sums, that a product goes back to before it goes on to the next weights.
    pub fn row_bytes(&self) -> usize {
        4 * (self.depth() + self.strip())
    }

    /// Rows that a block of floats has; parts of a multiple of it waste nothing.
    pub fn block_rows(&self) -> usize {
        match self.isa {
            Isa::Scalar => 1,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) | Isa::Avx512(_) | Isa::Avx512Vnni(_) | Isa::Amx(_) => 6,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) | Isa::NeonDot(_) => 6,
        }
    }

    /// As [`block_rows`](Self::block_rows), of bytes.
    pub fn block_rows_int8(&self) -> usize {
        match self.isa {
            Isa::Scalar => 1,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) | Isa::Avx512(_) => 5,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni(_) => avx512::Avx512Vnni::ROWS,
            #[cfg(target_arch = "x86_64")]
            Isa::Amx(_) => amx::Amx::ROWS,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => 2,
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot(_) => 4,
        }
    }

    /// `out` has `columns` numbers in each of the block's rows, `out_pitch` apart.
    pub(super) fn block_f32(&self, block: &Block<'_>, out: &mut [f32], out_pitch: usize) {
        block.check(self.lanes(), self.block_rows(), self.strip(), out, out_pitch);
        dispatch!(self, block_f32(block, out, out_pitch));
    }

    /// `out` has a strip for each of the block's rows.
    pub(super) fn block_int8(&self, block: &ByteBlock<'_>, out: &mut [i32]) {
        let (rows, strip) = (self.block_rows_int8(), self.strip());
        assert!(
            (1..=rows).contains(&block.count)
                && block.depth.is_multiple_of(QUADS)
                && block.rows.len() >= (block.count - 1) * block.stride + block.depth
                && block.weights.len() == block.depth * strip
                && out.len() == block.count * strip,
            "block_int8: lengths differ"
        );
        match self.isa {
            Isa::Scalar => scalar::block_int8(block, out),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(set) => set.block_int8::<1>(block, out),
            // Without a dot product of bytes the narrower set's products are the best ones.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(set) => set.narrow().block_int8::<4>(block, out),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni(set) => set.block_int8(block, out),
            #[cfg(target_arch = "x86_64")]
            Isa::Amx(set) => set.block_int8(block, out),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(set) => set.block_int8(block, out),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot(set) => set.block_int8(block, out),
        }
    }

    /// `out = activation(products + bias) + residual` for some rows; `products` is `[rows, strip]`.
    pub(super) fn finish(&self, products: &[f32], finish: &Finish<'_>, out: &mut [f32]) {
        finish.check(products.len(), self.strip(), out);
        dispatch!(self, finish(products, finish, out));
    }

    /// As [`finish`](Self::finish), of sums `[rows, strip]` that are brought back to numbers.
    pub(super) fn finish_int8(&self, sums: &[i32], scales: &Scales<'_>, finish: &Finish<'_>, out: &mut [f32]) {
        let strip = self.strip();
        finish.check(sums.len(), strip, out);
        scales.check(sums.len(), strip);
        dispatch!(self, finish_int8(sums, scales, finish, out));
    }

    /// Brings sums, `[rows, strip]`, back to numbers in rows that lie `pitch` apart.
    pub(super) fn dequantise(&self, sums: &[i32], scales: &Scales<'_>, out: &mut [f32], pitch: usize) {
        let (strip, rows) = (self.strip(), scales.rows.len());
        scales.check(sums.len(), strip);
        assert!(pitch >= strip && (rows == 0 || out.len() >= (rows - 1) * pitch + strip), "dequantise: lengths differ");
        dispatch!(self, dequantise(sums, scales, out, pitch));
    }

    /// Brings a row to bytes of at most `levels`.
    pub(super) fn quantise_row(&self, row: &[f32], levels: u8, out: &mut [u8]) -> Range {
        assert_eq!(row.len(), out.len(), "quantise_row: lengths differ");
        dispatch!(self, quantise_row(row, levels, out))
    }

    /// The largest size of a row's numbers; NaN if any is NaN or infinite.
    pub(super) fn size_of_row(&self, row: &[f32]) -> f32 {
        dispatch!(self, size_of_row(row))
    }

    /// Each number times its factor, rounded; the products are within ±127.
    pub(super) fn signed_row(&self, row: &[f32], factors: &[f32], out: &mut [i8]) {
        assert!(row.len() == factors.len() && row.len() == out.len(), "signed_row: lengths differ");
        dispatch!(self, signed_row(row, factors, out));
    }

    /// `exp(value - largest)` of each value as a byte of at most `levels`; returns the sum of the bytes. `row` is used up.
    pub(super) fn exp_row_int8(&self, row: &mut [f32], levels: u8, out: &mut [u8]) -> f32 {
        assert_eq!(row.len(), out.len(), "exp_row_int8: lengths differ");
        dispatch!(self, exp_row_int8(row, levels, out))
    }

    /// Each value becomes `exp(value - largest)`; returns their sum.
    pub(super) fn exp_row(&self, row: &mut [f32]) -> f32 {
        dispatch!(self, exp_row(row))
    }
}

/// As `scalar::block_f32`, of at most `M` rows and exactly `R` registers.
///
/// # Safety
/// The processor has the instruction set of `V`; `Block::check` passed.
#[inline(always)]
pub(super) unsafe fn block_f32<V: Lanes, const M: usize, const R: usize>(block: &Block<'_>, out: &mut [f32], out_pitch: usize) {
    // SAFETY: rows beyond the last are read as the last and not written; all other offsets are those that `Block::check` knows.
    unsafe {
        let mut rows = [block.rows.as_ptr(); M];
        for m in 0..M {
            rows[m] = rows[m].add(m.min(block.count - 1) * block.stride);
        }
        let mut sums = [[V::splat(0.0); R]; M];
        if block.add {
            for m in 0..M {
                if m == block.count {
                    break;
                }
                for r in 0..R {
                    sums[m][r] = V::load(out.as_ptr().add(m * out_pitch + r * V::LANES));
                }
            }
        }
        let mut weights = block.weights.as_ptr();
        for k in 0..block.depth {
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
            weights = weights.wrapping_add(block.pitch);
        }
        for m in 0..M {
            if m == block.count {
                break;
            }
            for r in 0..R {
                sums[m][r].store(out.as_mut_ptr().add(m * out_pitch + r * V::LANES));
            }
        }
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
pub(super) unsafe fn finish<V: Lanes>(products: &[f32], finish: &Finish<'_>, out: &mut [f32]) {
    let strip = finish.bias.len();
    // SAFETY: as this function's own.
    unsafe { finish_rows::<V, _>(products.len() / strip, &Rows(products, strip), finish, out) }
}

/// As `scalar::finish_int8`.
///
/// # Safety
/// As [`finish`]; `Scales::check` passed too.
#[inline(always)]
pub(super) unsafe fn finish_int8<V: Lanes>(sums: &[i32], scales: &Scales<'_>, finish: &Finish<'_>, out: &mut [f32]) {
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
pub(super) unsafe fn dequantise<V: Lanes>(sums: &[i32], scales: &Scales<'_>, out: &mut [f32], pitch: usize) {
    let strip = scales.columns.len();
    let products = Sums(sums, scales);
    for (row, out) in out.chunks_mut(pitch).take(scales.rows.len()).enumerate() {
        for at in (0..strip).step_by(V::LANES) {
            // SAFETY: `at + LANES` is at most `strip`, the length of all four.
            unsafe { products.load::<V>(row, at).store(out.as_mut_ptr().add(at)) }
        }
    }
}

/// As `scalar::quantise_row`.
///
/// # Safety
/// The processor has the instruction set of `V`; `out` is as long as `row`.
#[inline(always)]
pub(super) unsafe fn quantise_row<V: Lanes>(row: &[f32], levels: u8, out: &mut [u8]) -> Range {
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
pub(super) unsafe fn size_of_row<V: Lanes>(row: &[f32]) -> f32 {
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
pub(super) unsafe fn signed_row<V: Lanes>(row: &[f32], factors: &[f32], out: &mut [i8]) {
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
pub(super) unsafe fn exp_row<V: Lanes>(row: &mut [f32]) -> f32 {
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
pub(super) unsafe fn exp_row_int8<V: Lanes>(row: &mut [f32], levels: u8, out: &mut [u8]) -> f32 {
    let whole = row.len() - row.len() % V::LANES;
    // SAFETY: `each_exp` gives places where `LANES` values stand.
    unsafe {
        let (mut totals, top, to) = (V::splat(0.0), V::splat(f32::from(levels)), out.as_mut_ptr());
        each_exp::<V>(row, |at, e| {
            let steps = e.mul(top).round();
            totals = totals.add(steps);
            steps.store_bytes(to.add(at));
        });
        let mut total = totals.sum();
        for (byte, e) in out[whole..].iter_mut().zip(&row[whole..]) {
            let steps = (e * f32::from(levels)).round_ties_even();
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
