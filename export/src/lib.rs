//! Everything between a trained model folder and a bundle: strict readers, ONNX writers, quantization, measuring.
//!
//! The model folder is described in `docs/model-folder.md`, the bundle in `docs/bundle-format.md`.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::dbg_macro)]

pub mod bundle;
pub mod calibrate;
pub mod checkpoint;
pub mod config;
mod error;
pub mod eval;
pub mod import;
pub mod label;
pub mod onnx;
pub mod pair;
pub mod parameters;
pub mod quantize;
mod weights;

pub use error::{Error, Result};
