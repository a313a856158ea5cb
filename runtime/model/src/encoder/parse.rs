//! From a bundle's ONNX blob to the engine's model, with this crate's layers in it.

use std::sync::Arc;

use edge_seg_bundle::{BlobReader, Bundle};
use tract_onnx::prelude::*;

use super::tensors::fail;
use super::{constants, fuse, layers};
use crate::{Error, Result};

pub(super) type Plan = Arc<TypedRunnableModel>;

/// The model of a bundle's blob, whose inputs are as many as `inputs` names.
pub(super) fn parse(encoder: &'static str, bundle: &Bundle, blob: &str, inputs: &[&str], half: bool) -> Result<InferenceModel> {
    let model = bundle.read_blob(blob, |onnx| parse_file(encoder, onnx, half))?;
    if model.inputs.len() == inputs.len() {
        return Ok(model);
    }
    let found: Vec<&str> = model.inputs.iter().map(|input| model.node(input.node).name.as_str()).collect();
    let (inputs, found) = (inputs.join(" and "), found.join(", "));
    let what = format!("{blob}: expected the inputs {inputs}, found {found}; `edge-seg-export bundle --{encoder}-onnx` takes other graphs");
    Err(Error::Encoder { encoder, source: what.into() })
}

pub(super) fn parse_file(encoder: &'static str, onnx: &BlobReader<'_>, half: bool) -> Result<InferenceModel> {
    let engine = layers::engine();
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
}
