//! Bundles: one file that holds a model, and whether it may run here.
//!
//! [`Bundle`] reads and checks the file, [`Manifest`] is what it says of itself, [`trust`] holds it against keys, boards and
//! serials before anything else of it is parsed. The layout, byte by byte, is in `docs/bundle-format.md`.
//!
//! ```
//! # #[cfg(feature = "mini")]
//! # fn main() -> edge_seg_bundle::Result<()> {
//! let bundle = edge_seg_bundle::Bundle::built_in()?;
//! assert_eq!(bundle.manifest().name, "mini");
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "mini"))]
//! # fn main() {}
//! ```
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::dbg_macro)]

mod blob;
mod content;
pub mod date;
mod error;
pub mod files;
mod format;
mod looks;
pub mod redact;
pub mod text;
pub mod toml_text;
pub mod trust;

pub use blob::{BlobReader, BlobSlice};
pub use error::{Error, Result};
pub use format::*;
pub use looks::{MAGIC, git_lfs_pointer, kind_of};
