//! The kernels for masks, on the engine's device.

use std::path::PathBuf;

use edge_seg_bundle::files::cache_folder;
use edge_seg_cuda::GpuMasks;
use tract_cuda::with_cuda_stream;
use tract_onnx::prelude::*;

use super::faults::{fix_for, one_line, quietly};
use super::probe::unusable;
use crate::Result;

/// The kernels for masks, loaded for the engine's device.
#[derive(Debug)]
pub(super) struct Masker(pub(super) GpuMasks);

impl Masker {
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the kernels cannot be compiled or loaded.
    pub(super) fn load() -> Result<Self> {
        let load = || with_cuda_stream(|stream| GpuMasks::load(stream, cache().as_deref()).map_err(TractError::msg));
        let found = match quietly(load) {
            Ok(Ok(masks)) => return Ok(Self(masks)),
            Ok(Err(error)) => format!("{error:#}"),
            Err(panic) => panic,
        };
        let fix = fix_for(&found);
        Err(unusable(one_line(&found), fix))
    }

    pub(super) fn release(&self) {
        self.0.release();
    }
}

/// Where compiled kernels are kept, beside the engine's own.
fn cache() -> Option<PathBuf> {
    Some(cache_folder()?.join("kernels"))
}
