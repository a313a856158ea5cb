//! Names of this crate's layers in a graph, and of ONNX's number types.

use tract_onnx::prelude::*;

/// Name of the operator in a rewritten graph.
pub(super) const EMBEDDING: &str = "EdgeSegEmbedding";
pub(super) const LINEAR: &str = "EdgeSegLinear";
pub(super) const LINEAR_INT8: &str = "EdgeSegLinearInt8";
pub(super) const LAYER_NORM: &str = "EdgeSegLayerNorm";
pub(super) const ATTENTION: &str = "EdgeSegAttention";
pub(super) const FLOAT: i32 = 1;
pub(super) const UINT8: i32 = 2;
pub(super) const INT8: i32 = 3;
pub(super) const FLOAT16: i32 = 10;

/// The engine's name and the bytes of an ONNX element type that a table may have.
pub(super) fn element(data_type: i32) -> Option<(DatumType, usize)> {
    match data_type {
        FLOAT => Some((DatumType::F32, 4)),
        FLOAT16 => Some((DatumType::F16, 2)),
        INT8 => Some((DatumType::I8, 1)),
        UINT8 => Some((DatumType::U8, 1)),
        _ => None,
    }
}
