use std::time::Duration;

use crate::Languages;
use crate::device::{Device, OnFallback};

/// How a session is run.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Options {
    /// Shorter side of the prepared input in pixels; the manifest's if none. The longer side grows with the picture's, up to 4096 patches
    /// in all: a strip of 1×4000 takes the time of those, whatever is given here.
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
    /// Languages beside English whose words are looked for by their meaning.
    pub languages: Languages,
    /// Lets the processor take over when the GPU fails, and hears of it; without it the GPU's failure is an error.
    pub on_fallback: Option<OnFallback>,
}

impl Options {
    /// Pictures that programs let a GPU encode at once where nothing else is said.
    pub const BATCH: usize = 8;

    /// The same with another [`size_px`](Self::size_px).
    pub fn with_size_px(self, size_px: impl Into<Option<usize>>) -> Self {
        Self { size_px: size_px.into(), ..self }
    }

    /// The same with another [`threads`](Self::threads).
    pub fn with_threads(self, threads: impl Into<Option<usize>>) -> Self {
        Self { threads: threads.into(), ..self }
    }

    /// The same with another [`device`](Self::device).
    pub fn with_device(self, device: Device) -> Self {
        Self { device, ..self }
    }

    /// The same with another [`half`](Self::half).
    pub fn with_half(self, half: bool) -> Self {
        Self { half, ..self }
    }

    /// The same with another [`batch`](Self::batch).
    pub fn with_batch(self, batch: impl Into<Option<usize>>) -> Self {
        Self { batch: batch.into(), ..self }
    }

    /// The same with another [`gpu_masks`](Self::gpu_masks).
    pub fn with_gpu_masks(self, gpu_masks: bool) -> Self {
        Self { gpu_masks, ..self }
    }

    /// The same with other [`languages`](Self::languages).
    pub fn with_languages(self, languages: Languages) -> Self {
        Self { languages, ..self }
    }

    /// The same with another [`on_fallback`](Self::on_fallback).
    pub fn with_on_fallback(self, on_fallback: impl Into<Option<OnFallback>>) -> Self {
        Self { on_fallback: on_fallback.into(), ..self }
    }
}

/// What is done to masks between scores and pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Refinement {
    /// Nothing: scores are upsampled bilinearly.
    #[default]
    None,
    /// Borders move to the picture's edges, by a guided filter at low resolution (He, Sun and Tang 2010).
    Guided,
}

/// Time spent in each stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
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
