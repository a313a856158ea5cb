//! What kernels work on: matrices and rows as they lie in memory, and what is known of them. No operand knows a kernel.

mod aligned;
mod epilogue;
mod f16;
mod planes;
mod quantized;
mod scoring;
mod tile;

pub(crate) use aligned::{Aligned, padded, signed};
pub use epilogue::Activation;
pub(crate) use epilogue::{Epilogue, Scales};
pub(crate) use f16::{from_f16, to_f16};
pub(crate) use planes::{ClassSegment, Labels};
pub use planes::{Columns, Label, Planes, Scratch, Tap};
pub(crate) use quantized::RowRange;
pub(crate) use scoring::{InterleavedRows, PanelProducts, Pass};
pub use scoring::{PANEL, WordBest};
pub(crate) use tile::{CHUNK_F16, STEP_F16, STEP_INT8, TileF16, TileF32, TileInt8};
