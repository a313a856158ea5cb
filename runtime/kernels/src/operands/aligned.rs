//! Bytes as the numbers that they are, and memory that begins on a cache line.

#![allow(unsafe_code)] // bytes are read as numbers

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// Numbers.
///
/// # Safety
/// The type has no padding, every pattern of bits is a value, and its alignment is at most [`LINE`].
pub(crate) unsafe trait Number: Copy {}

// SAFETY: see the trait.
unsafe impl Number for u8 {}
// SAFETY: see the trait.
unsafe impl Number for i8 {}
// SAFETY: see the trait.
unsafe impl Number for u16 {}
// SAFETY: see the trait.
unsafe impl Number for i32 {}
// SAFETY: see the trait.
unsafe impl Number for f32 {}

/// Bytes of a file as signed numbers.
pub(crate) fn signed(bytes: &[u8]) -> &[i8] {
    // SAFETY: the same memory, as long as it is borrowed; both types take a byte, whose every pattern is a value.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<i8>(), bytes.len()) }
}

/// Numbers that begin on a cache line, so that registers as wide as a line are not read from two.
#[derive(Debug)]
pub(crate) struct Aligned<T> {
    bytes: Vec<u8>,
    /// The first byte that begins a line; the numbers and no more fit behind it.
    start: usize,
    len: usize,
    of: PhantomData<T>,
}

const LINE: usize = 64;

impl<T: Number> Aligned<T> {
    pub(crate) fn zeros(len: usize) -> Self {
        // Zeros of the system's: memory that is not written yet takes none.
        let bytes = vec![0u8; len * size_of::<T>() + LINE - 1];
        let first = bytes.as_ptr() as usize;
        Self { start: first.next_multiple_of(LINE) - first, bytes, len, of: PhantomData }
    }

    /// At least `len` numbers; new ones are 0, those before keep what they hold.
    pub(crate) fn grow(&mut self, len: usize) {
        if len > self.len {
            let mut more = Self::zeros(len);
            more[..self.len].copy_from_slice(self);
            *self = more;
        }
    }
}

impl<T: Number> Clone for Aligned<T> {
    fn clone(&self) -> Self {
        let mut clone = Self::zeros(self.len);
        clone.copy_from_slice(self);
        clone
    }
}

impl<T> Default for Aligned<T> {
    fn default() -> Self {
        Self { bytes: Vec::new(), start: 0, len: 0, of: PhantomData }
    }
}

impl<T: Number> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: `len` numbers fit behind `start`, which begins a line and so is aligned for them, and any bytes are their value.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr().add(self.start).cast(), self.len) }
    }
}

impl<T: Number> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        if self.len == 0 {
            return &mut [];
        }
        // SAFETY: as above, and the numbers are borrowed as `self` is.
        unsafe { std::slice::from_raw_parts_mut(self.bytes.as_mut_ptr().add(self.start).cast(), self.len) }
    }
}

/// `values` and zeros behind them, up to a multiple of `panel`.
pub(crate) fn padded(values: &[f32], panel: usize) -> Aligned<f32> {
    let mut padded = Aligned::zeros(values.len().next_multiple_of(panel));
    padded[..values.len()].copy_from_slice(values);
    padded
}
