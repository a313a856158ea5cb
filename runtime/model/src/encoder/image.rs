//! The image encoder on the processor.

use std::collections::HashMap;
use std::sync::Arc;

use edge_seg_bundle::{Bundle, Positions};
use edge_seg_kernels::kernels;
use parking_lot::Mutex;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::plan::eval;
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::format_err;

use super::backend::{Encoder, Stop};
use super::parse::{Plan, guarded, parse, plan};
use super::positions::resample;
use super::tensors::{MAX_PLANS, crop, fail, floats};
use super::threads::Threads;
use crate::input::Input;
use crate::{Error, PatchGrid, Result};

/// Turns prepared pictures into patch embeddings.
pub struct ImageEncoder {
    model: InferenceModel,
    place: String,
    layout: Positions,
    positions: Vec<f32>, // [1 + rows · cols, width]
    dim: usize,
    fixed: Option<[usize; 2]>, // height and width, where the graph takes no others
    half: bool,
    plans: Mutex<HashMap<(usize, usize), SizedPlan>>,
    threads: Threads,
}

/// A plan is made for one grid; pictures of a camera or an album share a few.
#[derive(Debug, Clone)]
struct SizedPlan {
    plan: Plan,
    positions: Arc<Tensor>,
}

impl std::fmt::Debug for ImageEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageEncoder").field("dim", &self.dim).field("half", &self.half).finish_non_exhaustive()
    }
}

impl ImageEncoder {
    /// Loads the encoder of a bundle.
    ///
    /// # Errors
    /// [`Error::Encoder`] if the engine refuses the ONNX file, [`Error::Bundle`] if the position embeddings do not fit.
    pub fn load(bundle: &Bundle, threads: Threads) -> Result<Self> {
        Self::load_in(bundle, threads, false)
    }

    /// As [`load`](Self::load), to compute products of floats in 16 bits; products of integers, attention and norms stay what they are.
    ///
    /// # Errors
    /// As [`load`](Self::load), and [`Error::Option`] if the processor or the kernels in use have no 16-bit floats.
    pub fn load_half(bundle: &Bundle, threads: Threads) -> Result<Self> {
        let set = kernels();
        if !set.has_f16() {
            let expected = "a processor that computes in 16-bit floats (Arm's `fp16`: Raspberry Pi 5, Jetson Orin), or device cuda";
            let found = format!("one without them (kernels {})", set.name());
            return Err(Error::Option { option: "half".into(), expected: expected.into(), found });
        }
        Self::load_in(bundle, threads, true)
    }

    fn load_in(bundle: &Bundle, threads: Threads, half: bool) -> Result<Self> {
        let manifest = bundle.manifest();
        let layout = manifest.image.positions.clone();
        let positions = bundle.floats(&layout.blob, (1 + layout.rows * layout.cols) * layout.width)?;
        let model = parse("image", bundle, &manifest.image.blob, &["pixels", "positions"], half)?;
        let declared = model
            .input_fact(0)
            .map_err(fail("image"))?
            .shape
            .dims()
            .map(|dim| dim.concretize().and_then(|dim| usize::try_from(dim.to_i64().ok()?).ok()));
        let fixed = declared.skip(2).collect::<Option<Vec<usize>>>().and_then(|sides| <[usize; 2]>::try_from(sides).ok());
        Ok(Self {
            model,
            place: bundle.place().into(),
            layout,
            positions,
            dim: manifest.embedding_dim,
            fixed,
            half,
            plans: Mutex::default(),
            threads,
        })
    }

    /// Makes the plan for an input's size ahead of encoding it; later inputs of that size need none.
    ///
    /// # Errors
    /// [`Error::Encoder`] if the engine refuses the size.
    pub fn plan_for(&self, input: &Input) -> Result<()> {
        let (rows, cols) = input.placement.grid();
        self.plan(rows, cols, input.placement.patch_px as usize).map(drop)
    }

