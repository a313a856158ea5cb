use std::time::Duration;

use crate::device::{Device, OnFallback};

/// How a session is run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Side of the prepared input in pixels; the manifest's if none.
    pub size_px: Option<usize>,
    /// Threads of the encoders and of everything else; as many as the processor has if none.
    pub threads: Option<usize>,
    /// Where the image encoder runs.
    pub device: Device,
    /// Compute in 16-bit floats, on a GPU or on an Arm processor that has them.
    pub half: bool,
    /// Pictures that a GPU encodes at once; one if none. What several threads ask for is gathered until there are as many, or for a few
    /// milliseconds.
    pub batch: Option<usize>,
    /// On a GPU, [`Session::segment`](crate::Session::segment) also scores and, without refinement, draws there, so that the embeddings stay on the device. No GPU
    /// has run this yet.
    pub gpu_masks: bool,
    /// Lets the processor take over when the GPU fails, and hears of it; without it the GPU's failure is an error.
    pub on_fallback: Option<OnFallback>,
}

impl Options {
    /// Pictures that programs let a GPU encode at once where nothing else is said.
    pub const BATCH: usize = 8;
}

/// What is done to masks between scores and pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Refinement {
    /// Nothing: scores are upsampled bilinearly.
    #[default]
    None,
    /// Borders move to the picture's edges, by a guided filter at low resolution (He, Sun and Tang 2010).
    Guided,
}

/// Time spent in each stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Resize and normalise.
    pub prepare: Duration,
    /// Making the encoder's plan for a new input size.
    pub plan: Duration,
    /// Image encoder.
    pub encode: Duration,
    /// Pixel-tag scores.
    pub score: Duration,
    /// Upsampling to labels.
    pub mask: Duration,
}
