//! x86-64.

mod amx;
mod avx2;
mod avx512;

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

use crate::isa::Set;
use amx::Amx;
use avx2::{Avx2, Avx2Wide, AvxVnni};
use avx512::{Avx512, Avx512Vnni};

/// The sets that this machine has, the fastest last.
pub(crate) fn sets() -> Vec<Set> {
    let mut sets = Vec::new();
    let Some(avx2) = Avx2::detect() else { return sets };
    sets.push(Set::new("avx2", avx2, avx2, avx2));
    if let Some(vnni) = AvxVnni::detect(avx2) {
        sets.push(Set::new("avxvnni", avx2, vnni, avx2));
    }
    let Some(avx512) = Avx512::detect(avx2) else { return sets };
    // Without a dot product of bytes the narrower registers' products are the best ones.
    sets.push(Set::new("avx512", avx512, Avx2Wide::new(avx2), avx2));
    let Some(vnni) = Avx512Vnni::detect(avx512) else { return sets };
    sets.push(Set::new("avx512vnni", avx512, vnni, vnni));
    if let Some(amx) = Amx::detect(vnni) {
        sets.push(Set::new("amx", avx512, amx, vnni));
    }
    sets
}

/// Brings the cache line that `values` begin in nearer.
#[inline(always)]
pub(crate) fn prefetch<T>(values: &[T]) {
    // SAFETY: a hint reads nothing, wherever it points.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(values.as_ptr().cast()) }
}
