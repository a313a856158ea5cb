//! Memory that begins on a cache line.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// Numbers.
///
/// # Safety
/// The type has no padding, every pattern of bits is a value, and its alignment is at most that of a [`Line`].
pub(super) unsafe trait Number: Copy {}

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

/// Numbers that begin on a cache line, so that registers as wide as a line are not read from two.
#[derive(Debug, Clone)]
pub(super) struct Aligned<T> {
    lines: Vec<Line>,
    len: usize,
    of: PhantomData<T>,
}

#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl<T: Number> Aligned<T> {
    pub(super) fn zeros(len: usize) -> Self {
        let mut zeros = Self::default();
        zeros.grow(len);
        zeros
    }

    /// At least `len` numbers; new ones are 0, those before keep what they hold.
    pub(super) fn grow(&mut self, len: usize) {
        if len > self.len {
            self.lines.resize((len * size_of::<T>()).div_ceil(size_of::<Line>()), Line([0; 64]));
            self.len = len;
        }
    }
}

impl<T> Default for Aligned<T> {
    fn default() -> Self {
        Self { lines: Vec::new(), len: 0, of: PhantomData }
    }
}

impl<T: Number> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the lines hold at least `len` numbers, of a type that any bytes are a value of.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T: Number> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and the numbers are borrowed as `self` is.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
