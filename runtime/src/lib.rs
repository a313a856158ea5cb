//! Open-vocabulary segmentation at the edge: type words, get masks.
//!
//! ```
//! use edge_seg::{Frame, Options, Session};
//! # fn main() -> edge_seg::Result<()> {
//! # if cfg!(not(feature = "mini")) { return Ok(()) }
//! let session = Session::built_in_with(&Options::default().with_size_px(64))?;
//! let words = session.words("dog, red car: sports car, -sky")?;
//! let frame = Frame::still(image::RgbImage::from_pixel(64, 48, image::Rgb([90, 160, 255])));
//! let found = session.find(&frame, &words)?;
//! for class in found.classes() {
//!     println!("{} {:.2} {:?}", class.name(), class.score(), class.bounds_px());
//! }
//! # assert_eq!(found.classes().len(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! One name for what several crates hold: the model, its words, scores and masks are `edge-seg-model`'s, video with its sources and
//! sinks `edge-seg-live`'s, bundles `edge-seg-bundle`'s, the kernels `edge-seg-kernels`'s.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::dbg_macro)]

pub use edge_seg_board::boards::Multiplications;
pub use edge_seg_board::{Variant, boards};
pub use edge_seg_bundle::{self as bundle, Bundle, Manifest, files, trust};
pub use edge_seg_kernels as simd;
#[cfg(feature = "service")]
pub use edge_seg_live::page as serve;
pub use edge_seg_live::{Error, Result, metrics, rules, source};
/// What goes wrong with a model, a picture or words: the part of [`Error`] that has nothing to do with video.
pub use edge_seg_model::Error as ModelError;
pub use edge_seg_model::*;

/// Video: sessions, and the words that change meanwhile.
pub mod live {
    pub use edge_seg_live::session::*;
    pub use edge_seg_live::words::*;
    pub use edge_seg_live::{Live, LiveWords, run};
    pub use edge_seg_model::propagation::*;
}

/// Where masks go.
pub mod sink {
    pub use edge_seg_live::sinks::*;
    pub use edge_seg_model::render::*;
}
