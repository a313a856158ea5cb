//! The image encoder as one of the engine's other runtimes takes it: the plain ONNX graph, whole, without this crate's own layers,
//! which run on the processor only.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use anyhow::Context as _;
use parking_lot::Mutex;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{ModelProto, TensorProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::floats::FloatPrecisionTranslator;
use tract_onnx::tract_core::transform::ModelTransform;

mod faults;
#[cfg(feature = "_cuda")]
mod masker;
#[cfg(feature = "_cuda")]
mod masks;
mod probe;

pub(super) use probe::unusable;
pub use probe::{choose_device, probe_cuda};

use faults::{judge, quietly};
use probe::RUNTIME;

use super::backend::Encoder;
#[cfg(feature = "_cuda")]
use super::backend::{MaskRequest, Masks};
use super::constants::Constants;
use super::floats::in_floats;
use super::limits::check_graph;
use super::parse::guarded;
use super::positions::resample;
use super::tensors::{MAX_PLANS, crop, fail, floats};
use crate::device::Device;
use crate::input::Input;
use crate::options::Options;
use crate::{Error, PatchGrid, Result};
use edge_seg_bundle::{Bundle, Positions};

/// What runs the encoder, as reports name it.
pub(crate) const BACKEND: &str = "tract-cuda";

/// The image encoder as a GPU takes it: the plain ONNX graph, whole, for several pictures at once. Plans are kept per grid and batch.
#[derive(Debug)]
pub struct GraphEncoder {
    onnx: ModelProto,
    layout: Positions,
    positions: Vec<f32>, // [1 + rows · cols, width]
    dim: usize,
    half: bool,
    runtime: &'static dyn Runtime,
    backend: &'static str,
    plans: Mutex<HashMap<Shape, Prepared>>,
    #[cfg(feature = "_cuda")]
    masks: Option<masker::Masker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Shape {
    pictures: usize,
    rows: usize,
    cols: usize,
    patch_px: usize,
}

#[derive(Debug, Clone)]
struct Prepared {
    plan: Arc<dyn Runnable>,
    left: Vec<String>, // operators that the GPU has no kernel for
}

impl GraphEncoder {
    /// Loads the encoder of a bundle for the GPU. With `half` everything but norms and softmax is done in 16-bit floats.
    ///
    /// # Errors
    /// [`Error::Device`] if no GPU can be used, otherwise as [`ImageEncoder::load`](crate::ImageEncoder::load).
    pub fn on_gpu(bundle: &Bundle, half: bool) -> Result<Self> {
        choose_device(Device::Cuda)?;
        Self::load(bundle, half, RUNTIME, BACKEND)
    }

    /// The same graph, computed by the processor: what can be tested of the GPU's path without a GPU. Slow.
    ///
    /// # Errors
    /// As [`ImageEncoder::load`](crate::ImageEncoder::load).
    pub fn on_cpu(bundle: &Bundle, half: bool) -> Result<Self> {
        Self::load(bundle, half, "cpu", "graph-on-cpu")
    }

    /// As [`Self::on_gpu`], to make masks there as well if the options want that.
    pub(crate) fn with_masks(bundle: &Bundle, options: &Options) -> Result<Self> {
        Ok(Self {
            #[cfg(feature = "_cuda")]
            masks: options.gpu_masks.then(masker::Masker::load).transpose()?,
            ..Self::on_gpu(bundle, options.half)?
        })
    }

    /// Embeds pictures, neighbours of one size together, by plans with capacity for so many.
    ///
    /// # Errors
    /// [`Error::Encoder`] if the engine fails, [`Error::Device`] if the GPU does, [`Error::Tensor`] if it answers with another shape or NaN.
    pub fn encode_all(&self, inputs: &[&Input], capacity: usize) -> Result<Vec<PatchGrid>> {
        let mut grids = Vec::with_capacity(inputs.len());
        for pictures in inputs.chunk_by(|a, b| a.placement.same_shape(&b.placement)).flat_map(|alike| alike.chunks(capacity.max(1))) {
            grids.extend(self.run(pictures, capacity)?);
        }
        Ok(grids)
    }

    /// Operators of the plans made so far that the GPU has no kernel for, by name: the processor computes them.
    pub fn unsupported_ops(&self) -> Vec<String> {
        let plans = self.plans.lock();
        plans.values().flat_map(|plan| plan.left.iter().cloned()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn load(bundle: &Bundle, half: bool, runtime: &str, backend: &'static str) -> Result<Self> {
        let runtime =
            runtime_for_name(runtime).map_err(fail("image"))?.ok_or_else(|| unusable("no such runtime", "build with its feature"))?;
        let manifest = bundle.manifest();
        let layout = manifest.image.positions.clone();
        let positions = bundle.floats(&layout.blob, (1 + layout.rows * layout.cols) * layout.width)?;
        let mut onnx = tract_onnx::onnx().proto_model_for_read(&mut &*bundle.blob(&manifest.image.blob)?).map_err(fail("image"))?;
        guarded("image", bundle.place(), || check_graph(onnx.graph.as_ref().context("no graph")?, &Constants::none()))?;
        in_floats(&mut onnx);
        Ok(Self {
            onnx,
            layout,
            positions,
            dim: manifest.embedding_dim,
            half,
            runtime,
            backend,
            plans: Mutex::default(),
            #[cfg(feature = "_cuda")]
            masks: None,
        })
    }

    /// The graph for one shape, before a runtime takes it. Input: pixels `[pictures, 3, height, width]`; outputs:
    /// `[pictures, patches, dim]`, `[pictures, dim]`. The positions `[1, 1 + patches, width]` are a constant, which goes to the device once.
    fn graph(&self, shape: Shape) -> TractResult<TypedModel> {
        let Shape { pictures, rows, cols, patch_px } = shape;
        let pixels = f32::fact([pictures, 3, rows * patch_px, cols * patch_px]);
        let mut onnx = self.onnx.clone();
        let graph = onnx.graph.as_mut().context("no graph")?;
        let input = graph.input.pop().filter(|_| graph.input.len() == 1).context("expected two inputs, pixels and positions")?;
        let positions = resample(&self.positions, &self.layout, rows, cols);
        graph.initializer.push(TensorProto {
            name: input.name,
            dims: [1, 1 + rows * cols, self.layout.width].map(|dim| dim as i64).into(),
            data_type: DataType::Float as i32,
            raw_data: positions.iter().flat_map(|value| value.to_le_bytes()).collect(),
            ..TensorProto::default()
        });
        unfuse_gelu(&mut onnx);
        if pictures > 1 {
            widen(&mut onnx, pictures);
        }
        let model = tract_onnx::onnx().with_ignore_output_shapes(true).model_for_proto_model(&onnx)?;
        let mut model = model.with_input_fact(0, pixels.into())?.into_typed()?.into_decluttered()?;
        if self.half {
            let narrow = |node: &TypedNode| !["norm", "softmax"].iter().any(|wide| node.name.contains(wide));
            FloatPrecisionTranslator::with_filter(f32::datum_type(), f16::datum_type(), narrow).transform(&mut model)?;
            model = model.into_decluttered()?;
        }
        Ok(model)
    }

    fn plan(&self, shape: Shape) -> Result<Prepared> {
        let mut plans = self.plans.lock();
        if let Some(plan) = plans.get(&shape) {
            return Ok(plan.clone());
        }
        let plan = self.guarded(|| self.runtime.prepare(self.graph(shape)?))?;
        let left = plan.typed_model().filter(|_| self.backend == BACKEND).map(|model| outside(model)).unwrap_or_default();
        if !left.is_empty() {
            tracing::warn!("the GPU has no kernel for some of the image encoder, which the processor computes: {}", left.join(", "));
        }
        if plans.len() >= MAX_PLANS {
            plans.clear();
        }
        let prepared = Prepared { plan: plan.into(), left };
        plans.insert(shape, prepared.clone());
        Ok(prepared)
    }

    /// Pixels of some pictures of one size, as the graph takes them. `[pictures, 3, height, width]`
    fn pixels(&self, values: Vec<f32>, pictures: usize, of: &Input) -> Result<TValue> {
        let (width, height) = of.placement.input_px;
        let pixels = Tensor::from_shape(&[pictures, 3, height as usize, width as usize], &values).map_err(fail("image"))?;
        match self.half {
            true => pixels.cast_to::<f16>().map(|narrow| narrow.into_owned().into_tvalue()).map_err(fail("image")),
            false => Ok(pixels.into_tvalue()),
        }
    }

    /// Runs what may meet a device that fails.
    fn guarded<T>(&self, work: impl FnOnce() -> TractResult<T>) -> Result<T> {
        match quietly(work) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(judge(&format!("{error:#}")).unwrap_or_else(|| fail("image")(error))),
            Err(panic) => Err(judge(&panic).unwrap_or_else(|| Error::Encoder { encoder: "image", source: panic.into() })),
        }
    }

    /// Embeds pictures whose inputs have one size, all at once, by a plan for `capacity` of them. What a smaller batch leaves empty is
    /// computed in vain: with one plan for any number, a picture's numbers do not hang on how many stood beside it.
    fn run(&self, inputs: &[&Input], capacity: usize) -> Result<Vec<PatchGrid>> {
        let Some(first) = inputs.first() else { return Ok(Vec::new()) };
        let capacity = capacity.max(inputs.len());
        let shape = Shape::of(first, capacity);
        let (tokens, cols) = (shape.rows * shape.cols, shape.cols);
        let prepared = self.plan(shape)?;
        let mut pixels = Vec::with_capacity(capacity * first.pixels.len());
        inputs.iter().for_each(|input| pixels.extend_from_slice(&input.pixels));
        pixels.resize(capacity * first.pixels.len(), 0.0);
        let pixels = self.pixels(pixels, capacity, first)?;
        let outputs = self.guarded(|| {
            let outputs = prepared.plan.run(tvec!(pixels))?;
            outputs.iter().map(|output| Ok(output.cast_to::<f32>()?.into_owned().into_tvalue())).collect::<TractResult<TVec<_>>>()
        })?;
        let patches = floats(&outputs, 0, &[capacity, tokens, self.dim])?;
        let global = floats(&outputs, 1, &[capacity, self.dim])?;
        let each = patches.chunks(tokens * self.dim).zip(global.chunks(self.dim)).zip(inputs);
        each.map(|((patches, global), input)| {
            let (covered_rows, covered_cols) = input.placement.covered();
            let patches = crop(patches.to_vec(), cols, covered_rows, covered_cols, self.dim);
            PatchGrid::new(covered_rows, covered_cols, self.dim, patches, global.to_vec())
        })
        .collect()
    }
}

impl Shape {
    fn of(input: &Input, pictures: usize) -> Self {
        let (rows, cols) = input.placement.grid();
        Self { pictures, rows, cols, patch_px: input.placement.patch_px as usize }
    }
}

impl Encoder for GraphEncoder {
    fn backend(&self) -> &'static str {
        self.backend
    }

    fn plan_for(&self, input: &Input, capacity: usize) -> Result<()> {
        self.plan(Shape::of(input, capacity)).map(drop)
    }

    fn has_plan(&self, input: &Input, capacity: usize) -> bool {
        self.plans.lock().contains_key(&Shape::of(input, capacity))
    }

    fn encode(&self, input: &Input) -> Result<PatchGrid> {
        self.run(&[input], 1)?.pop().ok_or_else(|| fail("image")(TractError::msg("no output")))
    }

    fn encode_all(&self, inputs: &[&Input], capacity: usize) -> Result<Vec<PatchGrid>> {
        Self::encode_all(self, inputs, capacity)
    }

    #[cfg(feature = "_cuda")]
    fn masks(&self, input: &Input, request: &MaskRequest<'_>) -> Result<Option<Masks>> {
        self.masks.as_ref().map(|masker| self.masks_on_device(masker, input, request)).transpose()
    }

    fn unsupported_ops(&self) -> Vec<String> {
        Self::unsupported_ops(self)
    }

    fn release(&self) {
        self.plans.lock().clear();
        #[cfg(feature = "_cuda")]
        self.masks.iter().for_each(masker::Masker::release);
    }
}

/// Writes `1 + erf(x/√2)` as `1 − erf(−x/√2)`, which is the same: the engine makes one operator of the first that its GPU has no kernel for,
/// and each block would be sent to the processor and back.
fn unfuse_gelu(onnx: &mut ModelProto) {
    const ROOT: &str = "minus the root of a half";
    let Some(graph) = &mut onnx.graph else { return };
    let taken: Vec<(String, String)> =
        graph.node.iter().filter(|node| node.op_type == "Erf").map(|node| (node.input[0].clone(), node.output[0].clone())).collect();
    let constants: HashSet<String> = graph.initializer.iter().map(|constant| constant.name.clone()).collect();
    for node in &mut graph.node {
        if node.op_type == "Mul" && taken.iter().any(|(scaled, _)| node.output[0] == *scaled) {
            node.input.iter_mut().filter(|input| constants.contains(*input)).for_each(|input| *input = ROOT.into());
        } else if node.op_type == "Add" && taken.iter().any(|(_, erf)| node.input.contains(erf)) {
            node.op_type = "Sub".into();
            // The constant first.
            node.input.sort_by_key(|input| !constants.contains(input));
        }
    }
    if !taken.is_empty() {
        graph.initializer.push(TensorProto {
            name: ROOT.into(),
            data_type: DataType::Float as i32,
            raw_data: (-std::f32::consts::FRAC_1_SQRT_2).to_le_bytes().into(),
            ..TensorProto::default()
        });
    }
}

/// Lets a graph that is written for one picture take several: reshapes keep the first dimension in place of making it 1, and a
/// constant that is joined to each picture's tokens is there as often.
fn widen(onnx: &mut ModelProto, pictures: usize) {
    let Some(graph) = &mut onnx.graph else { return };
    let targets: Vec<String> =
        graph.node.iter().filter(|node| node.op_type == "Reshape").filter_map(|node| node.input.get(1).cloned()).collect();
    // A shape put together from parts begins with a 1 that others may use as well.
    const KEPT: &str = "first dimension kept";
    let one = |constant: &&TensorProto| constant.data_type == DataType::Int64 as i32 && constant.raw_data == 1i64.to_le_bytes();
    let ones: HashSet<String> = graph.initializer.iter().filter(one).map(|constant| constant.name.clone()).collect();
    let (mut joined, mut put_together) = (Vec::new(), false);
    for node in graph.node.iter_mut().filter(|node| node.op_type == "Concat") {
        if node.output.iter().any(|output| targets.contains(output)) {
            if ones.contains(&node.input[0]) {
                node.input[0] = KEPT.into();
                put_together = true;
            }
        } else {
            joined.extend(node.input.iter().cloned());
        }
    }
    for constant in &mut graph.initializer {
        if targets.contains(&constant.name) && constant.raw_data.starts_with(&1i64.to_le_bytes()) {
            constant.raw_data[0] = 0;
        } else if joined.contains(&constant.name) && constant.dims.first() == Some(&1) && constant.data_type == DataType::Float as i32 {
            constant.dims[0] = pictures as i64;
            constant.raw_data = constant.raw_data.repeat(pictures);
        }
    }
    if put_together {
        graph.initializer.push(TensorProto {
            name: KEPT.into(),
            dims: vec![1],
            data_type: DataType::Int64 as i32,
            raw_data: (pictures as i64).to_le_bytes().into(),
            ..TensorProto::default()
        });
    }
}

/// Operators of a GPU's plan that it leaves to the processor, with their names: what they give does not lie on the device.
fn outside(plan: &TypedModel) -> Vec<String> {
    let stays = |node: &&TypedNode| {
        !matches!(&*node.op.name(), "Source" | "Const" | "DeviceSyncToHost")
            && node.outputs.iter().all(|output| output.fact.exotic_fact.is_none())
    };
    plan.nodes().iter().filter(stays).map(|node| format!("{} ({})", node.name, node.op.name())).collect()
}

#[cfg(test)]
mod tests;
