//! The image encoder as one of the engine's other runtimes takes it: the plain ONNX graph, whole, without this crate's own layers,
//! which run on the processor only.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::floats::FloatPrecisionTranslator;
use tract_onnx::tract_core::transform::ModelTransform;

#[cfg(feature = "_cuda")]
use tract_cuda as _;

use super::{Encoder, MAX_PLANS, crop, fail, floats};
use crate::bundle::{Bundle, Positions};
use crate::device::{DeviceFault, unusable};
use crate::positions::resample;
use crate::prepare::Input;
use crate::{Error, PatchGrid, Result};

/// What runs the encoder, as reports name it.
pub(crate) const BACKEND: &str = "tract-cuda";
const RUNTIME: &str = "cuda";

/// Looks for what the GPU needs to run: the driver, the GPU and the libraries, opened by name.
pub(crate) fn probe() -> Result<()> {
    // A library that answers in an unforeseen way makes the binding panic.
    match quietly(|| runtime_for_name(RUNTIME)) {
        Ok(Ok(Some(_))) => Ok(()),
        Ok(Ok(None)) => Err(unusable(
            "this program was built without support for it",
            "build it with `--features cuda` (CUDA 13.0), cuda-12060 or cuda-12020",
        )),
        Ok(Err(error)) => {
            let found = format!("{error:#}");
            let fix = fix_for(&found);
            Err(unusable(one_line(&found), fix))
        }
        Err(panic) => {
            let fix = fix_for(&panic);
            Err(unusable(panic, fix))
        }
    }
}

/// The image encoder on a GPU. Plans are kept per grid, batch included.
#[derive(Debug)]
pub(crate) struct GraphEncoder {
    onnx: ModelProto,
    layout: Positions,
    positions: Vec<f32>, // [1 + rows · cols, width]
    dim: usize,
    half: bool,
    runtime: &'static dyn Runtime,
    backend: &'static str,
    plans: Mutex<HashMap<Shape, Prepared>>,
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
    positions: Arc<Tensor>,
}

impl GraphEncoder {
    /// Loads the encoder of a bundle for the GPU. With `half` everything but norms and softmax is
    /// done in 16-bit floats.
    ///
    /// # Errors
    /// [`Error::Device`] if no GPU can be used, otherwise as the processor's encoder.
    pub(crate) fn on_gpu(bundle: &Bundle, half: bool) -> Result<Self> {
        probe()?;
        Self::load(bundle, half, RUNTIME, BACKEND)
    }

    fn load(bundle: &Bundle, half: bool, runtime: &str, backend: &'static str) -> Result<Self> {
        let runtime =
            runtime_for_name(runtime).map_err(fail("image"))?.ok_or_else(|| unusable("no such runtime", "build with its feature"))?;
        let manifest = bundle.manifest();
        let layout = manifest.image.positions.clone();
        let positions = bundle.floats(&layout.blob, (1 + layout.rows * layout.cols) * layout.width)?;
        let onnx = tract_onnx::onnx().proto_model_for_read(&mut &*bundle.blob(&manifest.image.blob)?).map_err(fail("image"))?;
        Ok(Self { onnx, layout, positions, dim: manifest.embedding_dim, half, runtime, backend, plans: Mutex::default() })
    }

    /// The graph for one shape, before a runtime takes it. Inputs: pixels `[pictures, 3, height, width]`, positions
    /// `[1, 1 + patches, width]`; outputs: `[pictures, patches, dim]`, `[pictures, dim]`.
    fn graph(&self, shape: Shape) -> TractResult<TypedModel> {
        let Shape { pictures, rows, cols, patch_px } = shape;
        let pixels = f32::fact([pictures, 3, rows * patch_px, cols * patch_px]);
        let positions = f32::fact([1, 1 + rows * cols, self.layout.width]);
        let mut onnx = self.onnx.clone();
        if pictures > 1 {
            widen(&mut onnx, pictures);
        }
        let model = tract_onnx::onnx().with_ignore_output_shapes(true).model_for_proto_model(&onnx)?;
        let mut model = model.with_input_fact(0, pixels.into())?.with_input_fact(1, positions.into())?.into_typed()?.into_decluttered()?;
        if self.half {
            let narrow = |node: &TypedNode| !["norm", "softmax"].iter().any(|wide| node.name.contains(wide));
            FloatPrecisionTranslator::with_filter(f32::datum_type(), f16::datum_type(), narrow).transform(&mut model)?;
            model = model.into_decluttered()?;
        }
        Ok(model)
    }

