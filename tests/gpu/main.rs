//! What can be known of the GPU's way without a GPU.

#[cfg(feature = "cuda")]
mod cuda;
mod gpu;
