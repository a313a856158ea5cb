//! Scores and masks on an NVIDIA GPU, by the kernels of `masks.cu`.
//!
//! The embeddings of the patches stay on the device; what comes back is a logit for each patch and class, and a label for each pixel.

#![cfg(feature = "_cuda")]
#![allow(unsafe_code)] // calls into NVIDIA's libraries

use std::ffi::{CStr, CString};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use cudarc::driver::{CudaFunction, CudaSlice, CudaStream, CudaView, DriverError, LaunchConfig, PushKernelArg, sys};
use cudarc::nvrtc;
use edge_seg_kernels::{Planes, Tap};
use sha2::{Digest, Sha256};

use edge_seg_bundle::files::{hex, replace_file};

const SOURCE: &str = include_str!("masks.cu");

/// Banks that are kept on the device, and taps: those of a few cameras, or of words that come and go.
const MAX_KEPT: usize = 4;

/// Why a GPU did not do what it was asked to, in its own words.
pub type Fault = String;

/// The patches' embeddings as an encoder leaves them on the device.
#[derive(Debug, Clone, Copy)]
pub struct DevicePatches<'a> {
    /// `[rows, stride_cols, dim]`, of any norm, at least `keep_rows` rows.
    pub values: &'a CudaView<'a, u8>,
    /// Whether they are 16-bit floats, otherwise 32-bit ones.
    pub halves: bool,
    /// Rows that count, from the first.
    pub keep_rows: usize,
    /// Columns that count, from the first.
    pub keep_cols: usize,
    /// Columns of a whole row.
    pub stride_cols: usize,
    /// Numbers of a patch.
    pub dim: usize,
}

/// The kernels of one GPU, and what they were given before.
#[derive(Debug)]
pub struct GpuMasks {
    best_logits: CudaFunction,
    paint_labels: CudaFunction,
    banks: Mutex<Vec<Bank>>,
    taps: Mutex<Vec<Taps>>,
}

/// A bank on the device. It is found again by its contents, so that it is never another's.
#[derive(Debug, Clone)]
struct Bank {
    words: Arc<[f32]>,
    ends: Vec<u32>,
    on_device: Arc<(CudaSlice<f32>, CudaSlice<u32>)>,
}

#[derive(Debug, Clone)]
struct Taps {
    rows: Vec<Tap>,
    columns: Vec<Tap>,
    on_device: Arc<[CudaSlice<u32>; 2]>,
}

impl GpuMasks {
    /// Loads the kernels, from `cache` where they lie there for this source, compiler, driver and device; otherwise they are compiled, and
    /// kept there if that can be.
    ///
    /// # Errors
    /// What the compiler or the driver said.
    pub fn load(stream: &CudaStream, cache: Option<&Path>) -> Result<Self, Fault> {
        let context = stream.context();
        let (major, minor) = context.compute_capability().map_err(said)?;
        let target = format!("--gpu-architecture=sm_{major}{minor}");
        let kept = cache.map(|cache| cache.join(format!("masks-{}.cubin", key(&target))));
        let cubin = match kept.as_ref().and_then(|path| std::fs::read(path).ok()) {
            Some(cubin) => cubin,
            None => {
                let cubin = compile(SOURCE, &[&target])?;
                if let Some(path) = kept {
                    // What cannot be kept is compiled again.
                    let _ = keep(&path, &cubin);
                }
                cubin
            }
        };
        let module = context.load_module(nvrtc::Ptx::from_binary(cubin)).map_err(said)?;
        let function = |name: &str| module.load_function(name).map_err(said);
        Ok(Self {
            best_logits: function("best_logits")?,
            paint_labels: function("paint_labels")?,
            banks: Mutex::default(),
            taps: Mutex::default(),
        })
    }

