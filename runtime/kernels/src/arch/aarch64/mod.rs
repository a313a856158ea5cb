//! AArch64.

mod neon;
mod neon_f16;
mod neon_int8;

use std::arch::asm;

use crate::isa::Set;
use neon::Neon;
use neon_f16::Fp16;
use neon_int8::{NeonDot, NeonI8mm};

/// The sets that this machine has, the fastest last.
pub(crate) fn sets() -> Vec<Set> {
    let mut sets = Vec::new();
    let (Some(neon), fp16) = (Neon::detect(), Fp16::detect()) else { return sets };
    sets.push(Set::new("neon", neon, neon, neon).with_f16(fp16));
    let Some(dot) = NeonDot::detect(neon) else { return sets };
    sets.push(Set::new("neondot", neon, dot, dot).with_f16(fp16));
    if let Some(i8mm) = NeonI8mm::detect(dot) {
        sets.push(Set::new("neoni8mm", neon, i8mm, dot).with_f16(fp16));
    }
    sets
}

/// Brings the cache line that `values` begin in nearer.
#[inline(always)]
pub(crate) fn prefetch<T>(values: &[T]) {
    // SAFETY: a hint reads nothing, wherever it points.
    unsafe { asm!("prfm pldl2keep, [{}]", in(reg) values.as_ptr(), options(nostack, readonly, preserves_flags)) }
}
