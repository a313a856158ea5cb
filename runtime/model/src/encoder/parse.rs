//! From a bundle's ONNX blob to the engine's model, with this crate's layers in it.

use std::sync::Arc;

use edge_seg_bundle::Bundle;
use tract_onnx::prelude::*;

use super::{constants, fuse, layers, limits};
use crate::contained::contained;
use crate::{Error, Result};

pub(super) type Plan = Arc<TypedRunnableModel>;

/// # Errors
/// [`Error::Encoder`] that names the bundle, whatever is wrong with the graph: the engine does not mean to meet damaged ones.
pub(super) fn parse(encoder: &'static str, bundle: &Bundle, blob: &str, half: bool) -> Result<InferenceModel> {
    let place = bundle.place();
    bundle.read_blob(blob, |onnx| {
        // What cannot be split the engine refuses with its own words.
        let (graph, constants) = constants::split(onnx)?;
        let model = guarded(encoder, place, || {
            let engine = layers::engine();
            let mut model = engine.proto_model_for_read(&mut &graph[..])?;
            if let Some(graph) = &model.graph {
                limits::check_graph(graph, &constants)?;
            }
            fuse::fuse(&mut model);
            if let Some(graph) = &mut model.graph {
                layers::pack(graph, &constants, half)?;
            }
            engine.model_for_proto_model(&model)
        });
        layers::forget();
        model
    })
}

/// The plan for inputs of these shapes. `symbols` has the largest values of what they leave open.
///
/// # Errors
/// As [`parse`].
pub(super) fn plan(
    encoder: &'static str,
    place: &str,
    model: &InferenceModel,
    facts: [TypedFact; 2],
    symbols: &SymbolValues,
) -> Result<Plan> {
    guarded(encoder, place, || {
        let [first, second] = facts;
        let model = model.clone().with_input_fact(0, first.into())?.with_input_fact(1, second.into())?;
        let model = limits::check_shapes(model, symbols, &limits::MOST)?.into_typed()?;
        limits::check_work(&model, symbols, &limits::MOST)?;
        model.into_optimized()?.into_runnable()
    })
}

/// Gives the engine a graph, which it may refuse or panic at.
pub(super) fn guarded<T>(encoder: &'static str, place: &str, work: impl FnOnce() -> TractResult<T>) -> Result<T> {
    let refused = |found: String| Error::Encoder {
        encoder,
        source: format!("{place}: {found}; make the bundle anew with edge-seg-export, or take another copy of it").into(),
    };
    match contained(work) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(refused(format!("{error:#}"))),
        Err(panic) => Err(refused(format!("the engine gave up on the graph: {}", panic.lines().next().unwrap_or_default()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_engine_is_an_error_that_names_encoder_and_bundle() {
        let refused = guarded("image", "model.esb", || -> TractResult<()> { panic!("index out of range") }).unwrap_err().to_string();
        assert!(refused.starts_with("image encoder: model.esb: the engine gave up on the graph: index out of range; make"), "{refused}");
    }
}
