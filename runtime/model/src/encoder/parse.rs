//! From a bundle's ONNX blob to the engine's model, with this crate's layers in it.

use std::sync::Arc;

use edge_seg_bundle::Bundle;
use tract_onnx::prelude::*;

use super::constants::{self, Constants};
use super::limits::{self, Work};
use super::{fuse, layers};
use crate::contained::contained;
use crate::{Error, Result};

pub(super) type Plan = Arc<TypedRunnableModel>;

/// The model of a bundle's blob, whose inputs are as many as `inputs` names.
///
/// # Errors
/// [`Error::Encoder`] that names the bundle, whatever is wrong with the graph: the engine does not mean to meet damaged ones.
pub(super) fn parse(encoder: &'static str, bundle: &Bundle, blob: &str, inputs: &[&str], half: bool) -> Result<InferenceModel> {
    let model = bundle.read_blob(blob, |onnx| {
        let (graph, constants) = constants::split(onnx)?;
        guarded(encoder, bundle.place(), || read_graph(&graph, &constants, half))
    })?;
    if model.inputs.len() == inputs.len() {
        return Ok(model);
    }
    let found: Vec<&str> = model.inputs.iter().map(|input| model.node(input.node).name.as_str()).collect();
    let (inputs, found, place) = (inputs.join(" and "), found.join(", "), bundle.place());
    let what = format!(
        "{place}: {blob}: expected the inputs {inputs}, found {found}; `edge-seg-export bundle --{encoder}-onnx` takes other graphs"
    );
    Err(Error::Encoder { encoder, source: what.into() })
}

/// The model of a file that [`constants::split`] has split.
pub(super) fn read_graph(graph: &[u8], constants: &Constants<'_>, half: bool) -> TractResult<InferenceModel> {
    let engine = layers::engine();
    // What cannot be split the engine refuses with its own words.
    let mut model = engine.proto_model_for_read(&mut &graph[..])?;
    if let Some(graph) = &model.graph {
        limits::check_graph(graph, constants)?;
    }
    fuse::fuse(&mut model);
    if let Some(graph) = &mut model.graph {
        layers::pack(graph, constants, half)?;
    }
    let read = engine.model_for_proto_model(&model);
    layers::forget();
    let mut read = read?;
    if let Some(graph) = &model.graph {
        limits::keep_axes(graph, &mut read);
    }
    Ok(read)
}

/// The plan for inputs of these shapes. `symbols` has the largest values of what they leave open.
///
/// # Errors
/// What the engine refuses, and what is beyond the limits.
pub(super) fn plan(model: &InferenceModel, facts: [TypedFact; 2], symbols: &SymbolValues) -> TractResult<Plan> {
    plan_within(model, facts, symbols, &limits::MOST)
}

/// As [`plan`], with other limits.
pub(super) fn plan_within(model: &InferenceModel, facts: [TypedFact; 2], symbols: &SymbolValues, most: &Work) -> TractResult<Plan> {
    let [first, second] = facts;
    let model = model.clone().with_input_fact(0, first.into())?.with_input_fact(1, second.into())?;
    let model = limits::check_shapes(model, symbols, most)?.into_typed()?;
    limits::check_work(&model, symbols, most)?;
    model.into_optimized()?.into_runnable()
}

/// Gives the engine a bundle's graph, which it may refuse or panic at.
pub(super) fn guarded<T>(encoder: &'static str, place: &str, work: impl FnOnce() -> TractResult<T>) -> Result<T> {
    let refused = |found: String, advice: &str| Error::Encoder { encoder, source: format!("{place}: {found}; {advice}").into() };
    const ANEW: &str = "make the bundle anew with edge-seg-export, or take another copy of it";
    match contained(work) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(refused(format!("{error:#}"), ANEW)),
        // What the engine keeps for a thread is gone, which says nothing of the graph: the standard library's words.
        Err(panic) if panic.contains("a Thread Local Storage value during or after destruction") => {
            let found = "expected a thread that goes on, found one that ends, in a destructor of its thread-local values";
            Err(refused(found.into(), "call it before, or from another thread"))
        }
        Err(panic) => Err(refused(format!("the engine gave up on the graph: {}", panic.lines().next().unwrap_or_default()), ANEW)),
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

    #[test]
    fn a_thread_that_ends_is_no_fault_of_the_bundle() {
        thread_local! {
            static LATE: Late = const { Late };
            static GONE: Vec<u8> = vec![7];
        }
        struct Late;
        impl Drop for Late {
            fn drop(&mut self) {
                let refused = guarded("image", "model.esb", || Ok(GONE.with(Vec::len))).unwrap_err().to_string();
                SAID.lock().push_str(&refused);
            }
        }
        static SAID: parking_lot::Mutex<String> = parking_lot::Mutex::new(String::new());
        // What was used first is destroyed last.
        let used = || LATE.with(|_| GONE.with(|gone| assert_eq!(gone.len(), 1)));
        std::thread::spawn(used).join().unwrap();
        let said = SAID.lock().clone();
        assert!(said.contains("found one that ends") && !said.contains("make the bundle anew"), "{said}");
    }
}
