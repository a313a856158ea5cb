//! The text encoder.

use edge_seg_bundle::Bundle;
use tract_onnx::prelude::*;

use super::parse::{Plan, guarded, parse, plan};
use super::tensors::{fail, floats};
use crate::Result;

/// Turns token ids into text embeddings, on the calling thread: words are short and many, so callers run several at once.
pub struct TextEncoder {
    plan: Plan,
    place: String,
    dim: usize,
}

impl std::fmt::Debug for TextEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextEncoder").field("dim", &self.dim).finish_non_exhaustive()
    }
}

impl TextEncoder {
    /// Loads the encoder of a bundle.
    ///
    /// # Errors
    /// [`crate::Error::Encoder`] if the engine refuses the ONNX file.
    pub fn load(bundle: &Bundle) -> Result<Self> {
        let manifest = bundle.manifest();
        let model = parse("text", bundle, &manifest.text.blob, &["ids", "mask"], false)?;
        let plan = guarded("text", bundle.place(), || plan_for_any_length(&model, manifest.text.context))?;
        Ok(Self { plan, place: bundle.place().into(), dim: manifest.embedding_dim })
    }

    /// Embeds one sequence of tokens, special tokens included. `[dim]`, not normalised
    ///
    /// # Errors
    /// [`crate::Error::Encoder`] if the engine fails, [`crate::Error::Tensor`] if it answers with another shape.
    pub fn encode(&self, tokens: &[i64]) -> Result<Vec<f32>> {
        let ids = Tensor::from_shape(&[1, tokens.len()], tokens).map_err(fail("text"))?;
        let mask = Tensor::from_shape(&[1, tokens.len()], &vec![1i64; tokens.len()]).map_err(fail("text"))?;
        let outputs = guarded("text", &self.place, || self.plan.run(tvec!(ids.into_tvalue(), mask.into_tvalue())))?;
        floats(&outputs, 0, &[1, self.dim])
    }
}

/// The plan for texts of any number of tokens up to `longest`.
pub(super) fn plan_for_any_length(model: &InferenceModel, longest: usize) -> TractResult<Plan> {
    let tokens = model.symbols.sym("tokens");
    let fact = i64::fact(&[1.to_dim(), tokens.clone().into()]);
    plan(model, [fact.clone(), fact], &SymbolValues::default().with(&tokens, longest as i64))
}
