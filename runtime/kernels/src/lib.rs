//! Kernels: the inner loops of scoring and masks, chosen once at run time by what the processor has.
//!
//! [`kernels`] gives the best set of the machine, [`Kernels::all`] every one. The set named `scalar` is the reference: safe, obvious
//! code that every other set is tested against. `EDGE_SEG_KERNELS=NAME` in the environment restricts the choice to one set.
//!
//! This crate needs `std` alone, so that it also builds and tests by itself:
//! `rustc --test --edition 2024 runtime/kernels/src/lib.rs`.
#![allow(unsafe_code)]

mod aligned;
#[cfg(target_arch = "x86_64")]
mod amx;
mod attention;
mod attention_int8;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod block;
mod finish;
mod half;
mod lanes;
mod linear;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
mod neon_bytes;
#[cfg(target_arch = "aarch64")]
mod neon_half;
mod packed;
mod quantised;
mod rows;
mod scalar;
mod scan;
mod transformer;
mod upsample;

#[cfg(test)]
mod tests;

use std::sync::OnceLock;

pub use attention::{Bias, PackedKeys};
pub use attention_int8::{ByteMemory, QuantisedKeys};
pub use half::{HalfLinear, HalfRows};
pub use linear::Linear;
pub use packed::{PANEL, PackedBank, PackedPatches, Precision};
pub use quantised::{QuantisedLinear, QuantisedRows};
pub use scan::{Pairs, PatchBest, Scan, TagBest};
pub use transformer::{Activation, LayerMemory};
pub use upsample::{Columns, Label, Planes, Scratch, Tap};

/// A set of kernels for one instruction set. It can only be had where the processor has that set.
#[derive(Debug)]
pub struct Kernels {
    isa: Isa,
}

/// The proof that an instruction set is present: each variant is made by detection alone.
#[derive(Debug, Clone, Copy)]
enum Isa {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    #[cfg(target_arch = "x86_64")]
    AvxVnni(avx2::AvxVnni),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(avx512::Avx512Vnni),
    #[cfg(target_arch = "x86_64")]
    Amx(amx::Amx),
    #[cfg(target_arch = "aarch64")]
    Neon(neon::Neon),
    #[cfg(target_arch = "aarch64")]
    NeonDot(neon_bytes::NeonDot),
    #[cfg(target_arch = "aarch64")]
    NeonI8mm(neon_bytes::NeonI8mm),
}

/// Calls the same function of the set that was chosen, one on floats or rows.
macro_rules! dispatch {
    ($self:ident, $function:ident($($argument:expr),*)) => {
        match $self.isa {
            Isa::Scalar => scalar::$function($($argument),*),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(set) => set.$function($($argument),*),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni(set) => set.floats().$function($($argument),*),
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
            #[cfg(target_arch = "aarch64")]
            Isa::NeonI8mm(set) => set.floats().$function($($argument),*),
        }
    };
}
use dispatch;

/// The environment variable that restricts the choice of kernels.
pub const KERNELS_VARIABLE: &str = "EDGE_SEG_KERNELS";

/// Every set that this machine has, the scalar reference first and the fastest last.
fn present() -> &'static [Kernels] {
    static PRESENT: OnceLock<Vec<Kernels>> = OnceLock::new();
    PRESENT.get_or_init(|| {
        let mut sets = vec![Isa::Scalar];
        #[cfg(target_arch = "x86_64")]
        sets.extend(avx2::Avx2::detect().map(Isa::Avx2));
        #[cfg(target_arch = "x86_64")]
        sets.extend(avx2::AvxVnni::detect().map(Isa::AvxVnni));
        #[cfg(target_arch = "x86_64")]
        sets.extend(avx512::Avx512::detect().map(Isa::Avx512));
        #[cfg(target_arch = "x86_64")]
        sets.extend(avx512::Avx512Vnni::detect().map(Isa::Avx512Vnni));
        #[cfg(target_arch = "x86_64")]
        sets.extend(amx::Amx::detect().map(Isa::Amx));
        #[cfg(target_arch = "aarch64")]
        sets.extend(neon::Neon::detect().map(Isa::Neon));
        #[cfg(target_arch = "aarch64")]
        sets.extend(neon_bytes::NeonDot::detect().map(Isa::NeonDot));
        #[cfg(target_arch = "aarch64")]
        sets.extend(neon_bytes::NeonI8mm::detect().map(Isa::NeonI8mm));
        sets.into_iter().map(|isa| Kernels { isa }).collect()
    })
}

/// The set called `name`, or the best one for `None`.
fn choose(name: Option<&str>) -> Result<&'static Kernels, String> {
    let sets = present();
    let Some(name) = name else {
        return Ok(sets.last().unwrap_or(&sets[0]));
    };
    sets.iter().find(|set| set.name() == name).ok_or_else(|| {
        let names: Vec<_> = sets.iter().map(Kernels::name).collect();
        format!("{KERNELS_VARIABLE}: expected one of {} (what this processor has), found {name:?}", names.join(", "))
    })
}

