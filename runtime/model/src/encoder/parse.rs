//! From a bundle's ONNX blob to the engine's model, with this crate's layers in it.

use std::sync::Arc;

use edge_seg_bundle::Bundle;
use tract_onnx::prelude::*;

use super::tensors::fail;
use super::{constants, fuse, layers};
use crate::Result;

pub(super) type Plan = Arc<TypedRunnableModel>;

pub(super) fn parse(encoder: &'static str, bundle: &Bundle, blob: &str, half: bool) -> Result<InferenceModel> {
    let engine = layers::engine();
    bundle.read_blob(blob, |onnx| {
        // What cannot be split the engine refuses with its own words.
        let (graph, constants) = constants::split(onnx)?;
        let mut model = engine.proto_model_for_read(&mut &graph[..]).map_err(fail(encoder))?;
        fuse::fuse(&mut model);
        if let Some(graph) = &mut model.graph {
            layers::pack(graph, &constants, half).map_err(fail(encoder))?;
        }
        let model = engine.model_for_proto_model(&model).map_err(fail(encoder));
        layers::forget();
        model
    })
}
