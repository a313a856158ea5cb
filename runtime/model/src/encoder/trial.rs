//! Looks at ONNX graphs that are in no bundle yet: what shapes they have, what they answer, and what of them the kernels compute.

use std::borrow::Cow;
use std::collections::HashMap;

use edge_seg_bundle::BlobReader;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::Cost;
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::*;

use super::constants;
use super::layers::{LAYERS, turns};
use super::limits::LITTLE;
use super::parse::{guarded, plan_within, read_graph};
use super::tensors::fail;
use super::text::plan_for_any_length;
use crate::contained::contained;
use crate::{Error, Result};

/// Numbers of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    /// 32-bit floats.
    Floats(Vec<f32>),
    /// Integers of any width, and truth values.
    Integers(Vec<i64>),
}

/// A tensor that goes into a graph, comes out of it, or is known before it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphTensor {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub numbers: Numbers,
}

/// What is known of a value of a graph before it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphFact {
    /// Its shape.
    pub shape: Vec<usize>,
    /// ONNX's number for its type; none if that is not known, or is not one of float, int32, int64 and bool.
    pub data_type: Option<i32>,
    /// The value itself, where it depends on no input.
    pub known: Option<GraphTensor>,
}

/// How much of a graph the kernels' own layers compute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GraphProducts {
    /// Products that are such layers; attention is two.
    pub own: usize,
    /// All products, convolutions among them.
    pub all: usize,
    /// Attentions that turn queries and keys by rotary positions themselves.
    pub turned: usize,
    /// Macs in such layers.
    pub own_multiplications: u64,
    /// All multiplications.
    pub all_multiplications: u64,
}

/// The shapes of a graph's values for inputs of these shapes, by the values' names; those that cannot be known are left out.
///
/// # Errors
/// [`Error::Encoder`] if the engine refuses the file.
pub fn graph_facts(onnx: &[u8], inputs: &[GraphTensor]) -> Result<HashMap<String, GraphFact>> {
    engine(|| {
        let engine = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_shapes(true);
        let mut model = engine.model_for_read(&mut &*onnx)?;
        for (index, input) in inputs.iter().enumerate() {
            set_input(&mut model, index, input)?;
        }
        // What cannot be analysed has no facts; the others have.
        let _ = model.analyse(true);
        let mut facts = HashMap::new();
        for node in model.nodes() {
            for (slot, outlet) in node.outputs.iter().enumerate() {
                let name = model.outlet_label(OutletId::new(node.id, slot)).unwrap_or(&node.name).to_owned();
                let shape = outlet
                    .fact
                    .shape
                    .concretize()
                    .and_then(|dims| dims.iter().map(|dim| usize::try_from(dim.to_i64().ok()?).ok()).collect());
                let known = outlet.fact.value.concretize().and_then(|tensor| GraphTensor::of(&tensor).ok());
                if let Some(shape) = shape.or_else(|| known.as_ref().map(|known| known.shape.clone())) {
                    let data_type = outlet.fact.datum_type.concretize().and_then(|of| match of {
                        DatumType::F32 => Some(1),
                        DatumType::I32 => Some(6),
                        // Shapes are the engine's own numbers, where they need not be known.
                        DatumType::I64 | DatumType::TDim => Some(7),
                        DatumType::Bool => Some(9),
                        _ => None,
                    });
                    facts.insert(name, GraphFact { shape, data_type, known });
                }
            }
        }
        Ok(facts)
    })
}

/// Runs a graph as the encoders run theirs. The outputs, in the graph's order.
///
/// # Errors
/// [`Error::Encoder`] if the engine refuses the file, the shapes or the inputs.
pub fn run_graph(onnx: &[u8], inputs: &[GraphTensor]) -> Result<Vec<GraphTensor>> {
    let mut model = parsed(onnx)?;
    engine(|| {
        for (index, input) in inputs.iter().enumerate() {
            set_input(&mut model, index, input)?;
        }
        let plan = model.into_optimized()?.into_runnable()?;
        let types = (0..inputs.len()).map(|index| Ok(plan.model().input_fact(index)?.datum_type)).collect::<TractResult<Vec<_>>>()?;
        let inputs = inputs.iter().zip(types).map(|(input, of)| input.value(of)).collect::<TractResult<TVec<TValue>>>()?;
        plan.run(inputs)?.iter().map(|output| GraphTensor::of(output)).collect()
    })
}

/// Runs a text encoder as [`TextEncoder`](crate::TextEncoder) does: planned once for sentences of any length.
///
/// # Errors
/// As [`run_graph`].
pub fn run_text_graph(onnx: &[u8], sentences: &[Vec<i64>]) -> Result<Vec<GraphTensor>> {
    let model = parsed(onnx)?;
    engine(|| {
        let longest = sentences.iter().map(Vec::len).max().unwrap_or(1);
        let plan = plan_for_any_length(&model, longest)?;
        let answer = |tokens: &Vec<i64>| {
            let row = |values: &[i64]| Ok::<_, TractError>(Tensor::from_shape(&[1, values.len()], values)?.into_tvalue());
            let outputs = plan.run(tvec!(row(tokens)?, row(&vec![1; tokens.len()])?))?;
            GraphTensor::of(outputs.first().context("expected an output")?)
        };
        sentences.iter().map(answer).collect()
    })
}

