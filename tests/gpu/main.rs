//! The GPU's path, tested without a GPU.

#[cfg(feature = "cuda")]
mod cuda;
mod encoders;
mod gpu;
