//! What the crate computes: layers, attention, scoring and masks, made of the chosen set's kernels.

#![forbid(unsafe_code)]

mod attention;
mod attention_int8;
mod bank;
mod linear;
mod linear_f16;
mod linear_int8;
mod prefetch;
mod scan;
mod upsample;
mod workspace;

pub use attention::{Bias, PackedKeys};
pub use attention_int8::{PackedKeysInt8, WorkspaceInt8};
pub use bank::{PackedBank, PackedPatches, Precision};
pub use linear::Linear;
pub use linear_f16::{LinearF16, RowsF16};
pub use linear_int8::{LinearInt8, RowsInt8};
use prefetch::Prefetch;
pub use scan::{Pairs, PatchBest, Scan};
pub use workspace::Workspace;
