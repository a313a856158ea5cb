//! The instruction sets, and which of them this machine has.

#![allow(unsafe_code)]

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
mod other;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
use aarch64 as native;
#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
use other as native;
#[cfg(target_arch = "x86_64")]
use x86_64 as native;

use crate::isa::Set;

pub(crate) use native::prefetch;
pub(crate) use scalar::REFERENCE;

/// Every set that this machine has, the reference first and the fastest last.
pub(crate) fn sets() -> Vec<Set> {
    let mut sets = vec![scalar::set()];
    sets.extend(native::sets());
    sets
}
