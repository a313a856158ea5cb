//! The two encoders, run by tract. No other module names it.

mod constants;
mod cost;
mod cuda;
mod embedding;
mod fallback;
mod floats;
mod fuse;
mod gather;
mod layers;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use edge_seg_kernels::kernels;
use tract_onnx::prelude::*;

use crate::bundle::{Bundle, Positions};
use crate::device::{self, Choice, Device};
use crate::pipeline::{Options, Timings};
use crate::positions::resample;
use crate::prepare::Input;
use crate::score::{Background, Scoring};
use crate::{Error, LabelMap, PatchGrid, Result, ScoreGrid, TagBank};

pub use cost::{Multiplications, multiplications};
pub use cuda::GraphEncoder;
pub(crate) use cuda::{open as open_cuda, probe as probe_cuda};

/// What is wanted of a picture beside its embeddings.
#[cfg_attr(not(feature = "_cuda"), allow(dead_code))]
pub(crate) struct Wanted<'a> {
    pub bank: &'a TagBank,
    pub scoring: Scoring,
    pub background: Background,
    pub labels: bool,
}

/// A picture's scores, and its labels if they were wanted, with the time of each step.
#[cfg_attr(not(feature = "_cuda"), allow(dead_code))]
pub(crate) struct Masks {
    pub scores: ScoreGrid,
    pub labels: Option<LabelMap>,
    pub timings: Timings,
}

/// Turns prepared pictures into patch embeddings, somewhere.
pub(crate) trait Encoder: std::fmt::Debug + Send + Sync {
    /// What runs it, as reports name it.
    fn backend(&self) -> &'static str;
    /// Makes the plan for an input's size ahead of encoding it, with room for so many pictures.
    fn plan_for(&self, input: &Input, room: usize) -> Result<()>;
    /// Whether that plan is there.
    fn has_plan(&self, _input: &Input, _room: usize) -> bool {
        false
    }
    /// Embeds a picture.
    fn encode(&self, input: &Input) -> Result<PatchGrid>;
    /// Embeds several pictures, neighbours of one size together where that is faster, by plans with room for so many.
    fn encode_all(&self, inputs: &[&Input], _room: usize) -> Result<Vec<PatchGrid>> {
        inputs.iter().map(|input| self.encode(input)).collect()
    }
    /// Embeds a picture and scores it where it was embedded, and draws its labels there if they are wanted; none if that is not this
    /// encoder's to do.
    fn masks(&self, _input: &Input, _wanted: &Wanted<'_>) -> Result<Option<Masks>> {
        Ok(None)
    }
    /// What of the plans made so far is computed elsewhere than they were made for, by name.
    fn left_on_processor(&self) -> Vec<String> {
        Vec::new()
    }
    /// Gives back the memory of what is kept for speed.
    fn release(&self) {}
}

/// Loads a bundle's image encoder where the options want it, and says where that is and why. Where that was left open, 16-bit floats are
/// taken if they are there.
///
/// # Errors
/// As [`ImageEncoder::load_half`], and [`Error::Device`] if a GPU is asked for and cannot be used.
pub(crate) fn load(bundle: &Bundle, options: &Options, threads: Threads) -> Result<(Box<dyn Encoder>, Choice)> {
    let only_on_gpu = |option: &str, asked: bool| match asked && options.device == Device::Cpu {
        true => Err(Error::Option { option: option.into(), expected: "--device cuda or auto".into(), found: "--device cpu".into() }),
        false => Ok(()),
    };
    only_on_gpu("--gpu-masks", options.gpu_masks)?;
    only_on_gpu("--batch", options.batch.is_some_and(|pictures| pictures > 1))?;
    let pictures = options.batch.unwrap_or(1);
    if !(1..=MAX_PICTURES).contains(&pictures) {
        let expected = format!("1 to {MAX_PICTURES} pictures");
        return Err(Error::Option { option: "--batch".into(), expected, found: pictures.to_string() });
    }
    let mut choice = device::choose(options.device)?;
    if choice.device == Device::Cpu {
        let auto = options.device == Device::Auto;
        if options.half && (!auto || kernels().has_f16()) {
            return Ok((Box::new(ImageEncoder::load_half(bundle, threads)?), choice));
        }
        if options.half {
            choice.why += "; it computes in 32-bit floats, having no others";
        }
        return Ok((Box::new(ImageEncoder::load(bundle, threads)?), choice));
    }
    let gpu = GraphEncoder::with_masks(bundle, options)?;
    let gpu = Box::new(gather::Gathered::new(Arc::new(gpu), pictures));
    let spare = options.take_over.clone().map(|take_over| {
        let (bundle, threads) = (bundle.clone(), threads.clone());
        let spare: fallback::Spare = Box::new(move || Ok(Box::new(ImageEncoder::load(&bundle, threads.clone())?)));
        (spare, take_over)
    });
    Ok((Box::new(fallback::Guarded::new(gpu, spare)), choice))
}

/// A batch beyond this gains little, and its memory is taken at once.
const MAX_PICTURES: usize = 64;

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
}

type Plan = Arc<TypedRunnableModel>;

/// Threads for the matrix products inside the encoders.
#[derive(Debug, Clone)]
pub struct Threads(multithread::Executor);

impl Threads {
    /// A pool of `count` threads; one means that the calling thread does the work.
    pub fn new(count: usize) -> Self {
        Self(if count > 1 { multithread::Executor::multithread(count) } else { multithread::Executor::SingleThread })
    }

    /// Does the work on one of the threads: each of its products would wake one otherwise.
    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let scope = || multithread::multithread_tract_scope(self.0.clone(), work);
        match &self.0 {
            multithread::Executor::MultiThread(pool) => pool.install(scope),
            _ => scope(),
        }
    }
}

