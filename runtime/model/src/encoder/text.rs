//! The text encoder.

use edge_seg_bundle::Bundle;
use tract_onnx::prelude::*;

use super::parse::{Plan, parse};
use super::tensors::{fail, floats};
use crate::Result;

/// Turns token ids into text embeddings, on the calling thread: words are short and many, so callers run several at once.
#[derive(Debug)]
pub struct TextEncoder {
    plan: Plan,
    dim: usize,
}

impl TextEncoder {
    /// Loads the encoder of a bundle.
    ///
    /// # Errors
    /// [`crate::Error::Encoder`] if the engine refuses the ONNX file.
    pub fn load(bundle: &Bundle) -> Result<Self> {
        let manifest = bundle.manifest();
        let model = parse("text", bundle, &manifest.text.blob, &["ids", "mask"], false)?;
        let plan = plan_for_any_length(model).map_err(fail("text"))?;
        Ok(Self { plan, dim: manifest.embedding_dim })
    }

    /// Embeds one sequence of tokens, special tokens included. `[dim]`, not normalised
    ///
    /// # Errors
    /// [`crate::Error::Encoder`] if the engine fails, [`crate::Error::Tensor`] if it answers with another shape.
    pub fn encode(&self, tokens: &[i64]) -> Result<Vec<f32>> {
        let ids = Tensor::from_shape(&[1, tokens.len()], tokens).map_err(fail("text"))?;
        let mask = Tensor::from_shape(&[1, tokens.len()], &vec![1i64; tokens.len()]).map_err(fail("text"))?;
        let outputs = self.plan.run(tvec!(ids.into_tvalue(), mask.into_tvalue())).map_err(fail("text"))?;
        floats(&outputs, 0, &[1, self.dim])
    }
}

pub(super) fn plan_for_any_length(model: InferenceModel) -> TractResult<Plan> {
    let tokens = model.symbols.sym("tokens");
    let fact = i64::fact(&[1.to_dim(), tokens.into()]);
    model.with_input_fact(0, fact.clone().into())?.with_input_fact(1, fact.into())?.into_optimized()?.into_runnable()
}
