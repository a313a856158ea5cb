//! The inner loops of open-vocabulary segmentation, on `std` alone: the layers of a vision transformer in 32-bit floats, 16-bit floats and
//! bytes, scores against lists of words, and masks.
//!
//! ```
//! use edge_seg_kernels::kernels;
//!
//! let (patches, words) = ([0.6, 0.8, 1.0, 0.0], [1.0, 0.0]);
//! let mut cosines = [0.0; 2];
//! kernels().dot_products(&patches, &words, 2, &mut cosines);
//! assert_eq!(cosines, [0.6, 1.0]);
//! ```
//!
//! # How a kernel is chosen
//!
//! One program runs on every processor of its architecture, so what the processor has is asked when the program runs, once. [`kernels`]
//! gives the fastest set of kernels, [`Kernels::all`] every one, and `EDGE_SEG_KERNELS=NAME` in the environment one by its name: a name
//! that is unknown, or known and absent, is an error of [`try_kernels`], which programs call at their start.
//!
//! A set is made of up to four parts, each behind a trait of `isa`: kernels on floats, on bytes for layers, on bytes for scoring, and on
//! 16-bit floats. Processors gain instructions for one kind of number at a time, so sets share parts. `avxvnni` is `avx2` with other
//! products of bytes; `amx` takes its floats from AVX-512, its layers in bytes from tiles, and its scoring from VNNI. The lists in
//! `arch/x86_64/mod.rs` and `arch/aarch64/mod.rs` say which set is made of what, the fastest last.
//!
//! The choice costs a call through a table for each kernel, a tile of a product at the least; within a kernel nothing is looked up.
//! The instruction set's features are enabled for whole functions (`#[target_feature]`), into which everything below is inlined.
//!
//! # How the crate is built
//!
//! Each module uses those above it in this table, none below.
//!
//! | module | holds |
//! |---|---|
//! | `operands` | matrices and rows as they lie in memory, and the checks of their lengths |
//! | `reference` | every kernel as a plain loop without `unsafe`: what the others are tested against |
//! | `isa` | the traits that a set's parts implement |
//! | `generic` | kernels on floats, written once over a vector register |
//! | `arch` | the instruction sets: their vector, their products of bytes, their detection |
//! | `dispatch` | [`Kernels`]: the choice, and each kernel behind the checks that it relies on |
//! | `ops` | what users call: layers, attention, scans and masks, without `unsafe` |
//!
//! A product of matrices is cut as in other libraries. Weights are packed once, in panels as wide as a few registers, so that they are read
//! in order. A microkernel multiplies a tile of rows, read where they lie, with a panel, and keeps the sums in registers. The epilogue adds
//! bias, activation and residual while they are near. Weights that come next are fetched meanwhile.
//!
//! # What is unsafe
//!
//! Two things can go wrong, and each is ruled out in one place. *An instruction that the processor lacks*: the types that implement the
//! traits of `isa` have no public constructor but `detect`, so that a value is the proof. *A length that does not fit*: kernels read by
//! pointers, so their methods are `unsafe`, and `dispatch/checked.rs` alone calls them, behind the operands' `check`.
//!
//! # How to add a kernel
//!
//! 1. Write it in `reference`, as the formula says.
//! 2. Add a method to the trait in `isa`, and to `dispatch/checked.rs` the call with its checks.
//! 3. For floats, write it once in `generic` over `Vector` and name it in `float_kernels`: all sets have it. For bytes,
//!    write it for each set in `arch`.
//! 4. Test it in `tests` for every set of [`Kernels::all`]: lengths up to two vectors and one, odd offsets, NaN, zeros. Integers must be
//!    the reference's to the last bit; floats stay within a bound that follows from the sum of sizes.
//!
//! # How to add an instruction set
//!
//! 1. A type in `arch` that only its `detect` makes, asking for the sets that it builds on by their own types.
//! 2. Where its vector is new, `Vector` for it and a `float_kernels!` that names what its registers hold; where only
//!    its products of bytes are new, `Int8Kernels` and `Int8Scoring`.
//! 3. A line in the list of sets. The tests then run it wherever it is found; `EDGE_SEG_REQUIRE_KERNELS=NAME,...` makes them fail where
//!    it is not, so that it is never left out in silence. `tests/neon.sh` at the project's root runs those of Arm under emulation.
#![deny(unsafe_code)]

mod arch;
mod dispatch;
mod generic;
mod isa;
mod operands;
mod ops;
mod reference;
#[cfg(test)]
mod tests;

pub use dispatch::{KERNELS_VARIABLE, Kernels, kernels, try_kernels};
pub use operands::{Activation, Columns, Label, PANEL, Planes, Scratch, Tap, WordBest};
pub use ops::{
    Bias, Linear, LinearF16, LinearInt8, PackedBank, PackedKeys, PackedKeysInt8, PackedPatches, Pairs, PatchBest, Precision, RowsF16,
    RowsInt8, Scan, Workspace, WorkspaceInt8,
};
pub use reference::{activate, erf};