    /// What a GPU would leave to the processor of a bundle's encoder, at its own size.
    #[cfg(feature = "_cuda")]
    pub(crate) fn left_on_processor(bundle: &Bundle) -> Result<Vec<String>> {
        let encoder = Self::load(bundle, false, "cpu", BACKEND)?;
        let image = &bundle.manifest().image;
        let side = image.input_px / image.patch_px;
        let graph = encoder.graph(Shape { pictures: 1, rows: side, cols: side, patch_px: image.patch_px });
        graph.and_then(left_on_processor).map_err(fail("image"))
    }

    fn plan(&self, shape: Shape) -> Result<Prepared> {
        let mut plans = self.plans.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(plan) = plans.get(&shape) {
            return Ok(plan.clone());
        }
        let plan = self.guarded(|| self.runtime.prepare(self.graph(shape)?))?;
        let resampled = resample(&self.positions, &self.layout, shape.rows, shape.cols);
        let positions = Tensor::from_shape(&[1, 1 + shape.rows * shape.cols, self.layout.width], &resampled).map_err(fail("image"))?;
        if plans.len() >= MAX_PLANS {
            plans.clear();
        }
        let prepared = Prepared { plan: plan.into(), positions: self.narrowed(positions)?.into() };
        plans.insert(shape, prepared.clone());
        Ok(prepared)
    }

    fn narrowed(&self, tensor: Tensor) -> Result<Tensor> {
        match self.half {
            true => tensor.cast_to::<f16>().map(|narrow| narrow.into_owned()).map_err(fail("image")),
            false => Ok(tensor),
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

    /// Embeds pictures whose inputs have one size, all at once.
    fn run(&self, inputs: &[&Input]) -> Result<Vec<PatchGrid>> {
        let Some(first) = inputs.first() else { return Ok(Vec::new()) };
        let ((rows, cols), (width, height)) = (first.placement.grid(), first.placement.input_px);
        let (count, tokens) = (inputs.len(), rows * cols);
        let prepared = self.plan(Shape { pictures: count, rows, cols, patch_px: first.placement.patch_px as usize })?;
        let pixels = inputs.iter().flat_map(|input| &input.pixels).copied().collect::<Vec<f32>>();
        let pixels = Tensor::from_shape(&[count, 3, height as usize, width as usize], &pixels).map_err(fail("image"))?;
        let inputs_of_plan = tvec!(self.narrowed(pixels)?.into_tvalue(), TValue::from_const(prepared.positions.clone()));
        let outputs = self.guarded(|| {
            let outputs = prepared.plan.run(inputs_of_plan)?;
            outputs.iter().map(|output| Ok(output.cast_to::<f32>()?.into_owned().into_tvalue())).collect::<TractResult<TVec<_>>>()
        })?;
        let patches = floats(&outputs, 0, &[count, tokens, self.dim])?;
        let global = floats(&outputs, 1, &[count, self.dim])?;
        let each = patches.chunks(tokens * self.dim).zip(global.chunks(self.dim)).zip(inputs);
        each.map(|((patches, global), input)| {
            let (covered_rows, covered_cols) = input.placement.covered();
            let patches = crop(patches.to_vec(), cols, covered_rows, covered_cols, self.dim);
            PatchGrid::new(covered_rows, covered_cols, self.dim, patches, global.to_vec())
        })
        .collect()
    }
}

impl Encoder for GraphEncoder {
    fn backend(&self) -> &'static str {
        self.backend
    }

    fn plan_for(&self, input: &Input) -> Result<()> {
        let (rows, cols) = input.placement.grid();
        self.plan(Shape { pictures: 1, rows, cols, patch_px: input.placement.patch_px as usize }).map(drop)
    }

    fn encode(&self, input: &Input) -> Result<PatchGrid> {
        self.run(&[input])?.pop().ok_or_else(|| fail("image")(TractError::msg("no output")))
    }

    fn encode_all(&self, inputs: &[&Input]) -> Result<Vec<PatchGrid>> {
        let same = |a: &Input, b: &Input| a.placement.input_px == b.placement.input_px && a.placement.grid() == b.placement.grid();
        let mut grids = Vec::with_capacity(inputs.len());
        for pictures in inputs.chunk_by(|a, b| same(a, b)).flat_map(|alike| alike.chunks(MAX_PICTURES)) {
            grids.extend(self.run(pictures)?);
        }
        Ok(grids)
    }

    fn release(&self) {
        self.plans.lock().unwrap_or_else(|e| e.into_inner()).clear();
    }
}

/// Lets a graph that is written for one picture take several: reshapes keep the first dimension in place of making it 1, and a
/// constant that is joined to each picture's tokens is there as often.
fn widen(onnx: &mut ModelProto, pictures: usize) {
    let Some(graph) = &mut onnx.graph else { return };
    let inputs_of = |operator: &str| -> Vec<String> {
        graph.node.iter().filter(|node| node.op_type == operator).flat_map(|node| node.input.iter().cloned()).collect()
    };
    let (reshapes, joined) = (inputs_of("Reshape"), inputs_of("Concat"));
    for constant in &mut graph.initializer {
        if reshapes.contains(&constant.name) && constant.raw_data.starts_with(&1i64.to_le_bytes()) {
            constant.raw_data[0] = 0;
        } else if joined.contains(&constant.name) && constant.dims.first() == Some(&1) {
            constant.dims[0] = pictures as i64;
            constant.raw_data = constant.raw_data.repeat(pictures);
        }
    }
}

/// A batch beyond this gains little, and its memory is taken at once.
const MAX_PICTURES: usize = 32;

/// Runs `work`; a panic in it becomes its message.
fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        one_line(text.unwrap_or("the binding gave up without a reason"))
    })
}

