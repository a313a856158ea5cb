//! Where the encoders run: on the processor, or on an NVIDIA GPU when that is asked for.
//!
//! ```
//! use edge_seg_model::{Options, device::Device};
//! let options = Options::default().with_device(Device::Auto); // a GPU where one can be used
//! # assert_eq!(options.device, Device::Auto);
//! ```

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::Error;
pub use crate::error::DeviceFault;

/// Where the image encoder is asked to run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU; an error where none can be used.
    Cuda,
    /// An NVIDIA GPU where one can be used, otherwise the processor.
    Auto,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Device::Cpu => "cpu",
            Device::Cuda => "cuda",
            Device::Auto => "auto",
        })
    }
}

/// Hears the GPU's error when the processor takes over from it.
#[derive(Clone)]
pub struct OnFallback(Arc<dyn Fn(&Error) + Send + Sync>);

impl OnFallback {
    /// Wraps a function that tells somebody.
    pub fn new(tell: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub(crate) fn tell(&self, error: &Error) {
        (self.0)(error)
    }
}

impl fmt::Debug for OnFallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnFallback")
    }
}

/// A device, and why it and not another.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Choice {
    /// [`Device::Cpu`] or [`Device::Cuda`].
    pub device: Device,
    /// The reason.
    pub why: String,
}
