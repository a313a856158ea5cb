//! The vector register that the other modules are written over.

/// A register of f32 lanes.
///
/// # Safety
/// All functions may only run where the processor has the implementation's instruction set.
pub(crate) trait Vector: Copy {
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