/// The kernels to use: the set that `EDGE_SEG_KERNELS` names, or without that variable the best that the processor has.
///
/// # Errors
/// The variable names a set that is unknown or that this processor lacks.
pub fn try_kernels() -> Result<&'static Kernels, String> {
    static CHOSEN: OnceLock<Result<&'static Kernels, String>> = OnceLock::new();
    CHOSEN
        .get_or_init(|| {
            let name = std::env::var_os(KERNELS_VARIABLE).filter(|name| !name.is_empty());
            choose(name.as_ref().map(|name| name.to_string_lossy()).as_deref())
        })
        .clone()
}

/// As [`try_kernels`]; where `EDGE_SEG_KERNELS` is wrong, the best that the processor has. Programs call [`try_kernels`] once at the
/// start, so that a wrong name is an error there.
pub fn kernels() -> &'static Kernels {
    try_kernels().unwrap_or_else(|_| present().last().unwrap_or(&present()[0]))
}

impl Kernels {
    /// Every set that this machine has, the scalar reference first and the fastest last.
    pub fn all() -> Vec<&'static Kernels> {
        present().iter().collect()
    }

    /// The name of the set, as `EDGE_SEG_KERNELS` takes it.
    pub fn name(&self) -> &'static str {
        match self.isa {
            Isa::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni(_) => "avxvnni",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni(_) => "avx512vnni",
            #[cfg(target_arch = "x86_64")]
            Isa::Amx(_) => "amx",
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => "neon",
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot(_) => "neondot",
            #[cfg(target_arch = "aarch64")]
            Isa::NeonI8mm(_) => "neoni8mm",
        }
    }

    /// `out[p · tags + t] = Σ_d patches[p, d] · bank[t, d]`.
    ///
    /// # Shapes
    /// - `patches`: `[P, dim]`
    /// - `bank`: `[tags, dim]`
    /// - `out`: `[P, tags]`
    ///
    /// Sums are taken in another order than a plain loop's: a result differs from the exact one by at most
    /// `dim · 2⁻²³ · Σ_d |patches[p, d] · bank[t, d]|`.
    ///
    /// # Panics
    /// The lengths do not fit those shapes.
    pub fn dot_products(&self, patches: &[f32], bank: &[f32], dim: usize, out: &mut [f32]) {
        let Some((count, tags)) = rows_of(patches, bank, dim) else {
            assert!(
                dim == 0 && patches.is_empty() && bank.is_empty(),
                "dot_products: expected whole rows of {dim} values, found {} and {} values",
                patches.len(),
                bank.len()
            );
            out.fill(0.0);
            return;
        };
        assert_eq!(out.len(), count * tags, "dot_products: expected room for {count} x {tags} results");
        dispatch!(self, dot_products(patches, bank, dim, out));
    }

    /// Brings every row to unit L2 norm in place and returns the index of the first row that cannot be: zero or not finite. Such rows
    /// stay as they are; all others are normalised.
    ///
    /// # Shapes
    /// - `rows`: `[n, dim]`
    ///
    /// # Panics
    /// `rows` does not hold whole rows of `dim` values.
    pub fn normalise_rows(&self, rows: &mut [f32], dim: usize) -> Option<usize> {
        if rows.is_empty() {
            return None;
        }
        assert!(
            dim > 0 && rows.len().is_multiple_of(dim),
            "normalise_rows: expected whole rows of {dim} values, found {} values",
            rows.len()
        );
        dispatch!(self, normalise_rows(rows, dim))
    }

    /// Bilinear upsampling and arg-maximum in one pass: for every output pixel the index of the plane with the largest interpolated
    /// value, the first one on a tie. A class wins nowhere next to a cell that is not finite; where no class can win, the label is 0.
    ///
    /// # Shapes
    /// - `planes`: `[classes, rows, cols]`
    /// - `rows`: one tap for each output row of this call; a part of the picture's rows may be given
    /// - `columns`: one tap for each output column
    /// - `labels`: `[rows, columns]`
    ///
    /// # Panics
    /// `labels` has another length, a tap lies outside `planes`, or `planes` has more classes than the label type has values.
    pub fn upsample_argmax<L: Label>(&self, planes: &Planes<'_>, rows: &[Tap], columns: &Columns, scratch: &mut Scratch, labels: &mut [L]) {
        upsample::check(planes, rows, columns, labels);
        match self.isa {
            Isa::Scalar => scalar::upsample_argmax(planes, rows, columns, scratch, labels),
            _ => upsample::upsample_argmax(planes, rows, columns, scratch, labels),
        }
    }

    /// [`upsample_argmax`](Self::upsample_argmax) for one output row.
    ///
    /// # Panics
    /// As there.
    pub fn upsample_argmax_row<L: Label>(&self, planes: &Planes<'_>, row: Tap, columns: &Columns, scratch: &mut Scratch, labels: &mut [L]) {
        self.upsample_argmax(planes, &[row], columns, scratch, labels);
    }
}

/// How many whole rows of `dim` values `a` and `b` hold.
fn rows_of(a: &[f32], b: &[f32], dim: usize) -> Option<(usize, usize)> {
    (dim > 0 && a.len().is_multiple_of(dim) && b.len().is_multiple_of(dim)).then(|| (a.len() / dim, b.len() / dim))
}