/// What a failing device's message means; none if it is not the device that failed.
fn judge(found: &str) -> Option<Error> {
    let has = |marks: &[&str]| marks.iter().any(|mark| found.contains(mark));
    let error = |fault, fix: &str| Some(Error::Device { device: "cuda", fault, found: one_line(found), fix: fix.into() });
    if has(&["OUT_OF_MEMORY", "ALLOC_FAILED", "cudaErrorMemoryAllocation"]) {
        return error(
            DeviceFault::Memory,
            "end other programs that use the GPU (nvidia-smi, or tegrastats on a Jetson), or take a smaller --size",
        );
    }
    if has(&["CUDA_ERROR_", "CUBLAS_STATUS_", "CUDNN_STATUS_", "cudaError", "CUDA context", "Cuda Stream"]) {
        return error(DeviceFault::Lost, "read dmesg for NVRM or Xid lines, then start the program again");
    }
    None
}

/// What mends a GPU that the engine refuses, by the first thing that it misses.
fn fix_for(found: &str) -> String {
    let cures = [
        (
            "driver library not found",
            "install NVIDIA's driver (on a Jetson: nvidia-l4t-cuda, part of JetPack); in a container, start it with --gpus all or --runtime nvidia",
        ),
        ("driver too old", "install a newer driver or JetPack, or a build of this program for the CUDA release that the driver has"),
        (
            "cuInit returned",
            "check that nvidia-smi (on a Jetson: /dev/nvhost-gpu) shows a GPU to this user; on a Jetson, add the user to group video",
        ),
        ("cudart", "install libcudart (package cuda-cudart-N-M)"),
        ("nvrtc", "install libnvrtc (package cuda-nvrtc-N-M)"),
        ("cublas", "install libcublas (package libcublas-N-M)"),
        ("cudnn", "install cuDNN 9 (package libcudnn9-cuda-N)"),
    ];
    cures.iter().find(|(mark, _)| found.contains(mark)).map_or("reinstall NVIDIA's driver and CUDA libraries", |(_, cure)| cure).into()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Operators of the graph that the GPU has no kernel for: each would be computed on the processor, with a copy there and back. Names
/// with their operators, in the graph's order.
///
/// This asks the engine's own translation node by node, so it needs no GPU.
#[cfg(feature = "_cuda")]
fn left_on_processor(mut model: TypedModel) -> TractResult<Vec<String>> {
    use tract_onnx::tract_core::model::translator::Translate;
    use tract_onnx::tract_core::ops::einsum::prefix_matmul::rewrite_einsum_to_prefix_matmul;
    use tract_onnx::tract_core::ops::konst::Const;
    use tract_onnx::tract_core::ops::source::TypedSource;

    rewrite_einsum_to_prefix_matmul(&mut model, false)?;
    let mut left = Vec::new();
    for id in model.eval_order()? {
        let node = model.node(id);
        if node.op_is::<TypedSource>() || node.op_is::<Const>() {
            continue;
        }
        // The node alone between sources: constants behind it would have to be uploaded.
        let (mut alone, mut target, mut mapping) = (TypedModel::default(), TypedModel::default(), HashMap::new());
        let mut inputs = tvec!();
        for (slot, outlet) in node.inputs.iter().enumerate() {
            let fact = model.outlet_fact(*outlet)?;
            let fact = TypedFact::dt_shape(fact.datum_type, fact.shape.clone());
            let input = alone.add_source(format!("input-{slot}"), fact.clone())?;
            mapping.insert(input, target.add_source(format!("input-{slot}"), fact)?);
            inputs.push(input);
        }
        let wired = alone.wire_node(&node.name, node.op.clone(), &inputs)?[0].node;
        tract_cuda::CudaTransform.translate_node(&alone, alone.node(wired), &mut target, &mapping)?;
        if target.nodes().iter().any(|made| made.op.name() == node.op.name()) {
            left.push(format!("{} ({})", node.name, node.op.name()));
        }
    }
    Ok(left)
}

#[cfg(test)]
#[path = "cuda_tests.rs"]
mod tests;