/// Turns prepared pictures into patch embeddings.
#[derive(Debug)]
pub struct ImageEncoder {
    model: InferenceModel,
    layout: Positions,
    positions: Vec<f32>, // [1 + rows · cols, width]
    dim: usize,
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

/// An album of panoramas must not fill the memory with plans.
const MAX_PLANS: usize = 8;

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
            let expected = "a processor that computes in 16-bit floats (Arm's `fp16`: Raspberry Pi 5, Jetson Orin), or --device cuda";
            let found = format!("one without them (kernels {})", set.name());
            return Err(Error::Option { option: "--half".into(), expected: expected.into(), found });
        }
        Self::load_in(bundle, threads, true)
    }

    fn load_in(bundle: &Bundle, threads: Threads, half: bool) -> Result<Self> {
        let manifest = bundle.manifest();
        let layout = manifest.image.positions.clone();
        let positions = bundle.floats(&layout.blob, (1 + layout.rows * layout.cols) * layout.width)?;
        let model = parse("image", bundle, &manifest.image.blob, half)?;
        Ok(Self { model, layout, positions, dim: manifest.embedding_dim, half, plans: Mutex::default(), threads })
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
        let (rows, cols) = input.placement.grid();
        let plan = self.plan(rows, cols, input.placement.patch_px as usize)?;
        let shape = [1, 3, input.placement.input_px.1 as usize, input.placement.input_px.0 as usize];
        let pixels = Tensor::from_shape(&shape, &input.pixels).map_err(fail("image"))?;
        let inputs = tvec!(pixels.into_tvalue(), TValue::from_const(plan.positions.clone()));
        let outputs = self.threads.run(|| plan.plan.run(inputs)).map_err(fail("image"))?;
        let patches = floats(&outputs, 0, &[1, rows * cols, self.dim])?;
        let global = floats(&outputs, 1, &[1, self.dim])?;
        let (covered_rows, covered_cols) = input.placement.covered();
        let patches = crop(patches, cols, covered_rows, covered_cols, self.dim);
        PatchGrid::new(covered_rows, covered_cols, self.dim, patches, global)
    }

    fn plan(&self, rows: usize, cols: usize, patch_px: usize) -> Result<SizedPlan> {
        let mut plans = self.plans.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(plan) = plans.get(&(rows, cols)) {
            return Ok(plan.clone());
        }
        let pixels = f32::fact([1, 3, rows * patch_px, cols * patch_px]);
        let positions = f32::fact([1, 1 + rows * cols, self.layout.width]);
        let plan = self
            .model
            .clone()
            .with_input_fact(0, pixels.into())
            .and_then(|model| model.with_input_fact(1, positions.into()))
            .and_then(|model| model.into_optimized()?.into_runnable())
            .map_err(fail("image"))?;
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
    /// [`Error::Encoder`] if the engine refuses the ONNX file.
    pub fn load(bundle: &Bundle) -> Result<Self> {
        let manifest = bundle.manifest();
        let model = parse("text", bundle, &manifest.text.blob, false)?;
        let tokens = model.symbols.sym("tokens");
        let fact = i64::fact(&[1.to_dim(), tokens.into()]);
        let plan = model
            .with_input_fact(0, fact.clone().into())
            .and_then(|model| model.with_input_fact(1, fact.into()))
            .and_then(|model| model.into_optimized()?.into_runnable())
            .map_err(fail("text"))?;
        Ok(Self { plan, dim: manifest.embedding_dim })
    }

    /// Embeds one sequence of tokens, special tokens included. `[dim]`, not normalised
    ///
    /// # Errors
    /// [`Error::Encoder`] if the engine fails, [`Error::Tensor`] if it answers with another shape.
    pub fn encode(&self, tokens: &[i64]) -> Result<Vec<f32>> {
        let ids = Tensor::from_shape(&[1, tokens.len()], tokens).map_err(fail("text"))?;
        let mask = Tensor::from_shape(&[1, tokens.len()], &vec![1i64; tokens.len()]).map_err(fail("text"))?;
        let outputs = self.plan.run(tvec!(ids.into_tvalue(), mask.into_tvalue())).map_err(fail("text"))?;
        floats(&outputs, 0, &[1, self.dim])
    }
}

fn parse(encoder: &'static str, bundle: &Bundle, blob: &str, half: bool) -> Result<InferenceModel> {
    let engine = layers::engine();
    bundle.with_part(blob, |onnx| {
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

fn fail(encoder: &'static str) -> impl FnOnce(TractError) -> Error {
    move |e| Error::Encoder { encoder, source: format!("{e:#}").into() }
}

fn floats(outputs: &[TValue], index: usize, shape: &[usize]) -> Result<Vec<f32>> {
    let wrong = |found: String| Error::Tensor { what: format!("encoder output {index}"), expected: format!("f32 {shape:?}"), found };
    let tensor = outputs.get(index).ok_or_else(|| wrong(format!("{} outputs", outputs.len())))?;
    if tensor.shape() != shape {
        return Err(wrong(format!("{:?} {:?}", tensor.datum_type(), tensor.shape())));
    }
    let view = tensor.to_plain_array_view::<f32>().map_err(|e| wrong(format!("{e:#}")))?;
    Ok(view.iter().copied().collect())
}

/// Keeps the top left part of a grid of rows of `dim` numbers.
fn crop(mut patches: Vec<f32>, cols: usize, keep_rows: usize, keep_cols: usize, dim: usize) -> Vec<f32> {
    if keep_cols < cols {
        for row in 0..keep_rows {
            patches.copy_within(row * cols * dim..(row * cols + keep_cols) * dim, row * keep_cols * dim);
        }
    }
    patches.truncate(keep_rows * keep_cols * dim);
    patches
}