    /// For every span of words its best word's `scale · cosine + bias` at every patch. `[spans, keep_rows · keep_cols]`; not a number where
    /// a patch has no direction.
    ///
    /// # Shapes
    /// - `words`: `[words, dim]`, unit-norm rows
    /// - `spans`: rows of `words`, one behind the other from 0, none empty
    ///
    /// # Errors
    /// What the driver said.
    ///
    /// # Panics
    /// The shapes do not fit each other.
    pub fn best_logits(
        &self,
        stream: &Arc<CudaStream>,
        patches: DevicePatches<'_>,
        words: &[f32],
        spans: &[Range<usize>],
        (scale, bias): (f32, f32),
    ) -> Result<Vec<f32>, Fault> {
        let DevicePatches { values, halves, keep_rows, keep_cols, stride_cols, dim } = patches;
        let count = keep_rows * keep_cols;
        let width = if halves { 2 } else { 4 };
        assert!(keep_rows > 0 && keep_cols > 0 && keep_cols <= stride_cols && dim > 0, "best_logits: expected patches");
        assert!(values.len() >= ((keep_rows - 1) * stride_cols + keep_cols) * dim * width, "best_logits: expected whole patches");
        let mut next = 0;
        for span in spans {
            assert!(span.start == next && span.end > next, "best_logits: expected spans side by side from 0, found {span:?} after {next}");
            next = span.end;
        }
        assert_eq!(words.len(), next * dim, "best_logits: expected a row for each word");
        if spans.is_empty() {
            return Ok(Vec::new());
        }
        let bank = self.bank(stream, words, spans)?;
        // SAFETY: the kernel writes every element before it is read, and 32-bit floats may hold any bits.
        let mut out = unsafe { stream.alloc::<f32>(spans.len() * count) }.map_err(said)?;
        let [span_count, keep_rows, keep_cols, stride_cols, dim] = ints([spans.len(), keep_rows, keep_cols, stride_cols, dim])?;
        let halves = i32::from(halves);
        let (on_device, ends) = &*bank.on_device;
        let block = (32, 4, 1);
        let config = LaunchConfig {
            grid_dim: (spans.len().div_ceil(32) as u32, count.div_ceil(4) as u32, 1),
            block_dim: block,
            shared_mem_bytes: 0,
        };
        let mut launch = stream.launch_builder(&self.best_logits);
        launch.arg(values).arg(&halves).arg(on_device).arg(ends).arg(&mut out);
        launch.arg(&span_count).arg(&keep_rows).arg(&keep_cols).arg(&stride_cols).arg(&dim).arg(&scale).arg(&bias);
        // SAFETY: the arguments are the kernel's in number, order and type, and the lengths of the memory behind them were checked above:
        // threads beyond `spans` and `keep_rows · keep_cols` return before they touch any.
        unsafe { launch.launch(config) }.map_err(said)?;
        stream.clone_dtoh(&out).map_err(said).and_then(|found| stream.synchronize().map_err(said).map(|()| found))
    }

    /// The label of every pixel: the plane with the largest interpolated value, the first one on a tie. `[rows, columns]`
    ///
    /// # Errors
    /// What the driver said.
    ///
    /// # Panics
    /// A tap lies outside the planes, or there are more planes than labels.
    pub fn paint_labels(&self, stream: &Arc<CudaStream>, planes: &Planes<'_>, rows: &[Tap], columns: &[Tap]) -> Result<Vec<u16>, Fault> {
        let inside = |taps: &[Tap], len: usize| taps.iter().all(|tap| (tap.lo.max(tap.hi) as usize) < len);
        assert!(inside(rows, planes.rows()) && inside(columns, planes.cols()), "paint_labels: expected taps inside the planes");
        assert!(planes.classes() <= 1 << 16, "paint_labels: expected at most {} planes, found {}", 1 << 16, planes.classes());
        if rows.is_empty() || columns.is_empty() {
            return Ok(Vec::new());
        }
        let taps = self.taps(stream, rows, columns)?;
        let values = stream.clone_htod(planes.values()).map_err(said)?;
        // SAFETY: the kernel writes every element before it is read, and labels may hold any bits.
        let mut labels = unsafe { stream.alloc::<u16>(rows.len() * columns.len()) }.map_err(said)?;
        let [classes, plane_rows, plane_cols, width, height] =
            ints([planes.classes(), planes.rows(), planes.cols(), columns.len(), rows.len()])?;
        let config = LaunchConfig {
            grid_dim: (columns.len().div_ceil(32) as u32, rows.len().div_ceil(8) as u32, 1),
            block_dim: (32, 8, 1),
            shared_mem_bytes: 0,
        };
        let [row_taps, column_taps] = &*taps.on_device;
        let mut launch = stream.launch_builder(&self.paint_labels);
        launch.arg(&values).arg(row_taps).arg(column_taps).arg(&mut labels);
        launch.arg(&classes).arg(&plane_rows).arg(&plane_cols).arg(&width).arg(&height);
        // SAFETY: the arguments are the kernel's in number, order and type; each tap is three 32-bit values in its order, and lies inside the
        // planes, as was checked above; threads beyond `width` and `height` return before they touch any memory.
        unsafe { launch.launch(config) }.map_err(said)?;
        stream.clone_dtoh(&labels).map_err(said).and_then(|found| stream.synchronize().map_err(said).map(|()| found))
    }

    fn bank(&self, stream: &Arc<CudaStream>, words: &[f32], spans: &[Range<usize>]) -> Result<Bank, Fault> {
        let ends: Vec<u32> = spans.iter().map(|span| span.end as u32).collect();
        let same = |bank: &Bank| bank.ends == ends && *bank.words == *words;
        kept(&self.banks, stream, same, || {
            let on_device = (stream.clone_htod(words).map_err(said)?, stream.clone_htod(&ends).map_err(said)?);
            Ok(Bank { words: words.into(), ends: ends.clone(), on_device: Arc::new(on_device) })
        })
    }