/// Reads and plans a graph as a bundle's encoders are, for a text or for a picture of 32 × 32 pixels in patches of 8, within limits that
/// are soon reached: what damaged graphs are tried on.
///
/// # Errors
/// As [`run_graph`].
#[doc(hidden)]
pub fn plan_graph(onnx: &[u8], of_text: bool) -> Result<()> {
    const WIDTH: usize = 32;
    let file = BlobReader::from(Cow::Borrowed(onnx));
    let (graph, constants) = constants::split(&file)?;
    guarded("trial", "graph", || {
        let model = read_graph(&graph, &constants, false)?;
        ensure!(model.inputs.len() == 2, "expected two inputs, found {}", model.inputs.len());
        let (facts, symbols) = if of_text {
            let tokens = model.symbols.sym("tokens");
            let fact = i64::fact(&[1.to_dim(), tokens.clone().into()]);
            ([fact.clone(), fact], SymbolValues::default().with(&tokens, 24))
        } else {
            ([f32::fact([1, 3, 32, 32]), f32::fact([1, 1 + 16, WIDTH])], SymbolValues::default())
        };
        plan_within(&model, facts, &symbols, &LITTLE).map(drop)
    })
}

/// Counts the products of a graph for inputs of these shapes.
///
/// # Errors
/// As [`run_graph`].
pub fn graph_products(onnx: &[u8], inputs: &[GraphTensor]) -> Result<GraphProducts> {
    let mut model = parsed(onnx)?;
    engine(|| {
        for (index, input) in inputs.iter().enumerate() {
            set_input(&mut model, index, input)?;
        }
        let mut found = GraphProducts::default();
        let model = model.into_typed()?;
        for node in model.nodes() {
            found.turned += usize::from(turns(node.op.as_ref()));
            let costs = node.op.cost(&model.node_input_facts(node.id)?)?;
            let count = costs.into_iter().filter(|(cost, _)| matches!(cost, Cost::FMA(_))).map(|(_, count)| count.to_i64());
            let count: u64 = count.sum::<Result<i64, _>>()?.unsigned_abs();
            let name = node.op.name();
            if count == 0 {
                continue;
            }
            // The engine counts an elementwise product as one for each number too.
            let product = ["Conv", "EinSum", "MatMul", "Deconv"].iter().any(|product| name.contains(product));
            let own = LAYERS.contains(&&*name);
            let products = if own && name.contains("Attention") { 2 } else { usize::from(own || product) };
            found.all += products;
            found.all_multiplications += if products > 0 { count } else { 0 };
            if own {
                found.own += products;
                found.own_multiplications += count;
            }
        }
        Ok(found)
    })
}

/// The graph as the encoders have it, with the kernels' layers in it.
fn parsed(onnx: &[u8]) -> Result<InferenceModel> {
    let file = BlobReader::from(Cow::Borrowed(onnx));
    let (graph, constants) = constants::split(&file)?;
    engine(|| read_graph(&graph, &constants, false))
}

/// Gives an input its shape, and a type where the graph declares none.
fn set_input(model: &mut InferenceModel, index: usize, input: &GraphTensor) -> TractResult<()> {
    let of = model.input_fact(index)?.datum_type.concretize().unwrap_or(input.engine_type());
    model.set_input_fact(index, InferenceFact::dt_shape(of, input.dims()))
}

fn panicked(panic: String) -> Error {
    Error::Encoder { encoder: "trial", source: format!("the engine gave up: {panic}").into() }
}

/// Graphs of strangers may meet what the engine did not expect.
fn engine<T>(work: impl FnOnce() -> TractResult<T>) -> Result<T> {
    contained(work).map_err(panicked)?.map_err(fail("trial"))
}

impl GraphTensor {
    /// Floats of a shape.
    pub fn floats(shape: impl Into<Vec<usize>>, numbers: Vec<f32>) -> Self {
        Self { shape: shape.into(), numbers: Numbers::Floats(numbers) }
    }

    /// Integers of a shape.
    pub fn integers(shape: impl Into<Vec<usize>>, numbers: Vec<i64>) -> Self {
        Self { shape: shape.into(), numbers: Numbers::Integers(numbers) }
    }

    fn engine_type(&self) -> DatumType {
        match self.numbers {
            Numbers::Floats(_) => f32::datum_type(),
            Numbers::Integers(_) => i64::datum_type(),
        }
    }

    fn dims(&self) -> TVec<TDim> {
        self.shape.iter().map(|dim| dim.to_dim()).collect()
    }

    fn value(&self, of: DatumType) -> TractResult<TValue> {
        let tensor = match &self.numbers {
            Numbers::Floats(numbers) => Tensor::from_shape(&self.shape, numbers)?,
            Numbers::Integers(numbers) => Tensor::from_shape(&self.shape, numbers)?,
        };
        Ok(tensor.cast_to_dt(of)?.into_owned().into_tvalue())
    }

    fn of(tensor: &Tensor) -> TractResult<Self> {
        let shape = tensor.shape().to_vec();
        let numbers = if tensor.datum_type().is_float() {
            let tensor = tensor.cast_to::<f32>()?;
            Numbers::Floats(tensor.to_plain_array_view::<f32>()?.iter().copied().collect())
        } else {
            let tensor = tensor.cast_to::<i64>()?;
            Numbers::Integers(tensor.to_plain_array_view::<i64>()?.iter().copied().collect())
        };
        Ok(Self { shape, numbers })
    }
}