    /// Embeds a picture: a unit-norm row for every patch that shows any of it, and one for the whole.
    ///
    /// # Errors
    /// [`Error::Encoder`] if the engine fails, [`Error::Tensor`] if it answers with another shape or with NaN.
    pub fn encode(&self, input: &Input) -> Result<PatchGrid> {
        self.encode_until(input, &|| false)?.ok_or_else(|| fail("image")(format_err!("stopped, and nobody asked for it")))
    }

    /// As [`encode`](Self::encode), unless `stop` says so meanwhile, which is asked before each layer; then none.
    fn encode_until(&self, input: &Input, stop: Stop<'_>) -> Result<Option<PatchGrid>> {
        let (rows, cols) = input.placement.grid();
        let plan = self.plan(rows, cols, input.placement.patch_px as usize)?;
        let shape = [1, 3, input.placement.input_px.1 as usize, input.placement.input_px.0 as usize];
        let pixels = Tensor::from_shape(&shape, &input.pixels).map_err(fail("image"))?;
        let inputs = tvec!(pixels.into_tvalue(), TValue::from_const(plan.positions.clone()));
        let run = || self.threads.run_plan(|| run_until(&plan.plan, inputs, stop))?;
        let Some(outputs) = guarded("image", &self.place, run)? else { return Ok(None) };
        let patches = floats(&outputs, 0, &[1, rows * cols, self.dim])?;
        let global = floats(&outputs, 1, &[1, self.dim])?;
        let (covered_rows, covered_cols) = input.placement.covered();
        let patches = crop(patches, cols, covered_rows, covered_cols, self.dim);
        PatchGrid::new(covered_rows, covered_cols, self.dim, patches, global).map(Some)
    }

    fn plan(&self, rows: usize, cols: usize, patch_px: usize) -> Result<SizedPlan> {
        let mut plans = self.plans.lock();
        if let Some(plan) = plans.get(&(rows, cols)) {
            return Ok(plan.clone());
        }
        let (height, width) = (rows * patch_px, cols * patch_px);
        if let Some(fixed) = self.fixed.filter(|fixed| *fixed != [height, width]) {
            let [fixed_height, fixed_width] = fixed;
            let expected = format!("{fixed_width} x {fixed_height} pixels, the only input that this model's graph takes");
            return Err(Error::Option { option: "size_px".into(), expected, found: format!("{width} x {height}") });
        }
        let pixels = f32::fact([1, 3, height, width]);
        let positions = f32::fact([1, 1 + rows * cols, self.layout.width]);
        let plan = guarded("image", &self.place, || plan(&self.model, [pixels, positions], &SymbolValues::default()))?;
        let resampled = resample(&self.positions, &self.layout, rows, cols);
        let positions = Tensor::from_shape(&[1, 1 + rows * cols, self.layout.width], &resampled).map_err(fail("image"))?;
        if plans.len() >= MAX_PLANS {
            plans.clear();
        }
        let plan = SizedPlan { plan, positions: Arc::new(positions) };
        plans.insert((rows, cols), plan.clone());
        Ok(plan)
    }
}

/// Runs a plan layer by layer; none if it was stopped between two.
fn run_until(plan: &Plan, inputs: TVec<TValue>, stop: Stop<'_>) -> TractResult<Option<TVec<TValue>>> {
    let mut stopped = false;
    let outcome = plan.spawn()?.run_plan_with_eval(inputs, |context, state, node, inputs| {
        stopped = stop();
        if stopped { Err(format_err!("stopped")) } else { eval(context, state, node, inputs) }
    });
    if stopped { Ok(None) } else { outcome.map(Some) }
}

impl Encoder for ImageEncoder {
    fn backend(&self) -> &'static str {
        if self.half { "tract-cpu-f16" } else { "tract-cpu" }
    }

    fn plan_for(&self, input: &Input, _room: usize) -> Result<()> {
        ImageEncoder::plan_for(self, input)
    }

    fn encode(&self, input: &Input) -> Result<PatchGrid> {
        ImageEncoder::encode(self, input)
    }

    fn encode_until(&self, input: &Input, stop: Stop<'_>) -> Result<Option<PatchGrid>> {
        ImageEncoder::encode_until(self, input, stop)
    }
}