    fn taps(&self, stream: &Arc<CudaStream>, rows: &[Tap], columns: &[Tap]) -> Result<Taps, Fault> {
        let upload = |taps: &[Tap]| {
            let values: Vec<u32> = taps.iter().flat_map(|tap| [tap.lo, tap.hi, tap.weight.to_bits()]).collect();
            stream.clone_htod(&values).map_err(said)
        };
        kept(
            &self.taps,
            stream,
            |taps| taps.rows == rows && taps.columns == columns,
            || {
                let on_device = [upload(rows)?, upload(columns)?];
                Ok(Taps { rows: rows.into(), columns: columns.into(), on_device: Arc::new(on_device) })
            },
        )
    }

    /// Gives back the device memory of what is kept for speed.
    pub fn release(&self) {
        self.banks.lock().unwrap_or_else(|e| e.into_inner()).clear();
        self.taps.lock().unwrap_or_else(|e| e.into_inner()).clear();
    }
}

/// The one of all that is the same, or else a new one, for which the oldest makes room.
fn kept<T: Clone>(
    all: &Mutex<Vec<T>>,
    stream: &CudaStream,
    same: impl Fn(&T) -> bool,
    make: impl FnOnce() -> Result<T, Fault>,
) -> Result<T, Fault> {
    let mut all = all.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(found) = all.iter().find(|one| same(one)) {
        return Ok(found.clone());
    }
    let made = make()?;
    // Other threads' streams may use it next.
    stream.synchronize().map_err(said)?;
    if all.len() == MAX_KEPT {
        all.remove(0);
    }
    all.push(made.clone());
    Ok(made)
}

fn said(error: DriverError) -> Fault {
    format!("{error:?}")
}

fn ints<const N: usize>(sizes: [usize; N]) -> Result<[i32; N], Fault> {
    let mut found = [0; N];
    for (int, size) in found.iter_mut().zip(sizes) {
        *int = i32::try_from(size).map_err(|_| format!("expected sizes below 2³¹, found {size}"))?;
    }
    Ok(found)
}

/// Everything that shapes the compiled kernels.
fn key(target: &str) -> String {
    let (mut major, mut minor, mut driver) = (0, 0, 0);
    // SAFETY: both write one number behind each pointer, which are valid for that; a call that fails leaves 0, which is then the key's.
    unsafe {
        let _ = nvrtc::sys::nvrtcVersion(&mut major, &mut minor);
        let _ = sys::cuDriverGetVersion(&mut driver);
    }
    let digest = Sha256::digest(format!("{target}\0nvrtc {major}.{minor}\0driver {driver}\0{SOURCE}"));
    hex(&digest[..16])
}

fn keep(path: &Path, cubin: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    replace_file(path, cubin).map_err(std::io::Error::other)
}

/// Compiles CUDA C for one architecture.
///
/// # Errors
/// What the compiler said.
fn compile(source: &str, options: &[&str]) -> Result<Vec<u8>, Fault> {
    /// Ends with the program that it holds.
    struct Program(nvrtc::sys::nvrtcProgram);
    impl Drop for Program {
        fn drop(&mut self) {
            // SAFETY: the program was created by the compiler and is destroyed once.
            let _ = unsafe { nvrtc::result::destroy_program(self.0) };
        }
    }
    let source = CString::new(source).map_err(|e| e.to_string())?;
    let program = Program(nvrtc::result::create_program(&source, None).map_err(|e| format!("{e:?}"))?);
    // SAFETY: the program is alive, and the compiler reads the options during the call alone.
    if let Err(error) = unsafe { nvrtc::result::compile_program(program.0, options) } {
        // SAFETY: the program is alive.
        let log = unsafe { nvrtc::result::get_program_log(program.0) }.unwrap_or_default();
        let log: Vec<u8> = log.iter().map(|&byte| byte as u8).collect();
        let log = CStr::from_bytes_until_nul(&log).map_or_else(|_| String::new(), |log| log.to_string_lossy().into_owned());
        return Err(format!("NVRTC compilation failed for masks.cu: {error:?} {log}"));
    }
    let mut bytes = 0;
    // SAFETY: the program is alive and compiled, and the size is written behind a valid pointer.
    unsafe { nvrtc::sys::nvrtcGetCUBINSize(program.0, &mut bytes) }.result().map_err(|e| format!("{e:?}"))?;
    let mut cubin = vec![0u8; bytes];
    // SAFETY: the compiler writes as many bytes as it has just said.
    unsafe { nvrtc::sys::nvrtcGetCUBIN(program.0, cubin.as_mut_ptr().cast()) }.result().map_err(|e| format!("{e:?}"))?;
    Ok(cubin)
}
